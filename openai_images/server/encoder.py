"""Turns pictures into the bytes of an answer, as the API spells them or in one of the dialects seen elsewhere.

Rules: field order, line ends and names are those of real recordings; base64 text is spliced in and copied once, never
passed through `json`; a dialect changes the spelling only. It shares no code with the client, so that a mistake made on
both sides cannot cancel out.
"""

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Literal

import attrs

from openai_images.server.catalog import output_tokens, partial_tokens, prompt_tokens
from openai_images.server.checks import Author
from openai_images.server.error_replies import compact_json
from openai_images.server.parameters import Parameters

Spelling = Callable[[bytes], bytes]
Pieces = tuple[bytes, ...]
Link = Callable[[bytes, int], bytes]


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
    links: Literal["absolute", "relative", "data"] | None = None


@attrs.frozen(kw_only=True)
class Encoder:
    """Writes the frames of one answer; `link` gives the url of a picture and its number, None meaning base64."""

    parameters: Parameters
    dialect: Dialect
    created: int
    link: Link | None = None

    def json_body(self, pictures: Sequence[bytes]) -> bytes:
        """The body of a JSON answer; `pictures` are base64."""
        shown = () if self.dialect.empty_data else pictures
        items = [self._item(number, picture) for number, picture in enumerate(shown)]
        data = (b'"data":[', *chain.from_iterable(items), b"]")
        if self.dialect.sparse:
            return b"".join(_splice({"created": None}, data, {"usage": None}))
        asked = self.parameters
        if asked.bare:
            return b"".join(_splice({"created": self.created}, data, {}))
        head = {"created": self.created, "background": asked.background}
        tail: dict[str, Any] = {
            "output_format": asked.output_format,
            "quality": asked.quality,
            "size": asked.size,
        }
        if asked.safety_identifier is not None:
            tail["safety_identifier"] = asked.safety_identifier
        tail["usage"] = self._usage(details=True)
        if asked.author is not None:
            tail["svg_usage"] = _svg_usage(asked.author, pictures)
        return b"".join(_splice(head, data, tail))

    def picture_event(self, stage: int | None, picture: bytes, sequence_number: int) -> bytes:
        """A partial image event, or the completed one where `stage` is None; `picture` is base64."""
        prefix = "image_generation" if self.parameters.edit is None else "image_edit"
        name = f"{prefix}.completed" if stage is None else f"{prefix}.partial_image"
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

    def _picture(self, picture: bytes, number: int, *, linked: bool = True) -> Pieces:
        """The field with the picture, as base64 or as a url."""
        if linked and self.link is not None:
            return b'"url":"', self.link(picture, number), b'"'
        spelled = self.dialect.base64
        if spelled is as_string:
            return b'"b64_json":"', picture, b'"'
        return b'"b64_json":', spelled(picture)

    def _item(self, number: int, picture: bytes) -> Pieces:
        start, end = b",{" if number else b"{", b"}"
        asked = self.parameters
        if asked.revised_prompt is not None:
            start += b'"revised_prompt":' + compact_json(asked.revised_prompt) + b","
        if not self.dialect.sparse and not asked.bare:
            end = b',"generation_id":"%s"}' % str(uuid.uuid4()).encode()
        return (start, *self._picture(picture, number), end)

    def _picture_data(self, name: str, stage: int | None, base64: bytes, sequence_number: int) -> Pieces:
        picture = self._picture(base64, 0, linked=stage is None)
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
        image = 0 if asked.edit is None else asked.edit.tokens
        columns, rows = (1, 1) if asked.animation is None else asked.animation.grid
        width, height = asked.width * columns, asked.height * rows
        output = asked.n * output_tokens(asked.model, width, height, asked.quality)
        output += partial_tokens(asked.model, asked.partials)
        usage: dict[str, Any] = {
            "input_tokens": text + image,
            "input_tokens_details": {"image_tokens": image, "text_tokens": text},
            "output_tokens": output,
        }
        # The usage of a stream has no output_tokens_details.
        if details:
            usage["output_tokens_details"] = {"image_tokens": output, "text_tokens": 0}
        return usage | {"total_tokens": text + image + output}


_EFFORT_TOKENS: Final = {
    "none": 0,
    "minimal": 64,
    "low": 256,
    "medium": 1024,
    "high": 4096,
    "xhigh": 8192,
    "max": 16384,
}


def _svg_usage(author: Author, pictures: Sequence[bytes]) -> dict[str, Any]:
    """The tokens of the model that wrote an svg: four characters each, and made-up ones for its reasoning."""
    reasoning = _EFFORT_TOKENS[author.effort or "medium"]
    written = math.ceil(sum(map(len, pictures)) * 3 / 4 / 4)
    return {
        "model": author.model,
        "input_tokens": 512,
        "output_tokens": written + reasoning,
        "reasoning_tokens": reasoning,
        "total_tokens": 512 + written + reasoning,
    }


def _splice(head: Mapping[str, Any], middle: Pieces, tail: Mapping[str, Any]) -> Pieces:
    """One object of `head`, what is written in `middle` (never nothing), and `tail`."""
    before, after = compact_json(head)[1:-1], compact_json(tail)[1:-1]
    return (b"{", before, b"," if before else b"", *middle, b"," if after else b"", after, b"}")
