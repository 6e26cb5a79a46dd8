"""Helpers without knowledge of the API; each module could be a library."""
