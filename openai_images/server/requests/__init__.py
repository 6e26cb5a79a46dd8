"""What arrives: the bodies and parameters of requests, and the settings and the state of the server."""
