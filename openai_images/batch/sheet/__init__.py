"""The contact sheet of a batch, and its tables for other programs."""
