"""What the caller passed to many calls, read lazily and made into one `Item` each.

Invariants: what cannot be a request is reported with its position, without quoting a prompt. Parameters for all are
laid under each request's own.
Must not: repair; a number that came as text is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Generator, Iterable, Mapping
from typing import Any, Final

from attrs import evolve, fields_dict, frozen

from openai_images._util.filenames import NameClaims, default_key, safe_file_name
from openai_images._util.json import is_mapping
from openai_images.catalog.models import MAX_IMAGES_PER_CALL
from openai_images.errors import RequestInvalidError
from openai_images.models.outcomes import Failed
from openai_images.models.requests import GenerateRequest

_NOTHING: Mapping[str, Any] = {}


@frozen
class RequestItem:
    """One of many requests: its place, counted from 0, the key that names it, and what is asked."""

    index: int
    key: str
    request: GenerateRequest


def parse_item(index: int, given: object, defaults: Mapping[str, Any] = _NOTHING) -> RequestItem:
    """The item number `index` from a prompt, a request, a mapping of parameters, or an `Item` (as it is).

    A mapping has the endpoint's parameters, `prompt` and, if it likes, `key`; None counts as not set there. One with an
    `image` is an `EditRequest`.
    `defaults` hold for what a request does not set; `extra_body` is merged name by name. Raises
    `RequestInvalidError`.
    """
    if isinstance(given, RequestItem):
        return given
    try:
        return RequestItem(index, parse_key(index, given), _checked(_request_of(given, defaults)))
    except RequestInvalidError as error:
        raise RequestInvalidError(f"request {index}: {error}") from None


def parse_key(index: int, given: object) -> str:
    """The key in what was given, or the place with leading zeros. Raises `RequestInvalidError`."""
    key = given.get("key") if is_mapping(given) else None
    if key is None:
        return default_key(index)
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise RequestInvalidError(f"its key must be text, not {type(key).__name__}")
    if not safe_file_name(str(key)):
        raise RequestInvalidError(
            f"its key {str(key)[:40]!r} leaves nothing that could name a file; use letters or digits"
        )
    return str(key)


def parse_defaults(params: Mapping[str, Any]) -> dict[str, Any]:
    """What of these keywords is set. Raises TypeError and `RequestInvalidError`."""
    _checked(GenerateRequest.of("", params))
    return {name: value for name, value in params.items() if value is not None}


def _request_of(given: object, defaults: Mapping[str, Any]) -> GenerateRequest:
    if isinstance(given, str):
        return GenerateRequest(given, **defaults)
    if isinstance(given, GenerateRequest):
        own = {name: getattr(given, name) for name in defaults}
        return evolve(given, **_laid_over(defaults, own))
    if not is_mapping(given):
        what = "a prompt (str), a GenerateRequest, an EditRequest or a mapping with 'prompt'"
        raise RequestInvalidError(f"it must be {what}, not {type(given).__name__}")
    own = {name: value for name, value in given.items() if name != "key"}
    kind = _kind_of(own)
    unknown = [str(name)[:40] for name in own if name not in fields_dict(kind)]
    if unknown:
        raise RequestInvalidError(
            f"unknown parameter {unknown[0]!r}; what this version does not know goes into extra_body"
        )
    if own.get("prompt") is None:
        raise RequestInvalidError("it has no 'prompt'")
    return kind(own.pop("prompt"), **_laid_over(defaults, own))


def _kind_of(own: Mapping[str, Any]) -> type[GenerateRequest]:
    """An `EditRequest` where there is a picture to edit."""
    if own.get("image") is None:
        return GenerateRequest
    # Here, so that those who edit nothing need not wait for its import.
    from openai_images.models.requests import EditRequest  # noqa: PLC0415

    return EditRequest


def _laid_over(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults, and over them what is set."""
    both = {**defaults, **{name: value for name, value in own.items() if value is not None}}
    common, more = defaults.get("extra_body"), own.get("extra_body")
    if is_mapping(common) and is_mapping(more):
        both["extra_body"] = {**common, **more}
    return both


def _checked(request: GenerateRequest) -> GenerateRequest:
    """The request, if what the client itself counts with is of its kind; the rest is the server's to judge."""
    pictures: Any = request.n  # callers may be untyped
    if pictures is not None and (isinstance(pictures, bool) or not isinstance(pictures, int)):
        raise RequestInvalidError(f"n must be a whole number, not {type(pictures).__name__}")
    if request.extra_body is not None and not is_mapping(request.extra_body):
        raise RequestInvalidError(f"extra_body must be a mapping, not {type(request.extra_body).__name__}")
    return request


_END: Final = object()


class RequestReader:
    """`read` until None; `interrupt` a read that waits; `aclose` where it is left before its end."""

    def __init__(
        self, given: Iterable[object] | AsyncIterable[object], defaults: Mapping[str, Any] | None = None
    ) -> None:
        """Only look at what it is; `defaults` are laid under each request. Raises TypeError where it holds none."""
        kind: type[Any] = type(given)  # callers may be untyped
        if issubclass(kind, str | bytes | bytearray | GenerateRequest | Mapping):
            raise TypeError(f"requests must be many, and this is one {kind.__name__}; put it into a list")
        if not issubclass(kind, Iterable | AsyncIterable):
            raise TypeError(
                "requests must be an iterable or async iterable of prompts, GenerateRequests or mappings, not "
                f"{kind.__name__}"
            )
        self._given: Any = given
        self._is_async = issubclass(kind, AsyncIterable)
        self._iterator: Any = None
        self._defaults = defaults or {}
        self._keys = NameClaims(MAX_IMAGES_PER_CALL)
        self._step: asyncio.Timeout | None = None

    async def read(self, index: int) -> RequestItem | Failed | None:
        """The next item, or why it is none; None at the end, and where `interrupt` ended the wait for it."""
        self._step = asyncio.timeout(None)
        try:
            async with self._step:
                given = await self._next()
        except TimeoutError:
            if self._step.expired():
                return None
            raise
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise RuntimeError("the source of the requests was cancelled") from error
        finally:
            self._step = None
        return None if given is _END else self._item(index, given)

    def interrupt(self) -> None:
        """End a wait for the next item."""
        if self._step is not None:
            self._step.reschedule(asyncio.get_running_loop().time())

    async def aclose(self) -> None:
        """Close what was opened, and generators in any case; harmless when called twice."""
        source: Any = self._given if self._iterator is None else self._iterator
        if isinstance(source, Generator):
            source.close()
        elif hasattr(source, "__anext__") and hasattr(source, "aclose"):
            await source.aclose()

    async def _next(self) -> object:
        if self._iterator is None:
            self._iterator = aiter(self._given) if self._is_async else iter(self._given)
        if not self._is_async:
            return next(self._iterator, _END)
        try:
            return await anext(self._iterator)
        except StopAsyncIteration:
            return _END

    def _item(self, index: int, given: object) -> RequestItem | Failed:
        try:
            item = parse_item(index, given, self._defaults)
        except RequestInvalidError as error:
            return Failed(index, _key(index, given), None, error)
        if item is given or self._keys.claim(index, item.key, item.request.n or 1):
            return item
        msg = (
            f"request {index}: an earlier request has its key, or one that names the same file (case and suffix do not "
            "count); give each its own"
        )
        return Failed(index, item.key, item.request, RequestInvalidError(msg))


def _key(index: int, given: object) -> str:
    """The key of what is no request, as far as it has one."""
    try:
        return parse_key(index, given)
    except RequestInvalidError:
        return default_key(index)
