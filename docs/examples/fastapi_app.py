"""Images that sharpen in the browser, with FastAPI.

pip install "openai-images[starlette]" fastapi uvicorn
OPENAI_API_KEY=… uvicorn fastapi_app:app --timeout-graceful-shutdown 2
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from openai_images import ImageResult, ImagesClient
from openai_images.web import PictureStore, wait_for_background
from openai_images.web.starlette import ImageStreamResponse, picture_route, script_route

client = ImagesClient(model="gpt-image-2")
pictures = PictureStore()  # what browsers fetch, for an hour


class Order(BaseModel):
    prompt: str = Field(min_length=1, max_length=4000)


async def keep(result: ImageResult) -> None:
    """Save what was paid for, also when its browser has left."""
    await asyncio.to_thread(result.image.save, Path("gallery", f"{time.time_ns()}"))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    yield
    await wait_for_background(timeout=60)  # for the images whose browsers have left
    await client.aclose()


app = FastAPI(lifespan=lifespan, routes=[script_route(), picture_route(pictures)])


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))


@app.post("/generate")
async def generate(order: Order) -> ImageStreamResponse:
    stream = client.stream(order.prompt, partial_images=2)
    return ImageStreamResponse(stream, pictures=pictures, on_disconnect="finish", on_result=keep)
