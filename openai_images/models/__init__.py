"""The values of the API: requests, results, events, options."""
