"""A local images server in a thread of its own, for tests whose code under test owns the main thread."""

from contextlib import AbstractContextManager
from typing import Any, Final

NOW: Final = 1_795_867_200.0
"""Noon of 2026-11-28: for a server that is to have the models that end after it, whatever the day."""


def serving(**options: Any) -> AbstractContextManager[Any]:
    """A LocalImagesServer(**options) that answers until the block ends."""
    from openai_images.server import LocalImagesServer

    return LocalImagesServer.in_thread(**options)


class Clock:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """The time."""
        return self.now
