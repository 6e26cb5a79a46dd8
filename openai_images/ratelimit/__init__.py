"""When the next request may go: configured, advertised and estimated limits."""
