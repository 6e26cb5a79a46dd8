"""The middleware of docs/compatible-servers.md sends to OpenRouter's path, with the body that the page shows."""

import base64
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.helpers.markdown import blocks
from tests.helpers.tiny_images import png

PAGE = Path(__file__).parents[2] / "docs" / "compatible-servers.md"


async def test_the_path_of_openrouter() -> None:
    """The block runs against a server that has `/api/v1/images` only."""
    seen: list[Any] = []

    async def images(request: web.Request) -> web.Response:
        seen.append((request.headers["Authorization"], await request.json()))
        data = [{"b64_json": base64.b64encode(png(b"x", (16, 16))).decode(), "media_type": "image/png"}]
        return web.json_response({"created": 1, "data": data, "usage": {"total_tokens": 3, "cost": 0.04}})

    app = web.Application()
    app.router.add_post("/api/v1/images", images)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        [code] = [block.text for block in blocks(PAGE) if "async def openrouter(" in block.text]
        namespace: dict[str, Any] = {}
        address = "http://{}:{}".format(*runner.addresses[0][:2])
        exec(
            "from openai_images import ImagesClient\n" + code.replace("https://openrouter.ai", address),
            namespace,
        )
        data = await namespace["openrouter"]("a red fox", "some/model", aspect_ratio="16:9")
    finally:
        await runner.cleanup()
    assert data == png(b"x", (16, 16))
    assert seen == [
        ("Bearer YOUR_OPENROUTER_KEY", {"prompt": "a red fox", "model": "some/model", "aspect_ratio": "16:9"})
    ]
