"""Input files of a batch: rows of text, CSV and JSON, and their product with lists of values."""
