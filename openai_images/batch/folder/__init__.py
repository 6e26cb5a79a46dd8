"""The folder of a batch: its lock, its journal's file, and its image files."""
