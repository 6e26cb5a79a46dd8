"""The side of a client that a batch needs: one watched call, and what the client was set up with.

Rules: the one place of this package that looks behind a client's public names.
"""

# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from attrs import frozen

from openai_images.batch.recorder import Fetch, Generate
from openai_images.http.timing import Timing

if TYPE_CHECKING:
    from openai_images.client.client import ImagesClient
    from openai_images.http.watch import Watcher
    from openai_images.models.requests import GenerateRequest
    from openai_images.models.results import ImageResult


@frozen
class Caller:
    """What sends and fetches: a call, the model where a request names none, how many calls at once, time."""

    generate: Generate
    fetch: Fetch
    model: str | None
    concurrency: int
    timing: Timing
    wait_reason: Callable[[], str | None]


def caller_from(client: ImagesClient) -> Caller:
    """The batch's side of this client."""
    generate = partial(_generate, client)
    means = client._means
    return Caller(
        generate,
        client.download,
        client._model,
        client._limits.concurrency,
        means.timing,
        lambda: means.limiter.wait_reason,
    )


async def _generate(client: ImagesClient, request: GenerateRequest, watcher: Watcher) -> ImageResult:
    """One call that waits for rate limits as long as they take."""
    return await client._calls.generate(request, watcher=watcher, patient=True)
