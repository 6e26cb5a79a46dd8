"""The client: one call, from the public method to its result."""
