"""What came of an answer, as the lines that stand in its file: all of it, so that nothing comes unnoticed."""

from collections.abc import Iterable
from typing import Any

from attrs import asdict

from benchmarks.corpus import KEY, PROMPT, Answer
from openai_images.errors import APIStatusError, ImagesError
from openai_images.models.image import Image
from openai_images.wire.error_mapping import ResponseContext, error_from_body
from openai_images.wire.headers import advertised_limits
from tests.helpers.reading import Read, read_as

_OF_THE_BYTES = ("_data", "path", "nbytes", "media_type", "width", "height")
_SHOWN = 80


def decoded(answer: Answer, chunks: Iterable[bytes]) -> Read:
    """What the client would make of it: of the body of a success, or of a refusal."""
    answered = ResponseContext(answer.status, answer.headers, (KEY, PROMPT))
    if answer.status < 300:
        return read_as(answered, chunks)
    error = error_from_body(answered, b"".join(chunks))
    return Read([], None, error, (type(error), str(error)), [])


def outcome(answer: Answer, read: Read) -> tuple[str, ...]:
    """The lines."""
    limits = [f"limit: {kind}, {_set(limit)}" for kind, limit in advertised_limits(answer.headers).items()]
    return (*_of_body(read), *limits)


def _of_body(read: Read) -> tuple[str, ...]:
    events = [f"events: {read.kinds}"] if read.kinds else []
    if read.error is not None:
        kept = [f"kept: {len(read.images)} whole"] if read.images else []
        return (*events, *kept, *_of_error(read.error))
    result = read.result
    pictures = [f"image: {_of_image(image)}" for image in result.images]
    said = _set(result, "images", "usage", "attempts", "elapsed", "model", "edited", "parts", "missing")
    usage = [f"usage: {_set(result.usage)}"] if result.usage is not None else []
    return (*events, *pictures, *([f"said: {said}"] if said else []), *usage)


def _of_error(error: ImagesError) -> list[str]:
    unknown = " (may be billed)" if error.maybe_billed else ""
    fields = ("code", "type", "param", "categories", "stage", "retry_after")
    given = [f"{name}={getattr(error, name)!r}" for name in fields if getattr(error, name, None)]
    again = ["sent again"] if error.safe_to_resend else []
    text = str(error).replace("\n", "\\n")
    lines = [f"{type(error).__name__}{unknown}: {text}", f"fields: {', '.join([*given, *again])}"]
    return lines if isinstance(error, APIStatusError) else lines[:1]


def _of_image(image: Image) -> str:
    given = f"{image.media_type} {image.width}x{image.height}" if image.nbytes else "not here"
    more = _set(image, *_OF_THE_BYTES)
    return f"{given}, {more}" if more else given


def _set(value: Any, *but: str) -> str:
    """The fields that say something."""
    named_tuple = isinstance(value, tuple)
    fields = {} if value is None else value._asdict() if named_tuple else asdict(value, recurse=False)
    return ", ".join(
        f"{name}={_short(field)}"
        for name, field in fields.items()
        if name not in but and field not in (None, {})
    )


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**30:
        return f"about 1e{len(str(value)) - 1}"
    if hasattr(value, "__attrs_attrs__") or hasattr(value, "_asdict"):
        return f"({_set(value)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in value.items()) + "}"
    return repr(value)
