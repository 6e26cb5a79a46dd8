"""Encodes events for a relay, as server-sent events in the API's own wire format.

Invariants: event names and fields are those of the API (`image_generation.partial_image`, …), so that clients of the
API can read them; an image is encoded in small pieces while it is written. The class of an error decides its
text.
Must not: pass on a server's message, an unknown field or event, a key, a prompt or the name of a host.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pybase64 import b64encode

from openai_images import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    CompletedImage,
    ConfigurationError,
    ImagesError,
    InternalServerError,
    ModerationBlockedError,
    PartialImage,
    RateLimitError,
    RequestInvalidError,
)

__all__ = ["HEARTBEAT", "encode_error", "encode_event", "encode_url_event"]

HEARTBEAT = b": heartbeat\n\n"
"""A comment; clients ignore it, and proxies count it as activity."""

_PIECE_BYTES = 3 * 16 * 1024
"""Bytes of an image that are encoded in one piece; a multiple of 3, so that only the last piece is padded."""

_FIELDS = (
    "partial_image_index",
    "image_index",
    "created_at",
    "background",
    "output_format",
    "quality",
    "size",
    "sequence_number",
)
_USER, _SERVER = "image_generation_user_error", "image_generation_server_error"
_UNAVAILABLE = (
    _SERVER,
    "service_unavailable",
    "This application cannot use its image service. Its operator has to check the configuration.",
)
_SAFE_ERRORS: tuple[tuple[type[BaseException], tuple[str, str, str]], ...] = (
    (
        ModerationBlockedError,
        (
            _USER,
            "moderation_blocked",
            "The safety system rejected the request. Change the prompt or the images.",
        ),
    ),
    (RateLimitError, (_SERVER, "rate_limit_exceeded", "The image service is busy. Try again in a minute.")),
    (APITimeoutError, (_SERVER, "timeout", "The image service took too long.")),
    (APIConnectionError, (_SERVER, "connection_error", "The connection to the image service failed.")),
    (
        BadRequestError,
        (_USER, "invalid_request", "The image service rejected the request. Change its parameters."),
    ),
    (
        RequestInvalidError,
        (_USER, "invalid_request", "The request is invalid, nothing was sent. Change its parameters."),
    ),
    (InternalServerError, (_SERVER, "server_error", "The image service failed. Try again later.")),
    (APIStatusError, _UNAVAILABLE),  # the key, the account or the URL of this application
    (ConfigurationError, _UNAVAILABLE),
)
_OTHER = (_SERVER, "image_generation_failed", "The image could not be generated.")


def encode_event(event: PartialImage | CompletedImage, image: bytes, *, edited: bool) -> Iterator[bytes]:
    """Yield the event with its image as base64, in pieces of at most 64 KiB."""
    yield _head(event, edited=edited) + b',"b64_json":"'
    view = memoryview(image)
    for start in range(0, len(view), _PIECE_BYTES):
        yield b64encode(view[start : start + _PIECE_BYTES])
    yield b'"}\n\n'


def encode_url_event(event: PartialImage | CompletedImage, url: str, *, edited: bool) -> bytes:
    """Return the event with the URL of its image in place of base64, like servers that store their images."""
    return _head(event, edited=edited) + b',"url":' + _json(url) + b"}\n\n"


def encode_error(error: BaseException) -> bytes:
    """Return the `error` event with a text that is safe to show; its `maybe_billed` is that of the error."""
    kind, code, message = next((safe for cls, safe in _SAFE_ERRORS if isinstance(error, cls)), _OTHER)
    details: dict[str, Any] = {"type": kind, "code": code, "message": message, "param": None}
    if isinstance(error, ImagesError) and error.maybe_billed:
        details["maybe_billed"] = True
    return b"event: error\ndata: " + _json({"type": "error", "error": details}) + b"\n\n"


def _head(event: PartialImage | CompletedImage, *, edited: bool) -> bytes:
    """Return the event's beginning: its JSON object without the image and the closing brace."""
    operation = "image_edit" if edited else "image_generation"
    name = f"{operation}.{'partial_image' if isinstance(event, PartialImage) else 'completed'}"
    fields: dict[str, Any] = {"type": name}
    fields |= {key: value for key in _FIELDS if (value := getattr(event, key, None)) is not None}
    if isinstance(event, CompletedImage) and event.usage is not None:
        fields["usage"] = event.usage.as_dict()
    return f"event: {name}\ndata: ".encode() + _json(fields)[:-1]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
