"""Batches on many machines: claims and records in shared storage, and a worker that any engine can run."""
