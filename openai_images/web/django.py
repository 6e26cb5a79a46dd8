"""Relays and images for Django under ASGI.

Invariants: Django closes the response's iterator, and cancels the view, as soon as the browser disconnects.
Must not: be used under WSGI, where Django would collect the complete stream first.
"""

from __future__ import annotations

from typing import Unpack

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import URLPattern, path

from openai_images import ImageStream
from openai_images.web.relay import RELAY_HEADERS, Relay, RelaySettings, relay
from openai_images.web.script import SCRIPT_HEADERS, read_script
from openai_images.web.store import PictureStore

__all__ = ["ImageStreamResponse", "picture_path", "script_path"]


class ImageStreamResponse(StreamingHttpResponse):
    """The response that relays a stream; the settings are those of `relay`. Return it from an async view.

    `return ImageStreamResponse(client.stream(prompt, partial_images=2))`

    `stream` must not be entered yet.
    """

    def __init__(
        self,
        stream: ImageStream,
        **settings: Unpack[RelaySettings],
    ) -> None:
        self._source = relay(stream, **settings)
        super().__init__(self._source, headers=dict(RELAY_HEADERS))

    def __aiter__(self) -> Relay:  # Django closes this iterator, not the wrapped one
        return self._source


def picture_path(pictures: PictureStore) -> URLPattern:
    """Return the URL pattern that serves the store's images, for `urlpatterns`.

    `pictures` is the store that the responses use.
    """

    async def serve(request: HttpRequest, name: str) -> HttpResponse:
        answer = await pictures.get(
            name, if_none_match=request.headers.get("If-None-Match"), head=request.method == "HEAD"
        )
        return HttpResponse(answer.body, status=answer.status, headers=answer.headers)

    return path(f"{pictures.url_prefix.lstrip('/')}<str:name>", serve)


def script_path(route: str = "openai-images.js") -> URLPattern:
    """Return the URL pattern that serves the browser's side, an ES module, for `urlpatterns`.

    `route` is the path from which a page imports it, without the leading slash.
    """

    def serve(request: HttpRequest) -> HttpResponse:  # noqa: ARG001  Django gives it
        return HttpResponse(read_script(), headers=dict(SCRIPT_HEADERS))

    return path(route, serve)
