"""Durable batches: a folder in which nothing paid is lost, and nothing is paid twice."""
