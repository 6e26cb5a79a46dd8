"""When the next request may be sent: configured, advertised and estimated limits."""
