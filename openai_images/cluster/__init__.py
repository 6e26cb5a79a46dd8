"""Batches on many machines: claims and records in shared storage, and a worker for all engines."""
