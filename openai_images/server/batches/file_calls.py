"""The calls of `/v1/files`: upload, retrieve, list, content, delete; and the checks that calls for batches share.

Invariants: of an upload, which is read to the disk while it arrives, one chunk is in memory at a time; a malformed or
too large form leaves no file.
"""

import asyncio
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, Final

import attrs
from aiohttp import web

from openai_images.server.batches.batch import MAX_INPUT_BYTES, ServerBatch
from openai_images.server.images.delivery import write_slices
from openai_images.server.protocol.error_replies import (
    RequestRejectedError,
    bad_request,
    check_members,
    check_range,
    choice,
    error_reply,
    missing_parameter,
    require_parameters,
    too_large,
    unknown_parameter,
)
from openai_images.server.requests.files import MAX_FILE_BYTES, ServerFile
from openai_images.server.requests.multipart import (
    FormParser,
    MalformedFormError,
    PartEnd,
    PartStart,
    parse_boundary,
    set_field,
)
from openai_images.server.requests.request_body import FORM, BodyChunks, UnreadableBodyError, require_type
from openai_images.server.requests.state import ActiveRequest, ServerState

MIN_SECONDS: Final = 3600
MAX_SECONDS: Final = 2_592_000
"""Seconds for which a file may be kept: 30 days, also the default for the files of batches."""
PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_FIELDS: Final = {"purpose", "expires_after"}
_TEXT_BYTES: Final = 1024
_MAX_FORM_BYTES: Final = MAX_FILE_BYTES + 64 * 1024


class UploadReader:
    """Reads the file that one call uploads."""

    def __init__(self, state: ServerState, active: ActiveRequest) -> None:
        self._files = state.files
        self._timeout = state.settings.body_timeout
        self._active = active
        self._file: BinaryIO | None = None
        self._filename = ""
        self._fields: dict[str, Any] = {}
        self._name = ""
        self._text: bytes | None = None  # of the current part, None if that is the file

    async def read(self) -> ServerFile:
        """Store and return the file in the body. Raises `RequestRejectedError`."""
        content_type = self._active.request.headers.get("content-type", "")
        require_type(content_type, FORM)
        if self._files.is_full:
            raise too_large(self._files.nbytes)
        try:
            await self._read_form(content_type)
            return await self._store()
        except (MalformedFormError, UnreadableBodyError) as error:
            message = f"Could not parse your multipart form: {str(error) or 'it is not readable'}."
            raise bad_request(message, code=None) from None
        finally:
            if self._file is not None:
                self._files.discard(self._file)

    async def _read_form(self, content_type: str) -> None:
        parser, total = FormParser(parse_boundary(content_type)), 0
        half = (self._active.request.content_length or 0) // 2
        async for chunk in BodyChunks(self._active.request, self._timeout):
            total += len(chunk)
            if total > _MAX_FORM_BYTES:
                raise too_large(MAX_FILE_BYTES)
            pieces: list[bytes] = []
            for event in parser.feed(chunk):
                if isinstance(event, bytes) and self._text is None:
                    pieces.append(event)
                else:
                    self._take(event)
            if pieces and self._file is not None:
                await asyncio.to_thread(self._file.writelines, pieces)
            if self._active.fault.plan.middle == "cut" and total >= half:
                self._active.hang_up("reset")
                raise ConnectionResetError
        parser.close()

    def _take(self, event: PartStart | bytes | PartEnd) -> None:
        """Process the start or end of a part, or a piece of its data."""
        if isinstance(event, PartStart):
            self._begin(event)
        elif isinstance(event, bytes):
            self._text = (self._text or b"") + event
            if len(self._text) > _TEXT_BYTES:
                raise too_large(_TEXT_BYTES)
        elif self._text is not None:
            text = self._text.decode("utf-8", "replace")
            value = int(text) if self._name.endswith("[seconds]") and text.isdecimal() else text
            set_field(self._fields, self._name, value)

    def _begin(self, start: PartStart) -> None:
        self._name = start.name or ""
        self._text = b""
        if self._name == "file" and self._file is None:
            self._text, self._filename = None, start.filename or "upload"
            self._file = self._files.open_new()
        elif self._name.partition("[")[0] not in _FIELDS:
            raise unknown_parameter(self._name)

    async def _store(self) -> ServerFile:
        if self._file is None:
            raise missing_parameter("file")
        require_parameters(self._fields, "purpose")
        purpose = choice(self._fields, "purpose", PURPOSES, "")
        seconds = MAX_SECONDS if purpose == "batch" else None
        if "expires_after" in self._fields:
            seconds = check_expiry("expires_after", self._fields["expires_after"])
        await asyncio.to_thread(self._file.flush)
        if purpose == "batch" and self._file.tell() > MAX_INPUT_BYTES:
            raise too_large(MAX_INPUT_BYTES)
        self._file.close()
        file, self._file = self._file, None
        return self._files.add(file, purpose=purpose, filename=self._filename, seconds=seconds)


_READ_BYTES: Final = 1024 * 1024
_PAGE: Final = 10_000


@attrs.frozen(kw_only=True)
class FileCalls:
    """The calls for the files of one server."""

    state: ServerState

    async def upload(self, active: ActiveRequest) -> dict[str, Any]:
        """Answer `POST /v1/files`."""
        stored = await UploadReader(self.state, active).read()
        return stored.as_dict()

    async def retrieve(self, active: ActiveRequest) -> dict[str, Any]:
        """Answer `GET /v1/files/{id}`."""
        return self._find(active).as_dict()

    async def list(self, active: ActiveRequest) -> dict[str, Any]:
        """Answer `GET /v1/files`."""
        purpose = active.request.query.get("purpose")
        files = [file for file in self.state.files.all() if purpose in {None, file.purpose}]
        return page(files, active.request.query, limit=_PAGE, most=_PAGE)

    async def delete(self, active: ActiveRequest) -> dict[str, Any]:
        """Answer `DELETE /v1/files/{id}`."""
        stored = self._find(active)
        self.state.files.delete(stored)
        return {"id": stored.id, "object": "file", "deleted": True}

    async def content(self, active: ActiveRequest) -> web.StreamResponse:
        """Answer `GET /v1/files/{id}/content` with the bytes; one megabyte is in memory at a time."""
        stored, request = self._find(active), active.request
        response = web.StreamResponse(
            headers={
                "content-type": "application/octet-stream",
                "content-disposition": f'attachment; filename="{_header_name(stored)}"',
                **active.headers(),
            }
        )
        response.content_length = stored.nbytes
        file = await asyncio.to_thread(stored.path.open, "rb", buffering=0)
        try:
            await response.prepare(request)
            half = stored.nbytes // 2
            await _send(response, file, half)
            if active.fault.plan.middle == "stall":
                await self.state.gate.event.wait()
            if active.fault.plan.middle == "cut":
                active.hang_up("close")
            else:
                await _send(response, file, stored.nbytes - half)
                await response.write_eof()
        finally:
            file.close()
        return response

    def _find(self, active: ActiveRequest) -> ServerFile:
        file_id = active.request.match_info["id"]
        stored = self.state.files.find(file_id)
        if stored is None:
            raise no_file(file_id)
        return stored


async def _send(response: web.StreamResponse, file: FileIO, nbytes: int) -> None:
    """Send `nbytes` bytes of the file."""
    while nbytes and (data := await asyncio.to_thread(file.read, min(nbytes, _READ_BYTES))):
        nbytes -= len(data)
        await write_slices(response, data)


def _header_name(stored: ServerFile) -> str:
    """Return the file's name in ASCII, without characters that would end a quoted text."""
    name = Path(stored.filename).name.encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() and c not in '"\\' else "_" for c in name)


def check_expiry(name: str, value: object) -> int:
    """Return the seconds in `{"anchor": "created_at", "seconds": ...}`, or the 400."""
    present = check_members(name, value, {"anchor": str, "seconds": int})
    anchor, seconds = f"{name}.anchor", f"{name}.seconds"
    require_parameters(present, anchor, seconds)
    choice(present, anchor, ("created_at",), "")
    check_range(seconds, present[seconds], MIN_SECONDS, MAX_SECONDS)
    return int(present[seconds])


def page(
    items: Sequence[ServerFile | ServerBatch], query: Mapping[str, str], *, limit: int, most: int
) -> dict[str, Any]:
    """Return the page that `after`, `limit` and `order` of `query` select; the newest items are last in `items`."""
    text = query.get("limit", str(limit))
    if not text.isascii() or not text.isdigit():
        raise bad_request(
            "Invalid type for 'limit': expected an integer.", code="invalid_type", param="limit"
        )
    size = int(text[:10])
    check_range("limit", size, 1, most)
    ordered = list(items) if query.get("order", "desc") == "asc" else list(reversed(items))
    if (after := query.get("after")) is not None:
        ids = [item.id for item in ordered]
        if after not in ids:
            raise bad_request(
                f"Invalid 'after': no object with id '{after[:200]}'.", code=None, param="after"
            )
        ordered = ordered[ids.index(after) + 1 :]
    shown = ordered[:size]
    return {
        "object": "list",
        "data": [item.as_dict() for item in shown],
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": len(ordered) > size,
    }


def no_file(file_id: str, *, status: int = 404, param: str = "id") -> RequestRejectedError:
    """Return the error for a file that does not exist."""
    return RequestRejectedError(error_reply(status, f"No such File object: {file_id[:200]}", param=param))
