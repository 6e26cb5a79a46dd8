"""What a call that waits for its next attempt says: why it waits, and until when."""

import asyncio
import json
from datetime import datetime
from pathlib import Path

import pytest

from openai_images import Progress
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, FakeTime, client_of
from tests.helpers.download_servers import away
from tests.helpers.leaks import until
from tests.helpers.raw_server import RawServer, reply
from tests.helpers.waits import Waits

OVERLOADED = "status 503: The server is currently overloaded. Please try again later."


def end(seconds: float) -> str:
    """The end of a wait that begins now."""
    return f"until {datetime.fromtimestamp(FakeTime.WALL + seconds).astimezone():%H:%M:%S}, {seconds:.0f} s from now"


@pytest.fixture
def waits() -> Waits:
    """Each test's own."""
    return Waits()


@pytest.mark.parametrize("n", [1, 3])
async def test_an_overloaded_server(
    server: LocalImagesServer, waits: Waits, caplog: pytest.LogCaptureFixture, n: int
) -> None:
    """Its wait is logged, and can be read while it lasts; it is not shown after the call."""
    server.script("overloaded_503_retry_after:30")
    said = f"attempt 1 failed ({OVERLOADED}): the next one waits, {end(30)}"
    async with client_of(server, timing=waits.timing) as client:
        stream = client.stream("p", model="gpt-image-2", n=n)

        def look() -> None:
            assert stream.wait_reason == client.wait_reason == said

        await waits.during(stream.finish(), look)
        assert (stream.wait_reason, client.wait_reason) == (None, None)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [said]


async def test_a_wait_that_is_cancelled_is_over(server: LocalImagesServer, waits: Waits) -> None:
    """Another request would not wait for it."""
    server.script("overloaded_503_retry_after:30")
    async with client_of(server, timing=waits.timing) as client:
        call = asyncio.create_task(client.generate("p", model="gpt-image-2"))
        await asyncio.wait_for(waits.asleep.wait(), 60)
        call.cancel()
        await asyncio.wait([call])
        assert client.wait_reason is None


@pytest.mark.parametrize("seconds", [5, 6])
async def test_only_long_waits_are_worth_a_word(
    server: LocalImagesServer, caplog: pytest.LogCaptureFixture, seconds: int
) -> None:
    """Five seconds are short; and of many calls that wait as long, one says so."""
    server.script(*[f"overloaded_503_retry_after:{seconds}"] * 3)
    time = FakeTime()
    async with client_of(server, timing=time.timing) as client:
        await asyncio.gather(*(client.generate("p", model="gpt-image-2") for _ in range(3)))
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert (time.slept, len(warnings)) == ([float(seconds)] * 3, int(seconds > 5))


async def test_many_prompts(server: LocalImagesServer, waits: Waits) -> None:
    """They count as waiting, and the progress says why."""
    server.script("overloaded_503_retry_after:30")
    async with client_of(server, timing=waits.timing) as client:
        seen: list[Progress] = []
        many = client.generate_many(["p"], model="gpt-image-2", concurrency=1, progress=seen.append)

        async def read() -> None:
            async with many as outcomes:
                async for _ in outcomes:
                    pass

        def look() -> None:
            assert (seen[-1].waiting, seen[-1].in_flight) == (1, 0)
            assert OVERLOADED in str(seen[-1].wait_reason)

        await waits.during(read(), look)
        assert (seen[-1].done, seen[-1].wait_reason) == (1, None)


async def test_a_download_of_a_stream(waits: Waits, tmp_path: Path) -> None:
    """The stream says why it waits, and until when; another stream of the client does not wait."""
    answer = reply(b'{"created": 1, "data": [{"url": "/a.png"}]}')
    busy = reply(b"{}", "Retry-After: 30", status=503)
    async with (
        RawServer([answer], [busy], [reply(PNG, kind="image/png")]) as server,
        client_of(server, timing=waits.timing) as client,
    ):
        stream = client.stream("p", model="gpt-image-2", into=tmp_path / "boat")
        other = client.stream("p", model="gpt-image-2")
        url = f"http://127.0.0.1:{server.port}/a.png"
        said = f"download attempt 1 of {url} failed (status 503): the next one waits, {end(30)}"

        def look() -> None:
            assert (stream.wait_reason, client.wait_reason, other.wait_reason) == (said, said, None)

        await waits.during(stream.finish(), look)
        assert (stream.wait_reason, client.wait_reason) == (None, None)


@pytest.mark.parametrize("what", ["image", "models"])
async def test_a_get(waits: Waits, what: str) -> None:
    """A download of a paid image, and the list of models."""
    busy = reply(json.dumps({"error": {"message": "slow down"}}).encode(), "Retry-After: 30", status=503)
    done = reply(PNG, kind="image/png") if what == "image" else reply(b'{"data": []}')
    async with RawServer([busy], [done]) as server, client_of(server, timing=waits.timing) as client:
        url = f"http://127.0.0.1:{server.port}/a.png"
        said = {
            "image": f"download attempt 1 of {url} failed (status 503): the next one waits, {end(30)}",
            "models": f"attempt 1 failed (status 503: slow down): the next one waits, {end(30)}",
        }

        def look() -> None:
            assert client.wait_reason == said[what]

        call = client.download(away(url)) if what == "image" else client.list_models()
        await waits.during(call, look)
        assert client.wait_reason is None


async def test_a_verdict_that_is_not_final(
    server: LocalImagesServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent until the last request in flight has ended: the progress and the log say so."""
    server.script("stall", *["status:500"] * 3)
    seen: list[Progress] = []
    async with client_of(server) as client:
        many = client.generate_many(
            ["p"] * 9, model="gpt-image-2", concurrency=3, progress=seen.append, max_identical_failures=2
        )
        async with many as outcomes:
            reading = asyncio.ensure_future(anext(outcomes, None))
            await until(lambda: seen and seen[-1].wait_reason)
            reading.cancel()
    reason = next(filter(None, (progress.wait_reason for progress in seen)))
    assert reason.startswith("identical failures (")
    assert reason in caplog.messages
