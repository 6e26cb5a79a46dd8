"""`generate_many` over real sockets: what is sent, how often, and what becomes of it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from openai_images import (
    PUBLISHED_PRICES,
    ConfigurationError,
    Failed,
    GenerateRequest,
    ImagesClient,
    Limits,
    ModelPrice,
    Outcomes,
    Progress,
    QuotaExhaustedError,
    RequestInvalidError,
    RetryPolicy,
    Succeeded,
    Timing,
)
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, FakeTime, client_of
from tests.helpers.fake_send import settle, told
from tests.helpers.leaks import nothing_left, until

PRICES = (
    "text_input",
    "cached_text_input",
    "image_input",
    "cached_image_input",
    "image_output",
    "text_output",
)


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that paints nothing."""
    async with LocalImagesServer(pictures=PNG, now=lambda: FakeTime.WALL) as server:
        yield server


def prompts(count: int) -> Iterator[str]:
    """Prompts that can be told apart."""
    return (f"prompt {number}" for number in range(count))


def sent(server: LocalImagesServer) -> Counter[str]:
    """How often each prompt was POSTed."""
    return Counter(request.json["prompt"] for request in server.requests)


async def collect(outcomes: Outcomes) -> list[Any]:
    """All outcomes."""
    async with outcomes:
        return [outcome async for outcome in outcomes]


async def test_many_prompts(server: LocalImagesServer) -> None:
    """Each is sent once and gives one image, over as many connections as are allowed."""
    async with nothing_left(), client_of(server) as client:
        found = await collect(client.generate_many(prompts(200), concurrency=16))
    assert sorted(outcome.index for outcome in found) == list(range(200))
    assert {outcome.result.image.data for outcome in found} == {PNG}
    assert all(outcome.request.prompt == f"prompt {outcome.index}" for outcome in found)
    assert set(sent(server).values()) == {1}
    assert len(sent(server)) == 200
    assert len({request.peer_port for request in server.requests}) <= 16


async def test_in_order(server: LocalImagesServer) -> None:
    """With ordered=True the first answer may come last."""
    server.script("slow_first_byte:0.05", "ok", "ok")
    async with client_of(server) as client:
        found = await collect(client.generate_many(["a", "b", "c"], ordered=True, concurrency=3))
    assert [outcome.index for outcome in found] == [0, 1, 2]


async def test_what_is_sent(server: LocalImagesServer) -> None:
    """Prompts, requests and rows, with the keywords for what they do not set, and the client's model last."""
    rows = [
        "a",
        GenerateRequest("b", size="1536x1024"),
        {"prompt": "c", "key": "third", "quality": "high", "model": "other", "extra_body": {"seed": 3}},
    ]
    async with client_of(server, model="of-the-client") as client:
        many = client.generate_many(rows, quality="low", extra_body={"seed": 1, "more": 2}, ordered=True)
        found = await collect(many)
    bodies = sorted(
        (json.loads(request.body) for request in server.requests), key=lambda body: body["prompt"]
    )
    assert bodies == [
        {"prompt": "a", "model": "of-the-client", "quality": "low", "seed": 1, "more": 2},
        {
            "prompt": "b",
            "model": "of-the-client",
            "quality": "low",
            "size": "1536x1024",
            "seed": 1,
            "more": 2,
        },
        {"prompt": "c", "model": "other", "quality": "high", "seed": 3, "more": 2},
    ]
    assert [outcome.key for outcome in found] == ["00000", "00001", "third"]
    assert [outcome.request.model for outcome in found] == ["of-the-client", "of-the-client", "other"]


async def test_failures_are_outcomes(server: LocalImagesServer) -> None:
    """One refusal, one broken answer, one bad row: the others have their images, and nothing is sent twice."""
    server.script("ok", "moderation_400", "close_after_body", "status:400", "ok")
    rows: list[Any] = ["a", "b", "c", "d", {"prompt": "e", "n": "2"}, "f"]
    async with client_of(server) as client:
        many = client.generate_many(rows, concurrency=1)
        found = await collect(many)
    assert [told(outcome) for outcome in found] == [
        (0, "ok"),
        (1, "ModerationBlockedError"),
        (2, "ConnectionOutcomeUnknownError"),
        (3, "BadRequestError"),
        (4, "RequestInvalidError"),
        (5, "ok"),
    ]
    now = many.progress
    assert (now.done, now.failed, now.blocked, now.unknown) == (2, 4, 1, 1)
    assert sent(server) == dict.fromkeys("abcdf", 1)


async def test_a_consumer_that_takes_its_time(server: LocalImagesServer) -> None:
    """Each prompt is POSTed once, and never more of them than were handed over and may be held."""
    taken = 0
    async with client_of(server) as client, client.generate_many(prompts(30), concurrency=4) as outcomes:
        async for _ in outcomes:
            for _ in range(20):
                await asyncio.sleep(0.0005)  # the server answers meanwhile
            assert server.posts <= taken + 4
            taken += 1
    assert set(sent(server).values()) == {1}
    assert (taken, server.posts) == (30, 30)


async def test_stop(server: LocalImagesServer) -> None:
    """What is on the wire is handed over, and nothing is sent any more."""
    server.always("stall")
    async with nothing_left(), client_of(server, limits=Limits(concurrency=3)) as client:
        outcomes = client.generate_many(prompts(100), concurrency=8)
        async with outcomes:
            await until(lambda: len(server.requests) == 3)
            await settle()
            assert (outcomes.progress.in_flight, outcomes.progress.waiting) == (3, 5)
            outcomes.stop()
            server.release()
            found = [told(outcome) async for outcome in outcomes]
        assert sorted(found) == [(0, "ok"), (1, "ok"), (2, "ok")]
        assert server.posts == 3


async def test_stop_while_everyone_waits_for_a_limit(server: LocalImagesServer) -> None:
    """A pause of an hour is not waited for: what did not run is dropped, and the iteration ends."""
    asleep = asyncio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    time = FakeTime()
    server.always("rate_limited:3600")
    async with (
        nothing_left(),
        client_of(server, timing=Timing(monotonic=time.monotonic, sleep=sleep)) as client,
    ):
        outcomes = client.generate_many(prompts(100), concurrency=2)
        async with outcomes:
            await until(asleep.is_set)
            await until(lambda: outcomes.progress.waiting == 2)
            outcomes.stop()
            assert [outcome async for outcome in outcomes] == []


@pytest.mark.parametrize("fault", ["quota_429", "quota_400"])
async def test_quota(fault: str, server: LocalImagesServer) -> None:
    """It stops the run: no more POSTs than were in flight, their outcomes first, then the exception."""
    server.script(*["ok"] * 10)
    server.always(fault)
    found: list[tuple[int, str]] = []

    async def run(client: ImagesClient) -> None:
        async for outcome in client.generate_many(prompts(10_000), concurrency=5):
            found.append(told(outcome))  # noqa: PERF401  an exception ends it

    async with nothing_left(), client_of(server) as client:
        with pytest.raises(QuotaExhaustedError):
            await run(client)
    assert sum(what == "ok" for _, what in found) == 10
    assert {what for _, what in found} == {"ok", "QuotaExhaustedError"}
    assert len(found) == server.posts <= 15


async def test_rate_limits_are_waited_for(server: LocalImagesServer) -> None:
    """However long they take: RetryPolicy's longest wait is for single calls. No outcome fails by one."""
    time = FakeTime()
    server.script(*["rate_limited:30"] * 12)
    waiting = []

    def watch(now: Progress) -> None:
        waiting.append(now.waiting)
        assert now.waiting + now.in_flight <= 4

    retry = RetryPolicy(max_rate_limit_wait=1.0)
    async with client_of(server, timing=time.timing, retry=retry) as client:
        found = await collect(client.generate_many(prompts(8), concurrency=4, progress=watch))
    assert sorted(map(told, found)) == [(index, "ok") for index in range(8)]
    assert server.posts == 20
    assert max(waiting) >= 3


async def test_one_limit_for_all() -> None:
    """Two runs and single calls of one client share its Limits."""
    seen = []

    async def watch(_: float) -> None:
        seen.append(busy.open_connections)
        await asyncio.sleep(0)

    busy = LocalImagesServer(pictures=PNG, pace=0.001, sleep=watch)
    async with busy, client_of(busy, limits=Limits(concurrency=3)) as client:
        first, second, *_ = await asyncio.gather(
            collect(client.generate_many(prompts(20), concurrency=10)),
            collect(client.generate_many(prompts(20))),
            *(client.generate("single") for _ in range(5)),
        )
    assert len(first) == len(second) == 20
    assert max(seen) == 3


async def test_money(server: LocalImagesServer) -> None:
    """`spent` is the sum by the published prices, or by those that are given; unknown models have none."""
    async with client_of(server) as client:
        many = client.generate_many(["a", "b"], model="gpt-image-2", size="1024x1024", quality="low")
        first = await collect(many)
        published = many.progress
        dear = PUBLISHED_PRICES.with_prices(
            {"gpt-image-2": ModelPrice(**dict.fromkeys(PRICES, Decimal(1_000_000)))}
        )
        many = client.generate_many(["a"], model="gpt-image-2", quality="low", prices=dear)
        (costly,) = await collect(many)
        given = many.progress
        many = client.generate_many(["a"], model="gpt-image-2", prices=evolve(PUBLISHED_PRICES, models={}))
        await collect(many)
        unknown = many.progress
    assert published.spent is not None
    assert 0 < published.spent < 1
    assert published.unpriced == 0
    assert len(first) == 2
    assert given.spent == costly.result.usage.total_tokens
    assert (unknown.spent, unknown.unpriced) == (None, 1)


async def test_the_default_concurrency(server: LocalImagesServer) -> None:
    """It is that of the client's Limits."""
    server.always("stall")
    limits = Limits(concurrency=7)
    async with client_of(server, limits=limits) as client, client.generate_many(prompts(100)) as outcomes:
        await until(lambda: len(server.requests) == 7)
        await settle()
        assert outcomes.progress.in_flight + outcomes.progress.waiting == 7
    assert server.posts == 7


async def test_the_total_is_known_where_it_can_be(server: LocalImagesServer) -> None:
    """A list has a length, a generator has none."""
    async with client_of(server) as client:
        assert client.generate_many(["a", "b"]).progress.total == 2
        assert client.generate_many(prompts(2)).progress.total is None


async def test_an_async_source(server: LocalImagesServer) -> None:
    """Requests that come one by one are sent as they come."""

    async def slowly() -> AsyncIterator[dict[str, str]]:
        for number in range(3):
            await until(lambda number=number: server.posts == number)  # type: ignore[misc]
            yield {"prompt": "a", "key": f"k{number}"}

    async with client_of(server) as client:
        found = await collect(client.generate_many(slowly(), concurrency=3))
    assert sorted(outcome.key for outcome in found) == ["k0", "k1", "k2"]


async def test_nothing_before_it_is_entered(server: LocalImagesServer) -> None:
    """Making it neither reads nor sends; it is an object with its own repr, and no coroutine."""
    read = []
    async with nothing_left(), client_of(server) as client:
        outcomes = client.generate_many(read.append(prompt) or prompt for prompt in ("a", "b"))
        await settle()
        assert isinstance(outcomes, Outcomes)
        assert (read, server.posts) == ([], 0)


@pytest.mark.parametrize(
    ("keywords", "error", "said"),
    [
        ({"siez": "s"}, TypeError, "unknown parameter 'siez'"),
        ({"n": "2"}, RequestInvalidError, "n must be a whole number"),
        ({"concurrency": 0}, ConfigurationError, "concurrency=0: must be a whole number above 0"),
        ({"into": ""}, RequestInvalidError, "into='' is not a folder name"),
        ({"into": "a\0b"}, RequestInvalidError, "is not a folder name"),
    ],
)
def test_keywords_that_make_no_sense(keywords: dict[str, Any], error: type[Exception], said: str) -> None:
    """They are refused by the call itself."""
    client = ImagesClient(api_key="k", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(error, match=said):
        client.generate_many(["a"], **keywords)


def test_one_prompt_is_not_many() -> None:
    """A text would be taken letter by letter, and each letter paid for."""
    client = ImagesClient(api_key="k", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(TypeError, match="not one str; put it into a list"):
        client.generate_many("an otter")


async def test_no_secrets_in_what_it_shows(server: LocalImagesServer) -> None:
    """Neither prompt, where it is hidden, nor key in the repr of outcomes, nor in the texts of errors."""
    server.script("ok", "status:400", "moderation_400")
    rows: list[Any] = ["secret otter"] * 3 + [{"prompt": "secret otter", "n": "x"}]
    async with client_of(server, show_prompts=False) as client:
        many = client.generate_many(rows, concurrency=1)
        found = await collect(many)
        shown = "".join(outcome._repr_html_() for outcome in found) + many._repr_html_()
        shown += repr(found) + repr(many) + "".join(str(o.error) for o in found if isinstance(o, Failed))
        assert isinstance(found[0], Succeeded)
    assert "secret" not in shown
    assert server.api_key not in shown
