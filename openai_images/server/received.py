"""Receives the body of a request for pictures, JSON or a form, and makes checked parameters of it.

Rules: what came is recorded before anything of it is judged; the pictures of a form are read only where the answer
will look at them. It refuses to answer.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import attrs
from aiohttp import web

from openai_images.server.body import (
    FORM,
    JSON,
    media_type_of,
    parse_leniently,
    parse_object,
    read_body,
    require_type,
)
from openai_images.server.edits import take_references
from openai_images.server.faults import Fault, Plan
from openai_images.server.inputs import GivenPictures
from openai_images.server.legacy import check_legacy
from openai_images.server.parameters import House, Parameters, check, find_model
from openai_images.server.records import RecordedRequest
from openai_images.server.uploads import Form, FormReader

_ON_THE_LOOP = 256 * 1024


@attrs.frozen(kw_only=True)
class Reception:
    """How a server receives requests; the limits are in bytes, `pixels` is whether it paints from given pictures."""

    max_body_bytes: int
    max_upload_bytes: int
    house: House
    pixels: bool

    async def receive(self, request: web.Request, *, looks: bool) -> "Received":
        """The body of a request, or the 413; `looks` is whether its pictures will matter."""
        given = request.headers.get("content-type", "")
        is_edit = request.path.endswith("/edits")
        chunks, declared = request.content.iter_any(), request.content_length
        if is_edit and media_type_of(given) == FORM:
            reader = FormReader(limit=self.max_upload_bytes, looks=looks, pixels=self.pixels)
            return Received(reception=self, is_edit=True, form=await reader.read(chunks, declared, given))
        limit = self.max_upload_bytes if is_edit else self.max_body_bytes
        body = await read_body(chunks, declared, limit)
        return Received(reception=self, is_edit=is_edit, body=body, json=await _parsed(body))


@attrs.frozen(kw_only=True)
class Received:
    """A body that has arrived: a form, or bytes and the JSON in them, if there is any."""

    reception: Reception
    is_edit: bool
    form: Form | None = None
    body: bytes = attrs.field(default=b"", repr=lambda body: f"<{len(body):,} bytes>")
    json: Any = attrs.field(default=None, repr=False)

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
        if not self.is_edit and len(self.body) <= _ON_THE_LOOP:
            return self._of_json()
        return await asyncio.to_thread(self._of_json)

    def _of_json(self) -> Parameters:
        given = parse_object(self.body)
        pictures = take_references(given, pixels=self.reception.pixels) if self.is_edit else None
        return self._checked(given, pictures)

    def _checked(self, given: Mapping[str, Any], pictures: GivenPictures | None) -> Parameters:
        house = self.reception.house
        model = find_model(given, house)
        return (check_legacy if model.generation == "dall-e" else check)(given, model, house, pictures)


async def _parsed(body: bytes) -> Any:
    """The JSON in a body, or None; a large one is parsed off the event loop."""
    return (
        parse_leniently(body) if len(body) <= _ON_THE_LOOP else await asyncio.to_thread(parse_leniently, body)
    )
