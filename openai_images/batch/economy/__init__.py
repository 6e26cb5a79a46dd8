"""A run in economy: items sent in batches of the provider, at half the price."""
