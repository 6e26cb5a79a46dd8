"""Reads a request body: decompressed chunks, a limit for the time without a byte, a size limit, and JSON of any length.

Invariants: any input gives a value, a `RequestRejectedError` or a ValueError; chunks are small, and other tasks run in
between; JSON is parsed in linear time, in slices between which other threads run.
Must not: check the content of the JSON.
"""

import asyncio
import codecs
import json
import re
import secrets
import zlib
from typing import Any, Final, NoReturn, Self, cast

import attrs
from aiohttp import web

from openai_images.server.protocol.error_replies import (
    RequestRejectedError,
    bad_request,
    describe,
    error_reply,
    too_large,
)

MAX_PIECE_BYTES: Final = 256 * 1024

_COMPRESSED: Final = {"gzip", "x-gzip", "deflate"}
_EITHER_HEADER: Final = 32 + zlib.MAX_WBITS


_NOT_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
)
FORM: Final = "multipart/form-data"
_JOINED_HERE: Final = 1024 * 1024
MAX_STRUCTURE: Final = 64 * 1024
"""Maximum bytes of a body outside its strings; a request needs a few hundred."""
MAX_STRING_BYTES: Final = 32 * 1024 * 1024
"""Maximum bytes of a string with its escapes; the API's longest string has 20 MiB."""
_SHORT: Final = 64
_SLICE: Final = 256 * 1024
# A piece that `json.loads` can decode alone: it does not cut an escape or a surrogate pair in two.
_WHOLE: Final = re.compile(
    r"(?:[^\\]|\\[^u]|\\u(?![dD][89abAB])....|\\u[dD][89abAB]..(?:\\u....|(?=[^\\]|\\[^u])))*+", re.DOTALL
)


class UnreadableBodyError(Exception):
    """The framing or the compression of a body is malformed."""


@attrs.define
class BodyChunks:
    """The chunks of one body; `timeout` is in seconds. Raises `RequestRejectedError` and `UnreadableBodyError`.

    A body is rejected as soon as it is known to exceed `limit` bytes; None: the caller has its own limit.
    """

    request: web.Request
    timeout: float
    limit: int | None = None
    _inflater: Any = attrs.field(init=False)
    _buffer: bytes = attrs.field(init=False, default=b"")
    _total: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        encoding = self.request.headers.get("content-encoding", "").strip().lower()
        if encoding not in {"", "identity", *_COMPRESSED}:
            message = f"Unsupported content encoding: {encoding[:80]!r}. Supported are 'gzip' and 'deflate'."
            raise RequestRejectedError(error_reply(415, message, code="unsupported_content_encoding"))
        self._inflater = zlib.decompressobj(_EITHER_HEADER) if encoding in _COMPRESSED else None
        self._check_size(self.request.content_length or 0)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not (piece := self._piece()):
            try:
                async with asyncio.timeout(self.timeout):
                    self._buffer = await self.request.content.readany()
            except TimeoutError:
                message = f"The body of your request stopped: nothing arrived for {self.timeout:g} s."
                raise bad_request(message, code="incomplete_body") from None
            except web.RequestPayloadError:
                raise UnreadableBodyError from None
            if not self._buffer:
                if self._inflater is not None and not self._inflater.eof:
                    raise UnreadableBodyError
                raise StopAsyncIteration
        if self._buffer or self._inflater is not None:
            # Reading buffered data does not wait, so other tasks must get a turn. Without buffered data there must be
            # no turn: a test that has seen a request counted may release its stall immediately.
            await asyncio.sleep(0)
        self._total += len(piece)
        self._check_size(self._total)
        return piece

    def _check_size(self, size: int) -> None:
        if self.limit is not None and size > self.limit:
            raise too_large(self.limit)

    def _piece(self) -> bytes:
        """Return the next decompressed bytes; empty if more must be read."""
        if self._inflater is None:
            piece, self._buffer = self._buffer[:MAX_PIECE_BYTES], self._buffer[MAX_PIECE_BYTES:]
            return piece
        if self._inflater.eof:
            return b""
        try:
            inflated: bytes = self._inflater.decompress(self._buffer, MAX_PIECE_BYTES)
        except zlib.error:
            raise UnreadableBodyError from None
        self._buffer = self._inflater.unconsumed_tail
        return inflated


def not_json() -> RequestRejectedError:
    """Return the 400 for a body that is not JSON."""
    return bad_request(_NOT_JSON, code=None)


async def read_body(chunks: BodyChunks) -> bytes:
    """Return the complete body."""
    try:
        pieces = [chunk async for chunk in chunks]
    except UnreadableBodyError:
        raise not_json() from None
    # A long join releases the GIL, so that only its own thread waits for it.
    is_long = sum(map(len, pieces)) > _JOINED_HERE
    return await asyncio.to_thread(b"".join, pieces) if is_long else b"".join(pieces)


def parse_media_type(content_type: str | None) -> str:
    """Return the media type in a Content-Type header, in lower case."""
    return (content_type or "").partition(";")[0].strip().lower()


def require_type(content_type: str | None, *accepted: str) -> None:
    """Reject a media type that is not in `accepted`."""
    if parse_media_type(content_type) in accepted:
        return
    header = content_type or ""
    listed = " or ".join(f"'{item}'" for item in accepted)
    message = (
        f"Unsupported content type: {header!r}. This API method only accepts {listed} requests, "
        f"but you specified the header 'Content-Type: {header}'. Please try again with a supported content type."
    )
    raise RequestRejectedError(error_reply(400, message, code="unsupported_content_type"))


def require_object(value: object) -> dict[str, Any]:
    """Return the members of a JSON object; raise the 400 for another value."""
    if not isinstance(value, dict):
        raise bad_request(
            f"Invalid body: expected an object, but got {describe(value)} instead.", code="invalid_type"
        )
    return dict(cast("dict[str, Any]", value))


def parse(body: bytes) -> Any:
    """Return the value of a JSON body; ValueError if it is not JSON or exceeds the bounds."""
    try:
        if len(body) <= MAX_STRUCTURE:
            return _load(body.decode("utf-8"))
        mark = secrets.token_hex(8)
        skeleton, texts = _split(body, mark)
        return _join(_load(skeleton.decode("utf-8")), mark, texts)
    except RecursionError:
        raise ValueError("too deep") from None


def _split(body: bytes, mark: str) -> tuple[bytes, list[str]]:
    """Replace each long string of the body by a mark and a number; return the body and the strings."""
    pieces: list[bytes] = []
    texts: list[str] = []
    offset = structure = 0
    while offset < len(body):
        opening = body.find(b'"', offset, offset + MAX_STRUCTURE)
        outside = body[offset : opening if opening >= 0 else offset + MAX_STRUCTURE]
        structure += len(outside) + 2
        if structure > MAX_STRUCTURE:
            raise ValueError("too much outside strings")
        pieces.append(outside)
        if opening < 0:
            break
        closing = _end_of_string(body, opening + 1)
        raw = body[opening + 1 : closing]
        if len(raw) > _SHORT or b"\\" in raw:
            pieces.append(b'"%s%d"' % (mark.encode(), len(texts)))
            texts.append(_decode_string(raw))
        else:
            pieces.append(body[opening : closing + 1])
        offset = closing + 1
    return b"".join(pieces), texts


def _end_of_string(body: bytes, start: int) -> int:
    offset = start
    while True:
        quote = body.find(b'"', offset, start + MAX_STRING_BYTES)
        if quote < 0:
            raise ValueError("a string without an end, or a very long one")
        before = body[offset:quote]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return quote
        offset = quote + 1


def _decode_string(raw: bytes) -> str:
    decode = codecs.getincrementaldecoder("utf-8")().decode
    parts: list[str] = []
    text = ""
    for offset in range(0, len(raw), _SLICE):
        final = offset + _SLICE >= len(raw)
        text += decode(raw[offset : offset + _SLICE], final)
        end = len(text) if final else cast("re.Match[str]", _WHOLE.match(text)).end()
        parts.append(_load(f'"{text[:end]}"'))
        text = text[end:]
    return "".join(parts)


def _join(value: Any, mark: str, texts: list[str]) -> Any:
    match value:
        case str() if value.startswith(mark):
            return texts[int(value.removeprefix(mark))]
        case list():
            return [_join(item, mark, texts) for item in cast("list[Any]", value)]  # type: ignore[redundant-cast]  # pyright needs it
        case dict():
            members = cast("dict[str, Any]", value)
            return {_join(name, mark, texts): _join(item, mark, texts) for name, item in members.items()}
        case _:
            return value


def _load(text: str) -> Any:
    value = json.loads(text, parse_constant=_reject_constant)
    if "\\u" in text:  # lone surrogates come only from such escapes
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(name)
