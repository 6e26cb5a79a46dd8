"""Turns pictures into the bytes of an answer, as the API spells them or in one of the dialects seen elsewhere.

Rules: field order, line ends and names are those of real recordings; base64 text is spliced in and copied once, never
passed through `json`; a dialect changes the spelling only. It shares no code with the client, so that a mistake made on
both sides cannot cancel out.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import attrs

from openai_images.server.catalogue import output_tokens, partial_tokens, prompt_tokens
from openai_images.server.parameters import Parameters
from openai_images.server.replies import compact_json

PREFIX: Final = "image_generation"

Spelling = Callable[[bytes], bytes]
Pieces = tuple[bytes, ...]


def as_string(text: bytes) -> bytes:
    """Base64 as a JSON string: it needs no escapes."""
    return b'"' + text + b'"'


@attrs.frozen(kw_only=True)
class Dialect:
    """How an answer is spelled."""

    base64: Spelling = as_string
    line_end: bytes = b"\n"
    byte_order_mark: bool = False
    event_line: bool = True
    comments: bool = False
    sparse: bool = False
    empty_data: bool = False


@attrs.frozen(kw_only=True)
class Encoder:
    """Writes the frames of one answer."""

    parameters: Parameters
    dialect: Dialect
    created: int

    def json_body(self, pictures: Sequence[bytes]) -> bytes:
        """The body of a JSON answer; `pictures` are base64."""
        shown = () if self.dialect.empty_data else pictures
        items = [self._item(b"," if number else b"", picture) for number, picture in enumerate(shown)]
        data = (b'"data":[', *chain.from_iterable(items), b"]")
        if self.dialect.sparse:
            return b"".join(_splice({"created": None}, data, {"usage": None}))
        asked = self.parameters
        head = {"created": self.created, "background": asked.background}
        tail: dict[str, Any] = {
            "output_format": asked.output_format,
            "quality": asked.quality,
            "size": asked.size,
        }
        if asked.safety_identifier is not None:
            tail["safety_identifier"] = asked.safety_identifier
        tail["usage"] = self._usage(details=True)
        return b"".join(_splice(head, data, tail))

    def picture_event(self, stage: int | None, picture: bytes, sequence_number: int) -> bytes:
        """A partial image event, or the completed one where `stage` is None; `picture` is base64."""
        name = f"{PREFIX}.completed" if stage is None else f"{PREFIX}.partial_image"
        return self.frame(name, *self._picture_data(name, stage, picture, sequence_number))

    def plain_event(self, name: str | None, data: Mapping[str, Any], sequence_number: int) -> bytes:
        """An event without a picture; a None in `sequence_number` is filled in."""
        filled = dict(data)
        if "sequence_number" in filled:
            filled["sequence_number"] = sequence_number
        return self.frame(name, compact_json(filled))

    def frame(self, name: str | None, *data: bytes) -> bytes:
        """One event on the wire; `data` are the pieces of one line."""
        end = self.dialect.line_end
        comment = b": keepalive" + end + end if self.dialect.comments else b""
        event = b"event: " + name.encode() + end if name and self.dialect.event_line else b""
        return b"".join((comment, event, b"data: ", *data, end, end))

    def _base64(self, picture: bytes) -> Pieces:
        spelled = self.dialect.base64
        return (b'"', picture, b'"') if spelled is as_string else (spelled(picture),)

    def _item(self, before: bytes, picture: bytes) -> Pieces:
        made = b"" if self.dialect.sparse else b',"generation_id":"%s"' % str(uuid.uuid4()).encode()
        return (before, b'{"b64_json":', *self._base64(picture), made, b"}")

    def _picture_data(self, name: str, stage: int | None, base64: bytes, sequence_number: int) -> Pieces:
        picture = (b'"b64_json":', *self._base64(base64))
        if self.dialect.sparse:
            return _splice(
                {"created_at": None, "type": name}, picture, {"usage": None} if stage is None else {}
            )
        asked = self.parameters
        tail: dict[str, Any] = {"background": asked.background, "output_format": asked.output_format}
        if stage is not None:
            tail["partial_image_index"] = stage
        tail |= {"quality": asked.quality, "sequence_number": sequence_number, "size": asked.size}
        if stage is None:
            tail["usage"] = self._usage(details=False)
        return _splice({"created_at": self.created, "type": name}, picture, tail)

    def _usage(self, *, details: bool) -> dict[str, Any]:
        asked = self.parameters
        text = prompt_tokens(asked.prompt)
        output = asked.n * output_tokens(asked.model, asked.width, asked.height, asked.quality)
        output += partial_tokens(asked.model, asked.partials)
        usage: dict[str, Any] = {
            "input_tokens": text,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": text},
            "output_tokens": output,
        }
        # The usage of a stream has no output_tokens_details.
        if details:
            usage["output_tokens_details"] = {"image_tokens": output, "text_tokens": 0}
        return usage | {"total_tokens": text + output}


def _splice(head: Mapping[str, Any], middle: Pieces, tail: Mapping[str, Any]) -> Pieces:
    """One object of `head`, what is written in `middle` (never nothing), and `tail`."""
    before, after = compact_json(head)[1:-1], compact_json(tail)[1:-1]
    return (b"{", before, b"," if before else b"", *middle, b"," if after else b"", after, b"}")
