"""Calls of a client that send nothing: a function makes their results."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import frozen

from openai_images import ImageResult, ImagesClient


@frozen
class FakeCall:
    """What `CallFactory.new` gives."""

    generate: Callable[[Any, Any], Awaitable[ImageResult]]
    request: Any
    observer: Any

    async def result_or_raise(self) -> ImageResult:
        """What the function makes of the request and the observer."""
        return await self.generate(self.request, self.observer)


def replace_calls(
    patch: pytest.MonkeyPatch, client: ImagesClient, generate: Callable[[Any, Any], Awaitable[ImageResult]]
) -> None:
    """Have `generate(request, observer)` make the result of each call of this client."""

    def new(request: Any, output: object = None, observer: object = None, **_: object) -> FakeCall:
        return FakeCall(generate, request, observer)

    patch.setattr(client._calls, "new", new)
