"""Encodes images as the bytes of a response, in the API's form or in dialects of other servers; keeps linked images.

Invariants: field order, line ends and names are those of recorded responses; base64 never passes through
`json`; a dialect changes only the encoding. A link has an id that cannot be guessed; the linked images are limited in
bytes, and the oldest are removed first.
"""

import math
import secrets
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, Final

import attrs

from openai_images.server.faults.plan import Dialect, as_string
from openai_images.server.protocol.catalog import SVGModel, output_tokens, partial_tokens, prompt_tokens
from openai_images.server.protocol.error_replies import compact_json
from openai_images.server.requests.parameters import Parameters

MakeURL = Callable[[bytes, int], bytes]
_IMAGE: Final = secrets.token_hex(16)  # marks the place of an image in JSON


@attrs.frozen(kw_only=True)
class Encoder:
    """Encodes the frames of one response; `link` makes the URL of an image, None means base64."""

    parameters: Parameters
    dialect: Dialect
    created: int
    link: MakeURL | None = None

    def json_body(self, images: Sequence[bytes]) -> bytes:
        """Return the body of a JSON response; `images` are base64."""
        parameters, sparse = self.parameters, self.dialect.sparse
        shown = () if self.dialect.empty_data else images
        body: dict[str, Any] = {
            "created": None if sparse else self.created,
            "background": parameters.background,
            "data": [self._item() for _ in shown],
            "output_format": parameters.output_format,
            "quality": parameters.quality,
            "size": parameters.size,
        }
        if parameters.safety_identifier is not None:
            body["safety_identifier"] = parameters.safety_identifier
        body["usage"] = None if sparse else self.usage(details=True)
        if parameters.svg_model is not None:
            body["svg_usage"] = _svg_usage(parameters.svg_model, images)
        if sparse or parameters.bare:
            body = {name: body[name] for name in ("created", "data", *(("usage",) if sparse else ()))}
        values = [
            self._value(image, number, linked=self.link is not None) for number, image in enumerate(shown)
        ]
        return b"".join(_insert(body, values))

    def image_event(self, stage: int | None, image: bytes, sequence_number: int) -> bytes:
        """Return a partial image event, or the completed one if `stage` is None; `image` is base64."""
        parameters, sparse = self.parameters, self.dialect.sparse
        prefix = "image_generation" if parameters.edit is None else "image_edit"
        name = f"{prefix}.completed" if stage is None else f"{prefix}.partial_image"
        linked = stage is None and self.link is not None
        data: dict[str, Any] = {"created_at": None if sparse else self.created, "type": name}
        data["url" if linked else "b64_json"] = _IMAGE
        if not sparse:
            data |= {"background": parameters.background, "output_format": parameters.output_format}
            data |= {} if stage is None else {"partial_image_index": stage}
            data |= {
                "quality": parameters.quality,
                "sequence_number": sequence_number,
                "size": parameters.size,
            }
        if stage is None:
            data["usage"] = None if sparse else self.usage(details=False)
        return self._frame(name, _insert(data, [self._value(image, 0, linked=linked)]))

    def plain_event(self, name: str | None, data: Mapping[str, Any], sequence_number: int) -> bytes:
        """Return an event without an image; a `sequence_number` of None in `data` is filled in."""
        number = {"sequence_number": sequence_number} if "sequence_number" in data else {}
        return self._frame(name, [compact_json({**data, **number})])

    def _frame(self, name: str | None, data: Iterable[bytes]) -> bytes:
        """Return one event on the wire; `data` are the pieces of one line."""
        end = self.dialect.line_end
        comment = b": keepalive" + end + end if self.dialect.comments else b""
        event = b"event: " + name.encode() + end if name and self.dialect.event_line else b""
        return b"".join((comment, event, b"data: ", *data, end, end))

    def _item(self) -> dict[str, Any]:
        parameters, revised = self.parameters, self.parameters.revised_prompt
        item = {} if revised is None else {"revised_prompt": revised}
        item["b64_json" if self.link is None else "url"] = _IMAGE
        if not self.dialect.sparse and not parameters.bare:
            item["generation_id"] = str(uuid.uuid4())
        return item

    def _value(self, image: bytes, number: int, *, linked: bool) -> bytes:
        """Return the JSON of an image: its URL, or its base64."""
        if linked and self.link is not None:
            return as_string(self.link(image, number))
        return self.dialect.base64(image)

    def usage(self, *, details: bool) -> dict[str, Any]:
        """Return the tokens of the response."""
        parameters = self.parameters
        text = prompt_tokens(parameters.prompt)
        image = 0 if parameters.edit is None else parameters.edit.tokens
        columns, rows = (1, 1) if parameters.animation is None else parameters.animation.grid
        width, height = parameters.width * columns, parameters.height * rows
        output = parameters.n * output_tokens(parameters.model, width, height, parameters.quality)
        output += partial_tokens(parameters.model, parameters.partials)
        usage: dict[str, Any] = {
            "input_tokens": text + image,
            "input_tokens_details": {"image_tokens": image, "text_tokens": text},
            "output_tokens": output,
        }
        # The usage of a stream has no output_tokens_details.
        if details:
            usage["output_tokens_details"] = {"image_tokens": output, "text_tokens": 0}
        return usage | {"total_tokens": text + image + output}


_EFFORT_TOKENS: Final = dict(none=0, minimal=64, low=256, medium=1024, high=4096, xhigh=8192, max=16384)  # noqa: C408


def _svg_usage(svg_model: SVGModel, images: Sequence[bytes]) -> dict[str, Any]:
    """Return the tokens of the model that wrote an svg: four characters each, and invented ones for its reasoning."""
    reasoning = _EFFORT_TOKENS[svg_model.effort or "medium"]
    written = math.ceil(sum(map(len, images)) * 3 / 4 / 4)
    return {
        "model": svg_model.model,
        "input_tokens": 512,
        "output_tokens": written + reasoning,
        "reasoning_tokens": reasoning,
        "total_tokens": 512 + written + reasoning,
    }


def _insert(value: object, images: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the pieces of the JSON of `value`, with the JSON of each image at its mark."""
    pieces = compact_json(value).split(compact_json(_IMAGE))
    return chain.from_iterable(zip_longest(pieces, images, fillvalue=b""))


MAX_LINKED_BYTES: Final = 256 * 1024 * 1024
MAX_LINKS: Final = 100_000


@attrs.frozen
class LinkedImage:
    """One image: its base64 and its media type."""

    base64: bytes = attrs.field(repr=lambda text: f"<{len(text):,} characters>")
    media_type: str


class LinkStore:
    """The images that the URLs of one server lead to."""

    def __init__(self, limit: int = MAX_LINKED_BYTES) -> None:
        self._limit = limit
        self._held = 0
        self._counts = Counter[int]()
        self._images: OrderedDict[str, LinkedImage] = OrderedDict()

    def add(self, image: LinkedImage, number: int) -> str:
        """Keep an image and return the path of its URL."""
        path = f"/v1/images/img_{uuid.uuid4().hex}/content?variant={number}"
        self._images[path] = image
        key = id(image.base64)
        self._held += 0 if self._counts[key] else len(image.base64)
        self._counts[key] += 1
        while len(self._images) > 1 and (self._held > self._limit or len(self._images) > MAX_LINKS):
            _, oldest = self._images.popitem(last=False)
            key = id(oldest.base64)
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]
                self._held -= len(oldest.base64)
        return path

    def clear(self) -> None:
        """Remove all links."""
        self._held = 0
        self._counts.clear()
        self._images.clear()

    def find(self, name: str, number: str) -> LinkedImage | None:
        """Return the image of a link, or None if it does not exist any more."""
        return self._images.get(f"/v1/images/{name}/content?variant={number}")
