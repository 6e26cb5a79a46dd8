"""What every part of the local server stands on: the models, the limits and the errors of the API."""
