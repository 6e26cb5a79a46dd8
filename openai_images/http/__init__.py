"""Requests over real sockets: the only floor that imports aiohttp. Imports the errors, the models and wire."""
