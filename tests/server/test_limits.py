"""Rate limits of the local server, on a clock of their own."""

from typing import Any

import pytest

from openai_images.server import LocalImagesServer
from openai_images.server.protocol.rate_limits import go_duration


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """The time it was set to."""
        return self.now


async def test_images_per_minute_are_limited(ask: Any, picture: bytes) -> None:
    """The sixth image in a minute of five is refused with the wait, and passes after it."""
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
    """Ten images do not fit into a limit of five, and no wait is promised."""
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


@pytest.mark.parametrize("kind", ["images", "requests"])
async def test_a_burst_is_what_the_bucket_holds(ask: Any, picture: bytes, kind: str) -> None:
    """Three at once, then one each twelfth of a minute: the limit is the rate, the burst the capacity."""
    clock = Clock()
    limit = {f"{kind}_per_minute": 12, "rate_limit_burst": 3}
    async with LocalImagesServer(**limit, pictures=picture, clock=clock) as server:
        assert [(await ask(of=server)).status for _ in range(4)] == [200, 200, 200, 429]
        refused = await ask(of=server)
        assert "Limit 12, Used 12, Requested 1. Please try again in 5s." in refused.error["message"]
        name = "input-images" if kind == "images" else kind
        assert refused.headers[f"x-ratelimit-limit-{name}"] == "12"
        assert refused.headers[f"x-ratelimit-reset-{name}"] == "15s"
        clock.now += 1000
        assert [(await ask(of=server)).status for _ in range(4)] == [200, 200, 200, 429]
        clock.now += 5
        assert [(await ask(of=server)).status for _ in range(2)] == [200, 429]
        assert server.refused == 4


async def test_more_than_the_burst_at_once_is_never_possible(ask: Any, picture: bytes) -> None:
    """What the bucket cannot hold is refused without a promise, though a minute would do."""
    async with LocalImagesServer(images_per_minute=60, rate_limit_burst=5, pictures=picture) as server:
        refused = await ask(of=server, n=6)
        assert "Limit 5, Requested 6." in refused.error["message"]
        assert "retry-after" not in refused.headers


@pytest.mark.parametrize("body", [{}, {"stream": True, "partial_images": 1}])
async def test_limits_can_be_hidden(ask: Any, picture: bytes, body: dict[str, Any]) -> None:
    """No answer has an x-ratelimit header: not the image, not the 429, not that of a fault."""
    limits = {"images_per_minute": 1, "requests_per_minute": 5, "rate_limit_headers": False}
    async with LocalImagesServer(**limits, pictures=picture) as server:
        server.script("ok", "ok", "rate_limited")
        answers = [await ask(of=server, **body) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 429, 429]
    assert not [name for answer in answers for name in answer.headers if "ratelimit" in name.lower()]
    assert all("retry-after-ms" in answer.headers for answer in answers[1:])


@pytest.mark.parametrize(
    ("how", "headers", "said"),
    [
        ("exact", {"retry-after": "3", "retry-after-ms": "2400"}, "Please try again in 2.4s. Visit"),
        ("seconds", {"retry-after": "3"}, "Please try again in 3s. Visit"),
        ("none", {}, "Requested 1. Visit"),
    ],
)
async def test_a_refusal_says_no_more_than_it_should(
    ask: Any, picture: bytes, how: Any, headers: dict[str, str], said: str
) -> None:
    """When to come back is told exactly, in whole seconds, or not: in the headers and in the message."""
    clock = Clock()
    async with LocalImagesServer(
        images_per_minute=25, rate_limit_burst=1, retry_after=how, pictures=picture, clock=clock
    ) as server:
        await ask(of=server)
        refused = await ask(of=server)
    told = {name.lower(): value for name, value in refused.headers.items() if "retry" in name.lower()}
    assert told == headers
    assert said in refused.error["message"]


async def test_all_429_are_counted(ask: Any, picture: bytes) -> None:
    """The limits' own and those of faults, and no other refusal."""
    async with LocalImagesServer(images_per_minute=1, pictures=picture) as server:
        server.script("rate_limited", "quota_429", "status:503", "status:429", "ok", "ok")
        for _ in range(6):
            await ask(of=server)
        assert server.refused == 4


@pytest.mark.parametrize("option", ["images_per_minute", "requests_per_minute", "rate_limit_burst"])
def test_a_limit_below_one_is_refused(option: str) -> None:
    """A server that could never answer is not built."""
    with pytest.raises(ValueError, match=f"{option} must be at least 1, not 0"):
        LocalImagesServer(**{option: 0})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rate_limit_burst": 5}, "rate_limit_burst needs images_per_minute or requests_per_minute"),
        ({"retry_after": "soon"}, "retry_after must be one of 'exact', 'seconds', 'none', not 'soon'"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    """With what would make sense."""
    with pytest.raises(ValueError, match=said):
        LocalImagesServer(**options)
