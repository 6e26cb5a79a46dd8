"""Receives the body of a request for pictures, JSON or a form, and makes checked parameters of it.

Rules: what came is recorded before anything of it is judged; the pictures of a form are read only where the answer
will look at them; long JSON is parsed and pictures are opened by one thread, so one at a time and never on the event
loop. It refuses to answer.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any, Final, cast

import attrs
from aiohttp import web

from openai_images.server.edits import take_references
from openai_images.server.faults import Fault, Plan
from openai_images.server.image_info import GivenPictures
from openai_images.server.legacy import check_legacy
from openai_images.server.parameters import House, Parameters, check, find_model
from openai_images.server.request_body import (
    FORM,
    JSON,
    MOST_STRUCTURE,
    Arriving,
    media_type_of,
    not_json,
    parse,
    read_body,
    require_object,
    require_type,
)
from openai_images.server.state import RecordedRequest
from openai_images.server.uploads import Form, FormReader

_NO_JSON: Final = object()


@attrs.frozen(kw_only=True)
class Reception:
    """How a server receives requests; `pixels` is whether it paints from given pictures.

    The limits are in bytes, the bound on a body's silence in seconds; `reader` is an executor with one thread.
    """

    max_body_bytes: int
    max_upload_bytes: int
    silence: float
    reader: Executor
    house: House
    pixels: bool

    async def receive(self, request: web.Request, *, looks: bool) -> "Received":
        """The body of a request, or the 413; `looks` is whether its pictures will matter."""
        given = request.headers.get("content-type", "")
        is_edit = request.path.endswith("/edits")
        chunks, declared = Arriving(request, self.silence), request.content_length
        if is_edit and media_type_of(given) == FORM:
            reader = FormReader(
                limit=self.max_upload_bytes, looks=looks, pixels=self.pixels, thread=self.reader
            )
            return Received(reception=self, is_edit=True, form=await reader.read(chunks, declared, given))
        limit = self.max_upload_bytes if is_edit else self.max_body_bytes
        body = await read_body(chunks, declared, limit)
        return Received(reception=self, is_edit=is_edit, body=body, value=await self._parsed(body))

    async def _parsed(self, body: bytes) -> Any:
        """The value of a body, or `_NO_JSON`."""
        try:
            if len(body) <= MOST_STRUCTURE:
                return parse(body)
            return await asyncio.get_running_loop().run_in_executor(self.reader, parse, body)
        except ValueError:
            return _NO_JSON


@attrs.frozen(kw_only=True)
class Received:
    """A body that has arrived: a form, or bytes and the JSON in them, if there is any."""

    reception: Reception
    is_edit: bool = False
    form: Form | None = None
    body: bytes = attrs.field(default=b"", repr=lambda body: f"<{len(body):,} bytes>")
    value: Any = attrs.field(default=_NO_JSON, repr=False)

    @property
    def json(self) -> Any:
        """The JSON in it, or None."""
        return None if self.value is _NO_JSON else self.value

    @property
    def fields(self) -> Mapping[str, Any]:
        """The parameters in it, unchecked."""
        if self.form is not None:
            return self.form.fields
        given: Any = self.json
        return cast("dict[str, Any]", given) if isinstance(given, dict) else {}

    def record(self, request: web.Request, fault: Fault[Plan]) -> RecordedRequest:
        """What the server remembers of it."""
        peer = request.transport.get_extra_info("peername") if request.transport else None
        return RecordedRequest(
            method=request.method,
            path=request.path,
            headers=request.headers,
            body=self.body,
            json=self.json,
            peer_port=peer[1] if peer else None,
            fault=fault.name,
            parts=() if self.form is None else tuple(self.form.parts),
        )

    async def parameters(self, content_type: str | None) -> Parameters:
        """Its parameters, or a `RefusalError`."""
        require_type(content_type, *((FORM, JSON) if self.is_edit else (JSON,)))
        if self.form is not None:
            if self.form.problem is not None:
                raise self.form.problem
            return self._checked(self.form.fields, self.form.pictures)
        if self.value is _NO_JSON:
            raise not_json()
        given = require_object(self.value)
        if not self.is_edit:
            return self._checked(given, None)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.reception.reader, self._of_edit, given)

    def _of_edit(self, given: dict[str, Any]) -> Parameters:
        return self._checked(given, take_references(given, pixels=self.reception.pixels))

    def _checked(self, given: Mapping[str, Any], pictures: GivenPictures | None) -> Parameters:
        house = self.reception.house
        model = find_model(given, house)
        return (check_legacy if model.generation == "dall-e" else check)(given, model, house, pictures)
