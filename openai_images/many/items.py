"""The options of many calls, and the caller's requests, each read when it can start and parsed into a `RequestItem`.

Invariants: an invalid request is reported with its position, without quoting a prompt. Each request's own parameters
override the defaults.
Must not: convert values; a number passed as text is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Generator, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

from attrs import evolve, field, fields_dict, frozen

from openai_images._util.attrs import is_count, must_be
from openai_images._util.filenames import NameClaims, default_key, safe_file_name
from openai_images._util.json import is_mapping
from openai_images.catalog.models import MAX_IMAGES_PER_CALL
from openai_images.errors import RequestInvalidError
from openai_images.many.failure_streaks import DEFAULT_IDENTICAL_FAILURES
from openai_images.models.options import Timing
from openai_images.models.outcomes import CallObserver, Failed, Progress, RunObserver
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult

_NO_DEFAULTS: Mapping[str, Any] = {}


@frozen
class RequestItem:
    """One of many requests: its position, counted from 0, the key that names it, and the request."""

    index: int
    key: str
    request: GenerateRequest


Send: TypeAlias = Callable[[RequestItem, CallObserver], Awaitable[ImageResult]]
"""Makes one call, and notifies the observer before it waits and before it sends."""


# The message names the keyword of `generate_many` alone: callers never see this class.
_count = must_be("a whole number above 0", is_count, names_class=False)
_count_or_none = must_be(
    "a whole number above 0", lambda value: value is None or is_count(value), names_class=False
)


@frozen(kw_only=True)
class RunOptions:
    """The options of a run of many calls.

    At most `concurrency` requests and unread outcomes are held; with `ordered`, outcomes are in the order of the
    requests. `total` is the number of requests, if it is known. `progress` is called after each change, `cost` for each
    result; `wait_reason` returns why nothing is sent and until when. `defaults` are parameters of requests that do not
    set them. Outcomes show the beginning of their prompt if `show_prompts`. `max_identical_failures` without a success
    between them end the run (None: never; see `FailureStreak`). Raises `ConfigurationError`.
    """

    concurrency: int = field(validator=_count)
    ordered: bool = False
    total: int | None = None
    progress: Callable[[Progress], object] | None = None
    cost: Callable[[GenerateRequest, ImageResult], Decimal | None] | None = None
    timing: Timing = Timing()  # noqa: RUF009  frozen
    wait_reason: Callable[[], str | None] = lambda: None
    defaults: Mapping[str, Any] = field(factory=dict[str, Any], repr=False)
    show_prompts: bool = True
    max_identical_failures: int | None = field(default=DEFAULT_IDENTICAL_FAILURES, validator=_count_or_none)
    observer: RunObserver | None = None


def parse_item(index: int, value: object, defaults: Mapping[str, Any] = _NO_DEFAULTS) -> RequestItem:
    """Return the item at position `index` from a prompt, a request, a mapping of parameters, or a `RequestItem`.

    A mapping has the endpoint's parameters, `prompt` and optionally `key`; None counts as not set. With an `image` it
    becomes an `EditRequest`. `defaults` apply to parameters that are not set; `extra_body` is merged name by name.
    Raises `RequestInvalidError`.
    """
    if isinstance(value, RequestItem):
        return value
    try:
        return RequestItem(index, parse_key(index, value), _validated(_parse_request(value, defaults)))
    except RequestInvalidError as error:
        raise RequestInvalidError(f"request {index}: {error}") from None


def parse_key(index: int, value: object) -> str:
    """Return the value's key, or the position with leading zeros. Raises `RequestInvalidError`."""
    key = value.get("key") if is_mapping(value) else None
    if key is None:
        return default_key(index)
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise RequestInvalidError(f"its key must be text, not {type(key).__name__}")
    if not safe_file_name(str(key)):
        raise RequestInvalidError(f"its key {str(key)[:40]!r} cannot name a file; use letters or digits")
    return str(key)


def parse_defaults(params: Mapping[str, Any]) -> dict[str, Any]:
    """Validate the keywords and return those that are set. Raises TypeError and `RequestInvalidError`."""
    _validated(GenerateRequest.of("", params))
    return {name: value for name, value in params.items() if value is not None}


def _parse_request(value: object, defaults: Mapping[str, Any]) -> GenerateRequest:
    if isinstance(value, str):
        return GenerateRequest(value, **defaults)
    if isinstance(value, GenerateRequest):
        own = {name: getattr(value, name) for name in defaults}
        return evolve(value, **_with_defaults(defaults, own))
    if not is_mapping(value):
        expected = "a prompt (str), a GenerateRequest, an EditRequest or a mapping with 'prompt'"
        raise RequestInvalidError(f"it must be {expected}, not {type(value).__name__}")
    own = {name: parameter for name, parameter in value.items() if name != "key"}
    cls = _request_class(own)
    known = fields_dict(cls)
    unknown = [name for name in own if name not in known]
    if unknown:
        # Imported here: valid requests never load it.
        from openai_images._util.keyword_hints import unknown_keyword  # noqa: PLC0415

        raise RequestInvalidError(unknown_keyword(unknown[0], (*known, "key")))
    if own.get("prompt") is None:
        raise RequestInvalidError("it has no 'prompt'")
    return cls(own.pop("prompt"), **_with_defaults(defaults, own))


def _request_class(own: Mapping[str, Any]) -> type[GenerateRequest]:
    if own.get("image") is None:
        return GenerateRequest
    # Imported here: generations start faster without it.
    from openai_images.models.requests import EditRequest  # noqa: PLC0415

    return EditRequest


def _with_defaults(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the defaults with a request's own parameters, which override them."""
    merged = {**defaults, **{name: value for name, value in own.items() if value is not None}}
    default_body, own_body = defaults.get("extra_body"), own.get("extra_body")
    if is_mapping(default_body) and is_mapping(own_body):
        merged["extra_body"] = {**default_body, **own_body}
    return merged


def _validated(request: GenerateRequest) -> GenerateRequest:
    """Check the types of the parameters that the client itself uses; return the request."""
    count: Any = request.n  # callers may be untyped
    if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
        raise RequestInvalidError(f"n must be a whole number, not {type(count).__name__}")
    if request.extra_body is not None and not is_mapping(request.extra_body):
        raise RequestInvalidError(f"extra_body must be a mapping, not {type(request.extra_body).__name__}")
    return request


_END: Final = object()


class RequestReader:
    """Reads the caller's requests: `read` until None; `interrupt` a waiting read; `aclose` before the end."""

    def __init__(
        self, requests: Iterable[object] | AsyncIterable[object], defaults: Mapping[str, Any] | None = None
    ) -> None:
        """Apply `defaults` to each request. Raises TypeError if `requests` is no iterable of requests."""
        cls: type[Any] = type(requests)  # callers may be untyped
        if issubclass(cls, str | bytes | bytearray | GenerateRequest | Mapping):
            raise TypeError(
                f"requests must be an iterable of requests, not one {cls.__name__}; put it into a list"
            )
        if not issubclass(cls, Iterable | AsyncIterable):
            raise TypeError(
                "requests must be an iterable or async iterable of prompts, GenerateRequests or mappings, not "
                f"{cls.__name__}"
            )
        self._requests: Any = requests
        self._is_async = issubclass(cls, AsyncIterable)
        self._iterator: Any = None
        self._defaults = defaults or {}
        self._keys = NameClaims(MAX_IMAGES_PER_CALL)
        self._step: asyncio.Timeout | None = None

    async def read(self, index: int) -> RequestItem | Failed | None:
        """Return the next item, or a `Failed` for an invalid one; None at the end, and after `interrupt`."""
        step = self._step = asyncio.timeout(None)
        try:
            async with step:
                value = await self._next()
        except TimeoutError:
            if step.expired():
                return None
            raise
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise RuntimeError("the source of the requests was cancelled") from error
        finally:
            self._step = None
        return None if value is _END else self._parse(index, value)

    def interrupt(self) -> None:
        """Make a waiting `read` return None. Idempotent."""
        step, self._step = self._step, None
        if step is not None:
            step.reschedule(asyncio.get_running_loop().time())

    async def aclose(self) -> None:
        """Close the iterator, or a generator that was not started. Idempotent."""
        iterable: Any = self._requests if self._iterator is None else self._iterator
        if isinstance(iterable, Generator):
            iterable.close()
        elif hasattr(iterable, "__anext__") and hasattr(iterable, "aclose"):
            await iterable.aclose()

    async def _next(self) -> object:
        if self._iterator is None:
            self._iterator = aiter(self._requests) if self._is_async else iter(self._requests)
        if not self._is_async:
            return next(self._iterator, _END)
        try:
            return await anext(self._iterator)
        except StopAsyncIteration:
            return _END

    def _parse(self, index: int, value: object) -> RequestItem | Failed:
        try:
            item = parse_item(index, value, self._defaults)
        except RequestInvalidError as error:
            return Failed(index, _key_or_default(index, value), None, error)
        if item is value or self._keys.claim(index, item.key, item.request.n or 1):
            return item
        msg = (
            f"request {index}: its key names the same file as that of an earlier request (case and suffix do not "
            "count); give each request its own key"
        )
        return Failed(index, item.key, item.request, RequestInvalidError(msg))


def _key_or_default(index: int, value: object) -> str:
    """Return the key of an invalid request, if it has a valid one."""
    try:
        return parse_key(index, value)
    except RequestInvalidError:
        return default_key(index)
