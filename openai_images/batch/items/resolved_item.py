"""The items of a batch as they will be sent: complete and validated, with digests and cost estimates.

Invariants: two requests are the same if their bodies are, including the client's model and the bytes of input images;
journal rows have the digest of the body; all problems are reported together, before anything is sent. An input file is
identified by the SHA-256 of its bytes, so a changed file is a changed request, and is read once, in chunks; a URL is
identified by its text, as the server downloads it. Blocks; called in a thread.
Must not: accept one-shot streams (a later run may have to send them again).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

from attrs import define, evolve, field, fields_dict, frozen

from openai_images.batch.items.models import BatchItem, BatchOptions
from openai_images.errors import BatchInputError, ImagesError, RequestInvalidError
from openai_images.models.cost import estimate_cost
from openai_images.models.image import Image
from openai_images.models.requests import (
    EditRequest,
    GenerateRequest,
    as_list,
    reference_of,
)
from openai_images.wire.codec import encode_json, request_params

_MAX_SHOWN_PROBLEMS = 20
_MAX_IMAGES = 1_000
_MAX_SHOWN_PATH = 200
_MAX_SHORT_PROMPT = 1_000
"""Characters that every model accepts."""


@frozen
class ResolvedItem:
    """An item as it will be sent: its index, its complete `request`, its body's digest, its estimate in US dollars."""

    index: int
    key: str
    request: GenerateRequest
    digest: str
    estimate: Decimal | None = field(default=None)

    @property
    def image_count(self) -> int:
        """The number of requested images."""
        return self.request.n or 1

    def rest(self, kept_count: int, options: BatchOptions) -> ResolvedItem | None:
        """Return this item for the missing images only; None if it must request all."""
        missing = self.image_count - kept_count
        if not 0 < kept_count < self.image_count or "n" in (self.request.extra_body or {}):
            return None
        request = evolve(self.request, n=missing)
        return evolve(self, request=request, estimate=_estimate(request, options))


def _estimate(request: GenerateRequest, options: BatchOptions) -> Decimal | None:
    """Return the most that a request may cost, in US dollars; None if unknown."""
    estimate, each = estimate_cost(request, options.prices), options.max_image_cost
    if each is None:
        return estimate
    number: Any = (request.extra_body or {}).get("n", request.n)  # callers may be untyped
    most = each * number if isinstance(number, int) else each
    return most if estimate is None else min(most, estimate)


def resolve_items(items: Iterable[BatchItem], model: str | None, options: BatchOptions) -> list[ResolvedItem]:
    """Return the items as they will be sent; `model` is the default. Raises `BatchInputError` with all problems."""
    items = checked_items(items)
    resolved: list[ResolvedItem] = []
    problems: list[str] = []
    first: dict[str, str] = {}
    digests = ImageDigests()
    for index, item in enumerate(items):
        where = f"item {index}" if item.line is None else f"line {item.line}"
        if item.key in first:
            problems.append(f"{where}: the key {item.key[:40]!r} is already used by {first[item.key]}")
        first.setdefault(item.key, where)
        request = item.request
        if request.model is None and model is not None:
            request = evolve(request, model=model)
        try:
            _check_image_count(request)
            resolved.append(
                ResolvedItem(index, item.key, request, _digest(request, digests), _estimate(request, options))
            )
        except RequestInvalidError as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise input_error("the items", problems)
    return resolved


def checked_items(items: Iterable[BatchItem]) -> Sequence[BatchItem]:
    """Return the items as a sequence. Raises `BatchInputError` if it has other objects."""
    sequence = items if isinstance(items, Sequence) else tuple(items)
    kinds = [(index, type(item)) for index, item in enumerate(sequence) if not _is_item(item)]
    if kinds:
        must_be = "it must be a BatchItem(key, GenerateRequest(…))"
        problems = [f"item {index}: {must_be}, not {kind.__name__}" for index, kind in kinds]
        raise input_error("the items", problems)
    return sequence


def _is_item(item: object) -> bool:  # callers may be untyped
    return isinstance(item, BatchItem)


_values_of = attrgetter(
    *(name for name in fields_dict(GenerateRequest) if name not in ("prompt", "extra_body"))
)


def reject_invalid_items(items: Iterable[ResolvedItem], check: Callable[[GenerateRequest], None]) -> None:
    """Raise `BatchInputError` with all problems that `check` raises for these items, each once.

    Items that differ only in a short prompt are checked once.
    """
    checked: dict[tuple[object, ...], str] = {}
    keys: dict[str, list[str]] = {}
    for item in items:
        request, shape = item.request, _shape(item.request)
        problem = None if shape is None else checked.get(shape)
        if problem is None:
            problem = _problem_of(request, check)
            if shape is not None:
                checked[shape] = problem
        if problem:
            keys.setdefault(problem, []).append(item.key)
    if keys:
        problems = [
            f"{found[0][:40]!r}{f' and {len(found) - 1:,} more' if found[1:] else ''}: {problem}"
            for problem, found in keys.items()
        ]
        raise input_error("the items", problems)


def _shape(request: GenerateRequest) -> tuple[object, ...] | None:
    """Return all values except the prompt; None if the prompt, or an object in the request, matters for the check."""
    if (
        request.path != GenerateRequest.path
        or request.svg is not None
        or request.extra_body is not None
        or len(request.prompt) > _MAX_SHORT_PROMPT
        or not request.prompt.strip()
    ):
        return None
    values: tuple[object, ...] = _values_of(request)
    try:
        hash(values)
    except TypeError:  # callers may be untyped
        return None
    return values


def _problem_of(request: GenerateRequest, check: Callable[[GenerateRequest], None]) -> str:
    try:
        check(request)
    except RequestInvalidError as error:
        return str(error).removeprefix("the request was not sent: ")
    return ""


_canonical_encoder = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _check_image_count(request: GenerateRequest) -> None:
    """Reject a number of images that file names do not support. Raises `RequestInvalidError`."""
    number: Any = request.n  # callers may be untyped
    if number is not None and (
        isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= _MAX_IMAGES
    ):
        msg = f"n must be a whole number from 1 to {_MAX_IMAGES:,}"
        raise RequestInvalidError(msg)


def input_error(where: str, problems: Sequence[str]) -> BatchInputError:
    """Return the exception with all `problems`; its text has the first of them."""
    shown = "".join(f"\n  {problem}" for problem in problems[:_MAX_SHOWN_PROBLEMS])
    more = (
        f"\n  … and {len(problems) - _MAX_SHOWN_PROBLEMS:,} more"
        if len(problems) > _MAX_SHOWN_PROBLEMS
        else ""
    )
    rows = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    return BatchInputError(
        f"{where} cannot be used; nothing was sent: {rows}{shown}{more}", problems=problems
    )


def _digest(request: GenerateRequest, digests: ImageDigests) -> str:
    """Return the SHA-256 of the request's canonical body and its images' digests. Raises `RequestInvalidError`."""
    body = request_params(request, stream=False)
    if isinstance(request, EditRequest):
        parts = {"path": request.path, "body": body, "images": digests.of_request(request)}
        return _hash_json(json.loads(encode_json(parts)))
    if {str} >= set(map(type, body)) and {str, int} >= set(map(type, body.values())):
        with suppress(ValueError):  # raised below, without the prompt
            return _hash_json(body)
    return _hash_json(json.loads(encode_json(body)))  # converts tuples to lists, and number keys to text


def _hash_json(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical_encoder.encode(body).encode()).hexdigest()


@define
class ImageDigests:
    """Identifies images; files are read once."""

    _by_path: dict[str, str] = field(factory=dict[str, str], init=False, repr=False)

    def of_request(self, request: EditRequest) -> dict[str, Any]:
        """Return the identities of an edit's images, as JSON. Raises `RequestInvalidError` with all problems."""
        found: dict[str, list[Any]] = {}
        problems: list[str] = []
        for part, name, image in _images(request):
            try:
                found.setdefault(part, []).append(self._identify(image))
            except (ImagesError, ValueError) as error:
                problems.append(f"{name}: {error}")
            except OSError as error:
                why = error.strerror or type(error).__name__
                problems.append(f"{name}: {str(error.filename)[:_MAX_SHOWN_PATH]!r} cannot be read ({why})")
        if problems:
            raise RequestInvalidError("; ".join(problems))
        return found

    def _identify(self, image: Any) -> dict[str, str | None]:
        reference = reference_of(image)
        if reference is not None:
            return {"image_url": reference.image_url, "file_id": reference.file_id}
        match image:
            case Image():
                return self._identify(image.data if image.path is None else image.path)
            case bytes() | bytearray() | memoryview():
                return {"sha256": hashlib.sha256(cast("bytes", image)).hexdigest()}
            case str() | os.PathLike():
                return {"sha256": self._digest(os.fspath(image))}
            case _:
                raise RequestInvalidError(
                    f"a batch accepts paths, bytes, Images, URLs and ImageReferences, not {type(image).__name__}, "
                    "which another run could not send again"
                )

    def _digest(self, path: str) -> str:
        if path not in self._by_path:
            with Path(path).open("rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise RequestInvalidError(f"{path!r} is not a regular file")
                self._by_path[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._by_path[path]


def _images(request: EditRequest) -> Iterator[tuple[str, str, Any]]:
    """Yield each image with its parameter, and its name in messages."""
    images = as_list(request.image)
    for number, image in enumerate(images):
        yield "image", "image" if len(images) == 1 else f"image[{number}]", image
    for name, layer in (("mask", request.mask), ("markup", request.markup)):
        if layer is not None:
            yield name, name, layer
