"""The responses to requests for images."""
