"""Reads a request body and makes JSON of it, whatever was sent.

Rules: no input may end in anything but a value or a `RefusalError`; NaN, Infinity, half a surrogate pair, a mile of
brackets and a number of ten thousand digits are all refused as "not JSON". It refuses to look at what the JSON means.
"""

import json
from collections.abc import AsyncIterator
from typing import Any, Final, NoReturn, cast

from aiohttp import web

from openai_images.server.replies import RefusalError, error_reply, refuse, too_large

_NOT_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
)


JSON: Final = "application/json"
FORM: Final = "multipart/form-data"


async def read_body(chunks: AsyncIterator[bytes], declared: int | None, limit: int) -> bytes:
    """The whole body, or a 413 as soon as it is known to be over `limit`."""
    if declared is not None and declared > limit:
        raise RefusalError(too_large(limit))
    body = bytearray()
    try:
        async for chunk in chunks:
            body += chunk
            if len(body) > limit:
                raise RefusalError(too_large(limit))
    except web.RequestPayloadError:  # it says gzip and is not, or its chunks are none
        raise refuse(_NOT_JSON, code=None) from None
    return bytes(body)


def media_type_of(content_type: str | None) -> str:
    """The media type in a Content-Type header, in small letters."""
    return (content_type or "").partition(";")[0].strip().lower()


def require_type(content_type: str | None, *accepted: str) -> None:
    """Refuses a Content-Type header with another media type than those accepted."""
    if media_type_of(content_type) in accepted:
        return
    given = content_type or ""
    listed = " or ".join(f"'{one}'" for one in accepted)
    message = (
        f"Unsupported content type: {given!r}. This API method only accepts {listed} requests, "
        f"but you specified the header 'Content-Type: {given}'. Please try again with a supported content type."
    )
    raise RefusalError(error_reply(400, message, code="unsupported_content_type"))


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise refuse(_NOT_JSON, code=None) from None
    if not isinstance(value, dict):
        raise refuse(
            f"Invalid body: expected an object, but got {describe(value)} instead.", code="invalid_type"
        )
    return cast("dict[str, Any]", value)


def parse_leniently(body: bytes) -> Any:
    """The JSON in `body`, or None: for the record of what was received."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def describe(value: object) -> str:
    """The type of a value of JSON or of a form, as the API words it."""
    if value is None:
        return "null"
    names: dict[type, str] = {
        bool: "a boolean",
        int: "an integer",
        float: "a decimal number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "a file")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
