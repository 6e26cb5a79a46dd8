"""What a response of the local server may do wrong on request."""
