"""Many calls that wait in one queue: whose turn it is, what a step costs, and when they end; on a virtual clock."""

import asyncio
import logging
import math

import pytest

from openai_images import Limits, Timing
from openai_images.errors import RateLimitError
from openai_images.ratelimit.limiter import Limiter, Patience, Slot
from tests.ratelimit.test_limiter import Clock, outcome, rejected, rejection, start, turn

PATIENT = (math.inf, 900.0)


def stated(limit: int, remaining: int) -> dict[str, str]:
    """The headers of a limit of requests a minute."""
    return {
        "x-ratelimit-limit-requests": f"{limit}",
        "x-ratelimit-remaining-requests": f"{remaining}",
        "x-ratelimit-reset-requests": f"{(limit - remaining) * 60 / limit}s",
    }


async def used_up(limiter: Limiter, limit: int) -> None:
    """A server said that none of so many a minute are left."""
    slot = await limiter.acquire()
    slot.record_success(stated(limit, 0))
    slot.release()


@pytest.mark.parametrize("longest", [120.0, math.inf])
@pytest.mark.parametrize("concurrency", [4, 1000])
async def test_what_a_call_costs_does_not_depend_on_how_many_wait(longest: float, concurrency: int) -> None:
    """Ten thousand calls at once are no more work for each of them than a hundred are."""
    clock = Clock()
    limiter = Limiter(Limits(images_per_minute=6000, concurrency=concurrency), clock.timing)
    looks, delay = 0, limiter.pacer.delay

    def counted(images: int, now: float, *, only_configured: bool = False) -> float:
        nonlocal looks
        looks += 1
        return delay(images, now, only_configured=only_configured)

    limiter.pacer.delay = counted  # type: ignore[method-assign]

    async def call() -> None:
        slot = await limiter.acquire(1, Patience(longest))
        await clock.sleep(0.05)
        slot.record_success({})
        slot.release()

    calls = asyncio.gather(*(call() for _ in range(500)))
    while not calls.done():
        await clock.advance(0.5)
    assert looks < 500 * 20


@pytest.mark.parametrize("longest", [1000.0, math.inf])
async def test_order_is_kept_where_slots_are_scarce_too(longest: float) -> None:
    """Whether a limit or a slot is what a call waits for."""
    clock = Clock()
    limiter = Limiter(Limits(images_per_minute=60, concurrency=3), clock.timing)
    order: list[int] = []

    async def call(number: int) -> None:
        slot = await limiter.acquire(1, Patience(longest))
        order.append(number)
        await clock.sleep(3.0 + number % 3)
        slot.release()

    calls = asyncio.gather(*(call(number) for number in range(30)))
    while not calls.done():
        await clock.advance(1.0)
    assert order == list(range(30))


async def test_late_timer_does_not_turn_the_end_of_the_patience_into_an_error() -> None:
    """Who has waited long enough is sent, as no pause was asked for."""
    clock = Clock()

    async def late(seconds: float) -> None:
        await clock.sleep(seconds + 0.001)

    limiter = Limiter(Limits(), Timing(monotonic=lambda: clock.now, wall=lambda: 0.0, sleep=late))
    await used_up(limiter, 2)
    tasks = [start(limiter, math.inf), *(start(limiter, 10.0) for _ in range(5))]
    await clock.advance(12.0)
    assert [outcome(task) for task in tasks] == ["waits", *["goes"] * 5]
    tasks[0].cancel()


async def test_impatient_call_learns_of_a_pause_that_began_while_it_waited() -> None:
    """It does not wait behind a patient one for what cannot come in time."""
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    in_flight = await limiter.acquire()
    await used_up(limiter, 2)
    patient, impatient = start(limiter, *PATIENT), start(limiter, 120.0)
    await clock.advance(1.0)
    in_flight.record_rejection({}, 3000.0, rejection(after=3000.0))
    await clock.advance(130.0)
    assert (outcome(patient), outcome(impatient)) == ("waits", RateLimitError)
    patient.cancel()


@pytest.mark.parametrize("configured", [None, 60.0])
async def test_call_that_never_waits_is_sent_in_a_pause_of_others(configured: float | None) -> None:
    """Only the server knows whether it would be rejected; others wait on, and a configured limit is kept."""
    clock = Clock()
    limiter = Limiter(Limits(images_per_minute=configured), clock.timing)
    in_flight = [await limiter.acquire() for _ in range(4)]
    in_flight[0].record_rejection({}, 30.0, rejection(after=30.0))
    patient, impatient = start(limiter, 120.0), start(limiter, 0.0)
    await clock.advance(0.5)
    assert (outcome(patient), outcome(impatient)) == ("waits", "waits" if configured else "goes")
    await clock.advance(0.6)
    assert (outcome(patient), outcome(impatient)) == ("waits", "goes")
    await clock.advance(30.0)
    assert outcome(patient) == "goes"


async def test_slots_use_up_no_patience_of_those_behind() -> None:
    """A queue for slots is no rate limit, however long it is."""
    clock = Clock()
    limiter = Limiter(Limits(images_per_minute=60, concurrency=1), clock.timing)
    slots: list[Slot] = [await limiter.acquire()]
    tasks = [start(limiter, 60.0) for _ in range(8)]
    for task in tasks:
        await clock.advance(60.0)
        slots[-1].record_rejection({}, 2.0, rejection(after=2.0))
        slots[-1].release()
        await clock.advance(5.0)
        slots.append(task.result())
    assert all(slot.waited <= 50.0 for slot in slots)


async def test_wider_limit_is_used_at_once() -> None:
    """An answer that says that more is left ends the wait, and nobody turns in circles until then."""
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    in_flight = await limiter.acquire()
    await used_up(limiter, 1)
    tasks = [start(limiter, *PATIENT), start(limiter, 120.0)]
    await clock.advance(1.0)
    in_flight.record_success(stated(600, 500))
    in_flight.release()
    await clock.advance(0.1)
    assert [outcome(task) for task in tasks] == ["goes", "goes"]


async def test_failing_sleep_is_raised() -> None:
    """What the caller's own sleep raises is not lost."""

    async def sleep(_: float) -> None:
        raise ZeroDivisionError

    limiter = Limiter(Limits(), Timing(monotonic=lambda: 0.0, sleep=sleep))
    await rejected(limiter, 5.0)
    with pytest.raises(ZeroDivisionError):
        await limiter.acquire()


async def test_success_of_what_was_in_flight_does_not_make_a_daily_limit_worth_waiting_for() -> None:
    """It was sent before the server asked for a pause of many hours."""
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    before = await limiter.acquire()
    await rejected(limiter, 80_000.0)
    before.record_success({})
    before.release()
    task = start(limiter, *PATIENT)
    await turn()
    assert outcome(task) is RateLimitError


@pytest.mark.parametrize("is_released_first", [True, False])
async def test_rejection_told_in_an_answer_of_another_status_is_no_success(is_released_first: bool) -> None:
    """A gateway that says 429 in a 503 or a 200, again and again, is not waited for without end."""
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    began = clock.now
    while True:
        task = start(limiter, *PATIENT)
        while not task.done():
            await clock.advance(5.0)
        if task.exception() is not None:
            break
        slot = task.result()
        slot.record_success({})
        if is_released_first:
            slot.release()
        slot.record_rejection({}, 20.0, rejection(after=20.0))
        slot.release()
        assert clock.now - began < 2000.0
    assert 900.0 <= clock.now - began <= 960.0


async def test_time_in_which_nothing_was_tried_is_no_stall() -> None:
    """A run that goes on an hour after one that ended for it is not ended by its first 429."""
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    await rejected(limiter, 20.0)
    await clock.advance(3600.0)
    await rejected(limiter, 20.0)
    task = start(limiter, *PATIENT)
    await clock.advance(26.0)
    assert outcome(task) == "goes"


async def test_short_pauses_one_after_the_other_are_said(caplog: pytest.LogCaptureFixture) -> None:
    """Three seconds are not worth a line, a minute of them without a success is."""
    caplog.set_level(logging.INFO, "openai_images")
    clock = Clock()
    limiter = Limiter(Limits(), clock.timing)
    for _ in range(30):
        task = start(limiter, *PATIENT)
        while not task.done():
            await clock.advance(1.0)
        task.result().record_rejection({}, 3.0, rejection("busy", 3.0))
        task.result().release()
    assert "busy" in str(limiter.wait_reason)
    assert 1 <= len(caplog.messages) <= 3


async def test_thousands_of_first_requests_do_not_wait_for_answers() -> None:
    """Four thousand calls at once are sent within seconds although none was answered yet, the first ones apart."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=4000), clock.timing)
    tasks = [start(limiter) for _ in range(4000)]
    await clock.advance(0.2)
    assert sum(task.done() for task in tasks) <= 30
    await clock.advance(3.8)
    assert all(task.done() for task in tasks)
