"""Where many requests come from: any iterable or async iterable, read one at a time, each made an item.

Rules: nothing is touched before the first `read`; one that was opened is closed when it is no longer read, and so is a
generator, whose own `with` blocks end there. What it raises is passed on as it is; what it gives and is no request,
or has another's key, is a `Failed` and no exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Generator, Iterable, Mapping
from typing import Any, Final

from openai_images.errors import RequestInvalidError
from openai_images.many.items import Item, item_of, key_of
from openai_images.many.keys import Keys, index_key
from openai_images.models.outcomes import Failed
from openai_images.models.requests import GenerateRequest

_END: Final = object()


class Source:
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
        self._keys = Keys()
        self._step: asyncio.Timeout | None = None

    async def read(self, index: int) -> Item | Failed | None:
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

    def _item(self, index: int, given: object) -> Item | Failed:
        try:
            item = item_of(index, given, self._defaults)
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
        return key_of(index, given)
    except RequestInvalidError:
        return index_key(index)
