"""Pytest fixtures: `images_server`, and `images_client` for it.

Invariants: each test has its own server, on a loopback socket and in its own thread, so that synchronous
tests and those of any async plugin can use it. Nothing large is imported before a test uses a fixture, as pytest
imports this module in every run.
Must not: reach the network, or need a key.
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
    """A running local images server; set its faults, inspect `requests` and `posts`."""
    from openai_images.server import LocalImagesServer  # noqa: PLC0415  # only loaded when a test uses it

    with LocalImagesServer.in_thread() as server:
        yield server


@pytest.fixture
def images_client(images_server: LocalImagesServer) -> ImagesClient:
    """A client of `images_server`; each event loop that uses it has a session, closed with the loop."""
    from openai_images import ImagesClient  # noqa: PLC0415  # as above

    return ImagesClient(base_url=images_server.base_url, api_key=images_server.api_key, trust_env=False)
