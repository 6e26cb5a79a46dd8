"""The calls of `/v1/files`: upload, retrieve, list, content, delete."""

import asyncio
from io import FileIO
from pathlib import Path
from typing import Final

import attrs
from aiohttp import web

from openai_images.server.batches.calls import Call
from openai_images.server.batches.checks import no_file, page
from openai_images.server.batches.files import FileStore, StoredFile
from openai_images.server.batches.upload import UploadReader
from openai_images.server.delivery import SLICE, hang_up, open_transport
from openai_images.server.error_replies import Reply, compact_json
from openai_images.server.state import ServerSettings, ServerState

_READ_BYTES: Final = 1024 * 1024
_PAGE: Final = 10_000


@attrs.frozen(kw_only=True)
class FileCalls:
    """The calls for the files of one server."""

    settings: ServerSettings
    state: ServerState
    files: FileStore

    async def upload(self, call: Call) -> web.StreamResponse:
        """Answer `POST /v1/files`."""
        reader = UploadReader(self.files, call.active, is_cut=call.plan.middle == "cut")
        stored = await reader.read(call.request, self.settings.body_timeout)
        return call.respond(Reply(200, compact_json(stored.as_dict())))

    async def retrieve(self, call: Call) -> web.StreamResponse:
        """Answer `GET /v1/files/{id}`."""
        return call.respond(Reply(200, compact_json(self._find(call).as_dict())))

    async def list(self, call: Call) -> web.StreamResponse:
        """Answer `GET /v1/files`."""
        purpose = call.request.query.get("purpose")
        files = [file for file in self.files.all() if purpose in {None, file.purpose}]
        return call.respond(page(files, call.request.query, limit=_PAGE, most=_PAGE))

    async def delete(self, call: Call) -> web.StreamResponse:
        """Answer `DELETE /v1/files/{id}`."""
        stored = self._find(call)
        self.files.delete(stored)
        return call.respond(Reply(200, compact_json({"id": stored.id, "object": "file", "deleted": True})))

    async def content(self, call: Call) -> web.StreamResponse:
        """Answer `GET /v1/files/{id}/content` with the bytes; one megabyte is in memory at a time."""
        stored, request = self._find(call), call.request
        response = web.StreamResponse(
            headers={
                "content-type": "application/octet-stream",
                "content-disposition": f'attachment; filename="{_header_name(stored)}"',
                **call.active.headers(),
            }
        )
        response.content_length = stored.nbytes
        file = await asyncio.to_thread(stored.path.open, "rb", buffering=0)
        try:
            await response.prepare(request)
            half = stored.nbytes // 2
            await _send(response, file, half)
            if call.plan.middle == "stall":
                await self.state.gate.event.wait()
            if call.plan.middle == "cut":
                hang_up(call.active, open_transport(request), "close")
            else:
                await _send(response, file, stored.nbytes - half)
                await response.write_eof()
        finally:
            file.close()
        return response

    def _find(self, call: Call) -> StoredFile:
        file_id = call.request.match_info["id"]
        stored = self.files.find(file_id)
        if stored is None:
            raise no_file(file_id)
        return stored


async def _send(response: web.StreamResponse, file: FileIO, nbytes: int) -> None:
    """Send `nbytes` bytes of the file."""
    while nbytes and (data := await asyncio.to_thread(file.read, min(nbytes, _READ_BYTES))):
        nbytes -= len(data)
        view = memoryview(data)
        for start in range(0, len(data), SLICE):
            await response.write(view[start : start + SLICE])


def _header_name(stored: StoredFile) -> str:
    """Return the file's name in ASCII, without characters that would end a quoted text."""
    name = Path(stored.filename).name.encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() and c not in '"\\' else "_" for c in name)
