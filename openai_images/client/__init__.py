"""One call, from the public verb to its result."""
