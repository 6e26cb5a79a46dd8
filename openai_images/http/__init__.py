"""HTTP requests over sockets: the only client-side package that imports aiohttp."""
