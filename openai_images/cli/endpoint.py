"""Whom a command talks to: the server that the environment names, or one started on this machine.

Rules: without a key and without `--local` nothing is sent and no stand-in painted; with `--local` no key leaves the
environment, and stderr says that a stand-in paints. It refuses to let a proxy between the client and the local server.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attrs import field, frozen

from openai_images import ConfigurationError, ImagesClient, Limits, Timeouts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from openai_images.cli.console import Console

__all__ = ["Endpoint", "open_client"]

_NO_KEY = (
    "no API key: set OPENAI_API_KEY (any text will do for a server that needs none), "
    "or add --local to have a stand-in painted on this machine"
)
_STAND_IN = "local stand-in: painted by a program on this machine, not by a model"
_PACE = 0.3


@frozen(kw_only=True)
class Endpoint:
    """Where to send, and how fast; `pace` is how many seconds a stand-in's partial images are apart."""

    local: bool = False
    base_url: str | None = None
    timeout: float | None = None
    limits: Limits = field(factory=Limits)
    pace: float = _PACE


@asynccontextmanager
async def open_client(
    endpoint: Endpoint, console: Console, on_attempt: Callable[[], None]
) -> AsyncGenerator[ImagesClient]:
    """A client; `on_attempt` is called each time it is about to send. Raises `ConfigurationError`."""
    timeouts = Timeouts() if endpoint.timeout is None else Timeouts(total=endpoint.timeout)
    if endpoint.local:
        from openai_images.server import LocalImagesServer

        console.note(_STAND_IN, "yellow")
        async with (
            LocalImagesServer(pace=endpoint.pace) as server,
            ImagesClient(
                base_url=server.base_url,
                api_key=_watched(server.api_key, on_attempt),
                timeouts=timeouts,
                limits=endpoint.limits,
                trust_env=False,
            ) as client,
        ):
            yield client
        return
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key:
        raise ConfigurationError(_NO_KEY)
    async with ImagesClient(
        base_url=endpoint.base_url,
        api_key=_watched(key, on_attempt),
        timeouts=timeouts,
        limits=endpoint.limits,
    ) as client:
        yield client


def _watched(key: str, on_attempt: Callable[[], None]) -> Callable[[], Awaitable[str]]:
    """The key as the client asks for it before each attempt."""

    async def give() -> str:
        on_attempt()
        return key

    return give
