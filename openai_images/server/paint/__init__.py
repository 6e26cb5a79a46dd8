"""Placeholder images, drawn with Pillow from the hash of the prompt."""
