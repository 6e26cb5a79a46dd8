"""Checks of a request before it is sent."""
