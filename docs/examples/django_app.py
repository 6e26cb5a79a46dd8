"""Images that sharpen in the browser, with Django under ASGI.

pip install "openai-images[django]" uvicorn
OPENAI_API_KEY=… uvicorn django_app:application --timeout-graceful-shutdown 2
"""

import asyncio
import json
import secrets
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.urls import path
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST

from openai_images import ImageResult, ImagesClient
from openai_images.web import PictureStore, wait_for_background
from openai_images.web.django import ImageStreamResponse, picture_path, script_path

settings.configure(  # a project has its own; this one is a single file
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    SECRET_KEY=secrets.token_hex(),
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
)

client = ImagesClient(model="gpt-image-2")
pictures = PictureStore()  # what browsers fetch, for an hour


async def keep(result: ImageResult) -> None:
    """Save what was paid for, also when its browser has left."""
    await asyncio.to_thread(result.image.save, Path("gallery", f"{time.time_ns()}"))


@ensure_csrf_cookie  # the page sends it back with its requests
async def page(_: HttpRequest) -> HttpResponse:
    return HttpResponse(Path(__file__).with_name("page.html").read_bytes())


@require_POST  # a GET needs no CSRF token, and would pay, too
async def generate(request: HttpRequest) -> HttpResponseBase:
    try:
        order = json.loads(request.body)
    except ValueError:
        order = None
    match order:
        case {"prompt": str(prompt)} if 0 < len(prompt) <= 4000:
            stream = client.stream(prompt, partial_images=2)
            return ImageStreamResponse(stream, pictures=pictures, on_disconnect="finish", on_result=keep)
        case _:
            return HttpResponseBadRequest("a prompt of 1 to 4000 characters is missing")


urlpatterns = [
    path("", page),
    path("generate", generate),
    picture_path(pictures),
    script_path(),
]

django = get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Django, and what it has no hook for: the end of the server."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await wait_for_background(timeout=60)  # for the images whose browsers have left
        await client.aclose()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await django(scope, receive, send)
