"""The journal of a batch: its rows, and the state and the costs that they add up to."""
