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
from openai_images.models.options import Timing

if TYPE_CHECKING:
    from openai_images.client.client import ImagesClient
    from openai_images.models.outcomes import Watcher
    from openai_images.models.requests import GenerateRequest
    from openai_images.models.results import ImageResult

__all__ = ["Caller", "caller_of"]


@frozen
class Caller:
    """What sends and fetches: a call, the model where a request names none, how many calls at once, time."""

    generate: Generate
    fetch: Fetch
    model: str | None
    concurrency: int
    timing: Timing
    wait_reason: Callable[[], str | None]


def caller_of(client: ImagesClient) -> Caller:
    """The batch's side of this client."""
    generate = partial(_generate, client)
    context = client._context
    return Caller(
        generate,
        client.download,
        client._model,
        client._limits.concurrency,
        context.timing,
        lambda: context.limiter.wait_reason,
    )


async def _generate(client: ImagesClient, request: GenerateRequest, watcher: Watcher) -> ImageResult:
    """One call that waits for rate limits as long as they take."""
    call = client._calls.new(request, observer=watcher, waits_for_rate_limits=True)
    return await call.result_or_raise()
