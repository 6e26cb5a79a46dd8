"""A local images server in a thread of its own, for tests whose code under test owns the main thread."""

from contextlib import AbstractContextManager
from typing import Any


def serving(**options: Any) -> AbstractContextManager[Any]:
    """A LocalImagesServer(**options) that answers until the block ends."""
    from openai_images.server import LocalImagesServer

    return LocalImagesServer.in_thread(**options)
