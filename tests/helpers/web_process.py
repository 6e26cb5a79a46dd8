"""An app of `web_apps` in a process of its own: `python -m tests.helpers.web_process FRAMEWORK URL KEY SECONDS`.

It says on stdout where it serves. After SIGTERM its server waits so many seconds before it cuts what is open.
"""

import asyncio
import socket
import sys

import uvicorn
from aiohttp import web

from openai_images import ImagesClient, RetryPolicy
from tests.helpers.web_apps import Shop, aiohttp_app, django_app, fastapi_app


async def make_shop(url: str, key: str) -> Shop:
    """A shop whose client has the loop of its caller."""
    return Shop(ImagesClient(base_url=url, api_key=key, retry=RetryPolicy(max_retries=0)))


def main(framework: str, url: str, key: str, seconds: str) -> None:
    """Serve until the process is told to stop."""
    shop = asyncio.run(make_shop(url, key))
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    if framework == "aiohttp":
        web.run_app(aiohttp_app(shop), sock=listener, shutdown_timeout=int(seconds), print=None)
        return
    app = fastapi_app(shop) if framework == "fastapi" else django_app(shop)
    config = uvicorn.Config(app, timeout_graceful_shutdown=int(seconds))
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
