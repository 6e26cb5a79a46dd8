"""Fixtures for tests of programs that generate images: `images_server`, and `images_client` bound to it.

Rules: each test has a server of its own, on a real socket of this machine; nothing heavy is imported before a test asks
for a fixture, since pytest loads this module in every run. It refuses to reach the network and to need a key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from openai_images import ImagesClient
    from openai_images.server import LocalImagesServer


def _fixture(function: Callable[..., Any]) -> Any:
    """An async fixture; without pytest-asyncio pytest itself says what is missing, to those who ask for it."""
    try:
        import pytest_asyncio  # noqa: PLC0415  # may be missing where nobody uses these fixtures
    except ImportError:  # pragma: no cover
        return pytest.fixture(function)
    return pytest_asyncio.fixture(function)


@_fixture
async def images_server() -> AsyncIterator[LocalImagesServer]:
    """A started local images server; script its faults, look at `requests` and `posts`."""
    from openai_images.server import LocalImagesServer  # noqa: PLC0415  # a run that never asks must not load it

    async with LocalImagesServer() as server:
        yield server


@_fixture
async def images_client(images_server: LocalImagesServer) -> AsyncIterator[ImagesClient]:
    """A client of `images_server`."""
    from openai_images import ImagesClient  # noqa: PLC0415  # as above

    async with ImagesClient(base_url=images_server.base_url, api_key=images_server.api_key) as client:
        yield client
