"""What a batch is asked to make: its items and options, and what a run sends of them."""
