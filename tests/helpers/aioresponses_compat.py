"""aioresponses for the aiohttp that is installed: the one place where the two are brought together.

aiohttp 3.14 asks each ClientResponse for its `stream_writer`, and aioresponses 0.7.9 gives none. The response class
here fills it in where it is asked for, and does nothing on an older aiohttp.
"""

import inspect
from types import SimpleNamespace
from typing import Any

import aioresponses
from aiohttp import ClientResponse

ASKS_FOR_WRITER = "stream_writer" in inspect.signature(ClientResponse).parameters


class MockedResponse(ClientResponse):
    """A response that was never asked for over a socket, so nothing was written for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if ASKS_FOR_WRITER:
            kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


class CallbackResult(aioresponses.CallbackResult):
    """What a `callback=` of MockResponses returns."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"response_class": MockedResponse, **kwargs})


class MockResponses(aioresponses.aioresponses):
    """`with MockResponses() as mock: mock.post(url, ...)`; all else is as in aioresponses."""

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Answer requests to a URL; `post`, `get` and the others end here."""
        super().add(*args, **{"response_class": MockedResponse, **kwargs})
