"""Fixtures for tests of programs that generate images: `images_server`, and `images_client` bound to it.

Rules: each test has a server of its own, on a real socket of this machine and in a thread of its own, so that tests of
every kind can use it: synchronous ones, and those of any async plugin, whatever loops it gives to tests and fixtures.
Nothing heavy is imported before a test asks for a fixture, since pytest loads this module in every run. It refuses to
reach the network and to need a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai_images import ImagesClient
    from openai_images.server import LocalImagesServer


@pytest.fixture
def images_server() -> Iterator[LocalImagesServer]:
    """A started local images server; script its faults, look at `requests` and `posts`."""
    from openai_images.server import LocalImagesServer  # noqa: PLC0415  # a run that never asks must not load it

    with LocalImagesServer.in_thread() as server:
        yield server


@pytest.fixture
def images_client(images_server: LocalImagesServer) -> ImagesClient:
    """A client of `images_server`; it has a session for each loop that uses it, which closes with that loop."""
    from openai_images import ImagesClient  # noqa: PLC0415  # as above

    return ImagesClient(base_url=images_server.base_url, api_key=images_server.api_key, trust_env=False)
