"""Durable batches: a folder of which nothing paid is lost, and nothing is paid twice."""
