"""One run of a batch: the budget, and each item's way from its row to its image."""
