"""Reads a whole request body and says what is wrong with it, in the words of the API.

Rules: no input may end in anything but a value or a `RefusalError`. It refuses to look at what the JSON means.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, cast

from openai_images.server.body_chunks import UnreadableError
from openai_images.server.error_replies import RefusalError, describe, error_reply, refuse, too_large

_NOT_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
)


JSON: Final = "application/json"
FORM: Final = "multipart/form-data"
_JOINED_HERE: Final = 1024 * 1024


def not_json() -> RefusalError:
    """The refusal of a body that is no JSON."""
    return refuse(_NOT_JSON, code=None)


async def read_body(chunks: AsyncIterator[bytes], declared: int | None, limit: int) -> bytes:
    """The whole body, or a 413 as soon as it is known to be over `limit`."""
    if declared is not None and declared > limit:
        raise RefusalError(too_large(limit))
    pieces: list[bytes] = []
    total = 0
    try:
        async for chunk in chunks:
            pieces.append(chunk)
            total += len(chunk)
            if total > limit:
                raise RefusalError(too_large(limit))
    except UnreadableError:
        raise not_json() from None
    # A long join lets go of the interpreter's lock, so that only its own thread waits for it.
    return b"".join(pieces) if total <= _JOINED_HERE else await asyncio.to_thread(b"".join, pieces)


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


def require_object(value: object) -> dict[str, Any]:
    """The members of a JSON object, or the 400 for another value."""
    if not isinstance(value, dict):
        raise refuse(
            f"Invalid body: expected an object, but got {describe(value)} instead.", code="invalid_type"
        )
    return dict(cast("dict[str, Any]", value))
