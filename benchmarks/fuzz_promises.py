"""What every result, image and error must be, whatever the answer was: the promises that the fuzzer looks at.

Rules: each function tells what is wrong in words, one line for each broken promise. The images of an answer are found
by `json.loads` and the standard library, with none of the decoder's own code, so that a mistake of its cannot hide
itself. Only what is beyond doubt counts: base64 without any liberty, events with plain line ends and a blank line
behind them.
"""

import base64
import binascii
import json
import math
import pickle
import re
from collections.abc import Iterator
from typing import Any, TypeGuard

from attrs import asdict

from benchmarks.corpus import KEY, PROMPT
from openai_images.errors import APIStatusError, ImagesError, ModerationBlockedError
from openai_images.models.image import Image
from openai_images.models.results import ImageResult
from openai_images.models.usage import TokenDetails, Usage
from openai_images.wire.error_mapping import ResponseContext

_LONGEST = 5_000
_BASE64 = re.compile(r"(?![0-9]{150})[A-Za-z0-9+/]{150}")  # a number is none
_EXTRA = re.compile(r"extra=<.*?>(?=[,)])", re.DOTALL)  # the names of fields, which are the server's


# Results


def of_result(result: ImageResult) -> list[str]:
    """Images, counts, a repr that shows nothing, a pickle that is the same."""
    found = [] if result.images else ["a result without an image"]
    for image in result.images:
        found += of_image(image)
    found += counts(result, "created")
    found += _of_usage(result.usage)
    found += [] if result.svg_usage is None else counts(result.svg_usage, *_TOKENS, "reasoning_tokens")
    return found + shown(repr(result), secret=False) + _pickled(result)


_TOKENS = ("input_tokens", "output_tokens", "total_tokens")


def _of_usage(usage: Usage | None) -> list[str]:
    if usage is None:
        return []
    details = (usage.input_tokens_details, usage.output_tokens_details)
    kinds = [
        counts(kind, "image_tokens", "text_tokens") for kind in details if isinstance(kind, TokenDetails)
    ]
    return sum(kinds, counts(usage, *_TOKENS))


def of_image(image: Image) -> list[str]:
    """Bytes or a URL; of the bytes, as many as it says."""
    if image.nbytes:
        sides = (image.width, image.height)
        real = all(side is None for side in sides) or all(
            isinstance(side, int) and side > 0 for side in sides
        )
        found = [] if real else [f"an image of {sides} pixels"]
        return (
            found if len(image.data) == image.nbytes else [*found, "an image that is not as long as it says"]
        )
    return [] if isinstance(image.url, str) and image.url else ["an image that has neither bytes nor a URL"]


def counts(value: Any, *names: str) -> list[str]:
    """Each of these fields is a number of something, or None."""
    fields = asdict(value, recurse=False)
    return [
        f"{type(value).__name__}.{name} is {str(fields[name])[:40]!r}"
        for name in names
        if name in fields and fields[name] is not None and not _is_count(fields[name])
    ]


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= 2**53


# Errors


def of_error(answered: ResponseContext, error: ImagesError) -> list[str]:
    """A text that tells no secret, a pickle that is the same, and no promise that money is safe where it may not be."""
    found = (
        shown(str(error), secret=True)
        + shown(repr(error), secret=True)
        + shown(repr(vars(error)), secret=True)
    )
    found += _pickled(error)
    if not str(error).strip() or len(str(error)) > _LONGEST:
        found.append(f"a text of {len(str(error))} characters")
    if error.safe_to_resend and (error.maybe_billed or answered.status < 300):
        found.append(f"{type(error).__name__} with {answered.status} is safe to send again")
    return found + (_of_status_error(answered, error) if isinstance(error, APIStatusError) else [])


def _of_status_error(answered: ResponseContext, error: APIStatusError) -> list[str]:
    found = [
        f"{name} is a {type(value).__name__}"
        for name, value in (("code", error.code), ("type", error.type), ("param", error.param))
        if value == "" or type(value) not in (str, type(None))
    ]
    if error.status_code != answered.status:
        found.append(f"status {error.status_code} instead of {answered.status}")
    wait = error.retry_after
    if wait is not None and not 0 < wait < math.inf:
        found.append(f"a wait of {wait}")
    if isinstance(error, ModerationBlockedError):
        texts = (*error.categories, error.stage)
        found += [] if all(type(text) is str and text for text in texts) else [f"moderation said {texts}"]
    return found


def shown(text: str, *, secret: bool) -> list[str]:
    """What may be read by anyone: base64 nowhere, the key and the prompt in no error, and all of it can be printed."""
    text = text if secret else _EXTRA.sub("", text)
    found = ["base64 is shown"] if _BASE64.search(text) else []
    try:
        text.encode()
    except UnicodeEncodeError:
        found.append("a text that cannot be encoded")
    if secret:
        found += [f"the {name} is shown" for name, sent in (("key", KEY), ("prompt", PROMPT)) if sent in text]
    return found


def _pickled(value: object) -> list[str]:
    again = pickle.loads(pickle.dumps(value))  # noqa: S301  our own, made a moment ago
    same = str(again) == str(value) if isinstance(value, ImagesError) else again == value
    return [] if same else [f"{type(value).__name__} comes out of a pickle as something else"]


def images_of_json(body: bytes) -> list[bytes]:
    """Those in the `data` of one JSON document."""
    doc = _document(body) if body.startswith(b"{") else None
    items = doc.get("data") if _is_object(doc) else None
    return [image for item in items if (image := _image(item))] if _is_list(items) else []


def images_of_events(body: bytes) -> list[bytes]:
    """Those of the `*.completed` events of a stream."""
    if b"\r" in body or not body.startswith((b"data:", b"event:", b":", b"id:", b"retry:")):
        return []
    found = (_image(doc) for kind, doc in _events(body) if kind.endswith(".completed"))
    return [image for image in found if image]


def _events(body: bytes) -> Iterator[tuple[str, Any]]:
    for event in body.split(b"\n\n")[:-1]:
        lines = [line.partition(b":") for line in event.split(b"\n")]
        names = [value.decode("utf-8", "replace").strip() for field, _, value in lines if field == b"event"]
        doc = _document(b"\n".join(value for field, _, value in lines if field == b"data"))
        if _is_object(doc):
            kind = doc.get("type")
            yield kind if isinstance(kind, str) and kind else "".join(names[-1:]), doc


def _document(text: bytes) -> Any:
    try:
        return json.loads(text.decode())
    except (ValueError, RecursionError):
        return None


def _image(item: Any) -> bytes:
    text = item.get("b64_json") if _is_object(item) else None
    if not isinstance(text, str) or len(text) % 4:  # Python 3.11 takes padding where none is due
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
