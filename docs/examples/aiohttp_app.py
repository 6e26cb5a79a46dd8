"""Images that sharpen in the browser, with aiohttp.web.

pip install openai-images
OPENAI_API_KEY=… python aiohttp_app.py
"""

import asyncio
import os
import time
from pathlib import Path

from aiohttp import web

from openai_images import ImageResult, ImagesClient
from openai_images.web import PictureStore, wait_for_background
from openai_images.web.aiohttp import send_stream, setup

client = ImagesClient(model="gpt-image-2")
pictures = PictureStore()  # what browsers fetch, for an hour


async def keep(result: ImageResult) -> None:
    """Save what was paid for, also when its browser has left."""
    await asyncio.to_thread(result.image.save, Path("gallery", f"{time.time_ns()}"))


async def page(_: web.Request) -> web.FileResponse:
    return web.FileResponse(Path(__file__).with_name("page.html"))


async def generate(request: web.Request) -> web.StreamResponse:
    if request.content_type != "application/json":  # which no page of another site can send
        raise web.HTTPUnsupportedMediaType
    try:
        order = await request.json()
    except ValueError:
        order = None
    match order:
        case {"prompt": str(prompt)} if 0 < len(prompt) <= 4000:
            stream = client.stream(prompt, partial_images=2)
            return await send_stream(
                request, stream, pictures=pictures, on_disconnect="finish", on_result=keep
            )
        case _:
            raise web.HTTPBadRequest(text="a prompt of 1 to 4000 characters is missing")


async def close(_: web.Application) -> None:
    await wait_for_background(timeout=60)  # for the images whose browsers have left
    await client.aclose()


def make_app() -> web.Application:
    app = web.Application()
    setup(app, pictures=pictures)  # before our own handler: it ends what is open, which we then wait for
    app.on_shutdown.append(close)
    app.add_routes([web.get("/", page), web.post("/generate", generate)])
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
