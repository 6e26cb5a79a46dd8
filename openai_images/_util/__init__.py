"""Helpers that know nothing of images; any file here could be a library."""
