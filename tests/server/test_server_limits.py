"""Rate limits of the local server, on a clock of their own."""

from typing import Any

import pytest

from openai_images.server import LocalImagesServer
from openai_images.server.limits import go_duration


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time it was set to."""
        return self.now


async def test_images_per_minute_are_limited(ask: Any, picture: bytes) -> None:
    """The sixth picture in a minute of five is refused with the wait, and passes after it."""
    clock = Clock()
    async with LocalImagesServer(images_per_minute=5, pictures=picture, clock=clock) as server:
        assert (await ask(of=server, n=5)).headers["x-ratelimit-remaining-input-images"] == "0"
        refused = await ask(of=server)
        assert refused.status == 429
        assert (refused.error["type"], refused.error["code"]) == ("input-images", "rate_limit_exceeded")
        assert refused.error["message"] == (
            "Rate limit reached for gpt-image-2 (for limit gpt-image) in organization org-local on input-images "
            "per min: Limit 5, Used 5, Requested 1. Please try again in 12s. "
            "Visit https://platform.openai.com/account/rate-limits to learn more."
        )
        assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("12", "12000")
        assert refused.headers["x-ratelimit-limit-input-images"] == "5"
        assert refused.headers["x-ratelimit-reset-input-images"] == "1m0s"
        clock.now += 12
        assert (await ask(of=server)).status == 200


async def test_requests_per_minute_are_limited(ask: Any, picture: bytes) -> None:
    """Requests have a bucket of their own."""
    clock = Clock()
    async with LocalImagesServer(requests_per_minute=1, pictures=picture, clock=clock) as server:
        assert (await ask(of=server, n=4)).headers["x-ratelimit-remaining-requests"] == "0"
        clock.now += 59.5
        refused = await ask(of=server)
        assert (refused.status, refused.error["type"]) == (429, "requests")
        assert "Please try again in 500ms." in refused.error["message"]
        assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("1", "500")


async def test_more_than_the_limit_at_once_is_never_possible(ask: Any, picture: bytes) -> None:
    """Ten pictures do not fit into a limit of five, and no wait is promised."""
    async with LocalImagesServer(images_per_minute=5, pictures=picture) as server:
        refused = await ask(of=server, n=10)
        assert refused.error["message"].startswith("Request too large for gpt-image-2")
        assert "retry-after" not in refused.headers


async def test_refused_requests_cost_nothing(ask: Any, picture: bytes) -> None:
    """A bad parameter leaves the bucket as it was."""
    async with LocalImagesServer(images_per_minute=1, pictures=picture) as server:
        assert (await ask(of=server, size="big")).status == 400
        assert (await ask(of=server)).status == 200


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0004, "1ms"),
        (0.12, "120ms"),
        (0.9999, "1s"),
        (12, "12s"),
        (58.891, "58.891s"),
        (360, "6m0s"),
    ],
)
def test_waits_are_written_as_the_api_writes_them(seconds: float, text: str) -> None:
    """Durations are spelled as in Go."""
    assert go_duration(seconds) == text


@pytest.mark.parametrize("option", ["images_per_minute", "requests_per_minute"])
def test_a_limit_below_one_is_refused(option: str) -> None:
    """A server that could never answer is not built."""
    with pytest.raises(ValueError, match=f"{option} must be at least 1, not 0"):
        LocalImagesServer(**{option: 0})
