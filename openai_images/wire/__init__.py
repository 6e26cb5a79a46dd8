"""Bytes to values and values to bytes: no I/O, no clock, no event loop. Imports only the errors and the models."""
