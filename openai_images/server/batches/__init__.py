"""Files and batches of the local server: `/v1/files` and `/v1/batches`."""
