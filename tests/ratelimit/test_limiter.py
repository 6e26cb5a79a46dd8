"""Who waits for limits, how long, and what is said of it; on a virtual clock."""

import asyncio
import logging
import threading
from collections.abc import Awaitable
from typing import Any

import pytest

from openai_images import Limits, RateLimitError, Timing
from openai_images.ratelimit.limiter import Limiter, Patience, Slot

SECRET = "sk-never-shown"


class Clock:
    """Time that passes only when somebody sleeps, for everybody at once."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._sleeping: list[tuple[float, asyncio.Future[None]]] = []

    @property
    def timing(self) -> Timing:
        """What a limiter takes."""
        return Timing(monotonic=lambda: self.now, wall=lambda: 1_700_000_000.0, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        """Until `advance` has come so far."""
        self.slept.append(seconds)
        waiter = asyncio.get_running_loop().create_future()
        self._sleeping.append((self.now + seconds, waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        """Let so much time pass, waking whoever sleeps in the order of their ends."""
        end = self.now + seconds
        while True:
            await turn()
            due = sorted((at, n) for n, (at, waiter) in enumerate(self._sleeping) if not waiter.done())
            if not due or due[0][0] > end:
                break
            self.now = max(self.now, due[0][0])
            self._sleeping[due[0][1]][1].set_result(None)
        self.now = end
        await turn()


async def turn() -> None:
    """Let the loop turn until nothing moves."""
    for _ in range(20):
        await asyncio.sleep(0)


def rejection(reason: str = "too many images per minute", after: float | None = None) -> RateLimitError:
    """A 429 with these words."""
    error = RateLimitError("no", status_code=429)
    error.reason, error.retry_after, error.safe_to_resend = reason, after, True
    return error


async def rejected(limiter: Limiter, seconds: float, reason: str = "too many") -> None:
    """A request that is answered with a 429."""
    slot = await limiter.acquire()
    slot.record_rejection({}, seconds, rejection(reason, seconds))
    slot.release()


def start(limiter: Limiter, *patience: float, images: int = 1) -> asyncio.Task[Slot]:
    """A call that waits for its slot."""
    return asyncio.ensure_future(limiter.acquire(images, Patience(*patience)))


def outcome(task: asyncio.Task[Any]) -> object:
    """What became of it so far."""
    if not task.done():
        return "waits"
    return type(task.exception()) if task.exception() else "goes"


async def test_pause_longer_than_the_patience_raises_at_once() -> None:
    """Nobody waits for what cannot come in time; the server's words, its wait and that nothing was sent are said."""
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    await rejected(limiter, 3600.0, "limit of 50 images per day")
    task = start(limiter, 120.0)
    await turn()
    error = task.exception()
    assert isinstance(error, RateLimitError)
    assert "limit of 50 images per day" in str(error)
    assert "3600 s from now" in str(error)
    assert "nothing was sent" in str(error)
    assert "RetryPolicy(max_rate_limit_wait=…)" in str(error)
    assert (error.retry_after, error.safe_to_resend, error.maybe_billed) == (3600.0, True, False)
    assert clock.slept == []


async def test_pause_within_the_patience_is_waited_for() -> None:
    """And how long that was is known to the slot."""
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    await rejected(limiter, 30.0)
    task = start(limiter, 120.0)
    await clock.advance(29.0)
    assert outcome(task) == "waits"
    await clock.advance(2.0)
    assert task.result().waited == pytest.approx(30.0)


@pytest.mark.parametrize(("limit", "reset"), [("200", "24h"), ("1", "12h"), ("3", "86400")])
async def test_advertised_limit_that_takes_longer_than_the_patience_is_tried(limit: str, reset: str) -> None:
    """Only the server knows; its 429 costs nothing."""
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    headers = {
        f"x-ratelimit-{part}-requests": text
        for part, text in {"limit": limit, "remaining": "0", "reset": reset}.items()
    }
    slot = await limiter.acquire()
    slot.record_success(headers)
    slot.release()
    task = start(limiter, 10.0)
    await clock.advance(10.0)
    assert outcome(task) == "goes"


async def test_configured_limit_is_kept_whatever_the_patience() -> None:
    """A limit of the user's own is no guess."""
    clock = Clock()
    limiter = Limiter(Limits(images_per_minute=1), clock.timing)
    (await limiter.acquire()).release()
    task = start(limiter, 10.0)
    await clock.advance(59.0)
    assert outcome(task) == "waits"
    await clock.advance(2.0)
    assert outcome(task) == "goes"


async def test_waiting_for_a_slot_uses_up_no_patience() -> None:
    """Long images are no limit."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=1), clock.timing)
    slot = await limiter.acquire()
    task = start(limiter, 10.0)
    await clock.advance(1000.0)
    assert outcome(task) == "waits"
    slot.release()
    await turn()
    assert task.result().waited == pytest.approx(0.0, abs=0.1)


async def test_no_slot_is_held_while_waiting() -> None:
    """A patient call in a long pause is in nobody's way: a call with less patience learns of the pause at once."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=1), clock.timing)
    await rejected(limiter, 3600.0)
    patient, impatient = start(limiter), start(limiter, 120.0)
    await turn()
    assert (outcome(patient), outcome(impatient)) == ("waits", RateLimitError)
    patient.cancel()


async def test_first_come_first_served() -> None:
    """Also where the first one has less patience than the second."""
    clock = Clock()
    limiter = Limiter(Limits(images_per_minute=60), clock.timing)
    order: list[int] = []

    async def call(number: int, patience: Patience) -> None:
        slot = await limiter.acquire(1, patience)
        order.append(number)
        slot.release()

    tasks = [
        asyncio.ensure_future(call(number, Patience(100.0) if number % 2 else Patience()))
        for number in range(12)
    ]
    await clock.advance(30.0)
    assert order == list(range(12))
    await asyncio.gather(*tasks)


async def test_cancelled_waiter_lets_the_next_one_pass() -> None:
    """The turn is handed on."""
    clock = Clock()
    limiter = Limiter(Limits(images_per_minute=60), clock.timing)
    tasks = [start(limiter) for _ in range(7)]
    await turn()
    assert [outcome(task) for task in tasks].count("goes") == 4
    tasks[4].cancel()
    tasks[5].cancel()
    await clock.advance(1.1)
    assert outcome(tasks[6]) == "goes"


async def test_long_pause_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Why, how long and until when; short ones are not worth a line."""
    caplog.set_level(logging.INFO, "openai_images")
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    slots = [await limiter.acquire() for _ in range(4)]
    slots[0].record_rejection({}, 2.0, rejection())
    assert caplog.messages == []
    for slot in slots[1:]:
        slot.record_rejection({}, 90.0, rejection("50 images per day"))
    [line] = caplog.messages
    assert "50 images per day" in line
    assert "90 s from now" in line
    assert limiter.wait_reason == line
    await clock.advance(90.0)
    assert limiter.wait_reason is None


async def test_slow_limit_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """A limit that lets a request go only after a while is logged, and told to whoever asks."""
    caplog.set_level(logging.INFO, "openai_images")
    clock = Clock()
    limiter = Limiter(Limits(images_per_minute=2), clock.timing)
    for _ in range(2):
        (await limiter.acquire()).release()
    tasks = [start(limiter) for _ in range(3)]
    await turn()
    assert "the configured images_per_minute of 2" in str(limiter.wait_reason)
    await clock.advance(100.0)
    assert len(caplog.messages) == 1
    await asyncio.gather(*tasks)


async def test_limit_of_a_request_for_several_images_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """The limit that delays this request, although one image could be requested at once."""
    caplog.set_level(logging.INFO, "openai_images")
    clock = Clock()
    limiter = Limiter(Limits(images_per_minute=6, tokens_per_minute=1000), clock.timing)
    (await limiter.acquire()).release()
    task = start(limiter, images=4)
    await clock.advance(11.0)
    assert outcome(task) == "goes"
    assert caplog.messages == ["the configured images_per_minute of 6: the next request goes in 10 s"]


async def stalled_after(clock: Clock, limiter: Limiter, wait: float, most: float) -> float:
    """Seconds until a patient call gives up, every request being rejected."""
    began = clock.now
    while clock.now - began < most:
        task = start(limiter, float("inf"), 900.0)
        while not task.done():
            await clock.advance(1.0)
        if task.exception() is not None:
            assert "RetryPolicy(max_stall=…)" in str(task.exception())
            return clock.now - began
        task.result().record_rejection({}, wait, rejection(after=wait))
        task.result().release()
    return most


@pytest.mark.parametrize(
    ("wait", "earliest", "latest"), [(20.0, 900.0, 960.0), (3600.0, 4500.0, 7300.0), (80_000.0, 0.0, 2.0)]
)
async def test_patient_call_ends_without_any_success(wait: float, earliest: float, latest: float) -> None:
    """After a quarter of an hour beyond what a short limit announced; a limit of a day is not waited for."""
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    assert earliest <= await stalled_after(clock, limiter, wait, 20_000.0) <= latest


async def test_success_starts_the_patience_anew() -> None:
    """As long as some succeed, the others wait."""
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    for number in range(100):
        task = start(limiter, float("inf"), 900.0)
        while not task.done():
            await clock.advance(10.0)
        if number % 5:
            task.result().record_rejection({}, 60.0, rejection(after=60.0))
        else:
            task.result().record_success({})
        task.result().release()
    assert clock.now > 3600.0


def test_loops_of_several_threads_share_a_limit() -> None:
    """No permit is lost or given twice, whatever the threads do."""
    limiter = Limiter(Limits(images_per_minute=60_000), Timing())
    done: list[int] = []

    async def work() -> None:
        for number in range(100):
            slot = await limiter.acquire()
            if number % 10:
                slot.record_success({})
            else:
                slot.record_rejection({}, 0.001, rejection(after=0.001))
            slot.record_usage(10)
            slot.release()
        done.append(1)

    async def crowd() -> None:
        tasks: list[Awaitable[None]] = [work() for _ in range(3)]
        await asyncio.gather(*tasks)

    threads = [threading.Thread(target=asyncio.run, args=(crowd(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 12
    assert set(limiter.pacer._open.values()) == {0.0}
