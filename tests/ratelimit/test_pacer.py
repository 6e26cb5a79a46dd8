"""The pacer of requests, without a loop: limits that are configured, stated in headers, or found out from refusals."""

import heapq
import itertools
import math
import random
from collections.abc import Callable

import pytest
from attrs import define, field
from hypothesis import given, strategies as st

from openai_images.errors import ConfigurationError
from openai_images.models.options import Limits
from openai_images.ratelimit.pacer import Pacer, Permit
from openai_images.wire.headers import AdvertisedLimit, advertised_limits

WAYS: dict[str, Callable[[float], float]] = {
    "exactly": lambda seconds: math.ceil(seconds * 1000) / 1000,
    "in whole seconds": lambda seconds: float(max(1, math.ceil(seconds))),
}


@define
class Server:
    """A bucket of tokens in virtual time: `rate` a second, `burst` at most; says how long to wait in its `way`."""

    rate: float
    burst: float
    way: Callable[[float], float] = WAYS["exactly"]
    states: bool = False
    level: float = field(init=False)
    at: float = 0.0
    refusals: int = 0

    def __attrs_post_init__(self) -> None:
        self.level = self.burst

    def wait(self, amount: float, now: float) -> float:
        """0 where it accepts."""
        self.level = min(self.burst, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level >= amount - 1e-9:
            self.level -= amount
            return 0.0
        self.refusals += 1
        return self.way((amount - self.level) / self.rate)

    def stated(self) -> dict[str, AdvertisedLimit]:
        """What its headers would say."""
        left = math.floor(self.level)
        return {"images": AdvertisedLimit(self.burst, left, self.rate)} if self.states else {}


class Bursty(Server):
    """A limit of more a minute than its bucket holds, as `LocalImagesServer(rate_limit_burst=…)`."""

    def stated(self) -> dict[str, AdvertisedLimit]:
        """The limit is that of a minute, the reset that of the bucket."""
        full_in = (self.burst - self.level) / self.rate
        return advertised_limits(
            header("images", f"{self.rate * 60}", f"{math.floor(self.level)}", f"{full_in}s")
        )


def run(
    server: Server, pacer: Pacer, *, requests: int, workers: int = 16, seed: int = 1, images: int = 1
) -> float:
    """Send so many requests as fast as the pacer allows; give how many seconds it took."""
    chance, order = random.Random(seed), itertools.count()
    events: list[tuple[float, int, str, Permit, float]] = []
    now, todo, free, done = 0.0, requests, workers, 0
    while done < requests:
        while todo and free and pacer.delay(images, now) <= 0:
            todo, free = todo - 1, free - 1
            at = now + 0.001 + chance.random() * 0.0005
            heapq.heappush(events, (at, next(order), "arrives", pacer.acquire(images, now), 0.0))
        moments = [events[0][0]] if events else []
        if todo and free:
            moments.append(now + pacer.delay(images, now) + chance.random() * 0.0005)  # a late timer
        now = min(moments)
        while events and events[0][0] <= now:
            at, _, what, ticket, wait = heapq.heappop(events)
            if what == "arrives":
                wait = server.wait(images, at)
                event = ("is refused", at + 0.001) if wait else ("is done", at + 0.05)
                heapq.heappush(events, (event[1], next(order), event[0], ticket, wait))
            elif what == "is refused":
                pacer.record_rejection(ticket, server.stated(), wait, at)
                todo, free = todo + 1, free + 1
            else:
                pacer.record_success(ticket, server.stated(), at)
                done, free = done + 1, free + 1
    return now


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("burst", [5, "a second's"])
@pytest.mark.parametrize("per_minute", [20, 120, 300, 1000])
@pytest.mark.parametrize(
    ("way", "configured", "slower", "refusals"),
    [
        ("exactly", True, 1.05, 2),
        ("exactly", False, 1.08, 20),
        ("in whole seconds", False, 1.35, 28),  # a pause of a second costs a tenth of nine
    ],
)
def test_a_limit_is_used_up_and_hardly_run_into(
    way: str, configured: bool, slower: float, refusals: int, per_minute: int, burst: int | str, seed: int
) -> None:
    """Told or not, 150 requests take little longer than the limit makes them, with a handful of refusals."""
    size = float(burst) if isinstance(burst, int) else max(2.0, per_minute / 60)
    server = Server(per_minute / 60, size, WAYS[way])
    pacer = Pacer(Limits(images_per_minute=per_minute if configured else None), 0.0)
    took = run(server, pacer, requests=150, seed=seed)
    if configured and size > 5:  # what was configured is kept evenly, so a larger burst goes unused
        slower += (size - 5) / 150
    if configured and size < 4:
        refusals = 4
    assert took <= slower * (150 - size) / server.rate
    assert server.refusals <= refusals


def test_five_pictures_a_minute() -> None:
    """The smallest account: fifty images in ten minutes, whether the limit is configured, stated or neither."""
    for limits, states, refusals in (
        (Limits(images_per_minute=5), False, 0),
        (Limits(), True, 2),
        (Limits(), False, 8),
    ):
        server = Server(5 / 60, 5, states=states)
        took = run(server, Pacer(limits, 0.0), requests=50)
        assert took <= 1.05 * 45 * 12
        assert server.refusals <= refusals


def test_a_stated_limit_is_used_to_its_last_picture() -> None:
    """The server's own headers say how many may go at once."""
    server = Server(1.0, 60, states=True)
    took = run(server, Pacer(Limits(), 0.0), requests=60, workers=100)
    assert server.refusals == 0
    assert took < 1.0


@pytest.mark.parametrize("whole", [True, False])
def test_advertised_limit_with_a_small_burst_is_no_faster_than_it_is(whole: bool) -> None:
    """60 a minute, 5 at once: a bucket that is full again in five seconds does not restore 60 in them."""
    server = Bursty(1.0, 5, WAYS["in whole seconds" if whole else "exactly"])
    pacer = Pacer(Limits(), 0.0)
    took = run(server, pacer, requests=60)
    assert 1.0 <= pacer._advertised["images"].rate < 2.0
    assert server.refusals <= 4
    assert took <= 1.1 * 55


def test_advertised_limit_of_a_second_is_read_as_such() -> None:
    """Ten in each second, stated as 10 with a reset of the rest of the second: not ten a minute."""
    pacer, now = Pacer(Limits(), 0.0), 0.0
    for number in range(5):
        permit = pacer.acquire(1, now)
        now += 0.02
        stated = advertised_limits(header("requests", "10", f"{9 - number}", f"{1 - now}s"))
        pacer.record_success(permit, stated, now)
    assert 1.0 < pacer._advertised["requests"].rate <= 10.0


def test_others_under_the_same_limit_are_noticed() -> None:
    """Where less is left than we thought, we wait for it."""
    pacer = Pacer(Limits(), 0.0)
    first = pacer.acquire(1, 0.0)
    pacer.record_success(first, {"images": AdvertisedLimit(10, 9, 1.0)}, 0.1)
    second = pacer.acquire(1, 0.2)
    assert pacer.delay(1, 0.3) == 0.0
    pacer.record_success(second, {"images": AdvertisedLimit(10, 0, 1.0)}, 0.3)
    assert pacer.delay(1, 0.3) == pytest.approx(1.0, abs=0.2)


def test_a_request_for_several_pictures_counts_as_many() -> None:
    """So many images take n of the limit, also more than it lets go at once."""
    pacer = Pacer(Limits(images_per_minute=60), 0.0)
    pacer.acquire(10, 0.0)
    assert pacer.delay(1, 0.0) == pytest.approx(7.0)
    server = Server(1.0, 12)
    assert run(server, Pacer(Limits(images_per_minute=60), 0.0), requests=10, images=10) <= 100
    assert server.refusals <= 1


def test_requests_and_tokens_have_limits_too() -> None:
    """The narrowest limit holds; what an image took in tokens is what the next one is expected to take."""
    pacer = Pacer(Limits(requests_per_minute=60, tokens_per_minute=6000), 0.0)
    for _ in range(4):
        ticket = pacer.acquire(1, 0.0)
    assert pacer.delay(1, 0.0) == pytest.approx(1.0)
    pacer.record_usage(ticket, 1000, 0.0)  # 400 were there at once
    assert pacer.delay(1, 0.0) == pytest.approx(10.0)
    assert pacer.delay(1, 5.0) == pytest.approx(5.0)


def test_nobody_goes_in_a_pause() -> None:
    """A refusal stops all for as long as the server said; a second one can make it longer, never shorter."""
    pacer = Pacer(Limits(), 0.0)
    first, second = pacer.acquire(1, 0.0), pacer.acquire(1, 0.0)
    pacer.record_rejection(first, {}, 30, 0.1)
    assert pacer.delay(1, 0.1) == pytest.approx(30.0)
    pacer.record_rejection(second, {}, 5, 0.2)
    assert pacer.delay(1, 0.2) == pytest.approx(29.9)
    pacer.record_rejection(second, {}, 60, 0.3)
    assert pacer.delay(1, 0.3) == pytest.approx(60.0)


def test_a_limit_that_has_gone_is_noticed() -> None:
    """What was estimated is forgotten when everything was accepted for some minutes."""
    pacer = Pacer(Limits(), 0.0)
    run(Server(2.0, 2), pacer, requests=40)
    slow = pacer._estimator._estimate.rate
    assert 1.8 < slow < 2.4
    now = 1000.0
    for _ in range(20_000):
        now += pacer.delay(1, now)
        pacer.record_success(pacer.acquire(1, now), {}, now)
    assert pacer._estimator._estimate.rate == math.inf


@given(
    st.lists(
        st.tuples(st.sampled_from(["answer", "refuse"]), st.floats(0, 100), st.integers(1, 10)), max_size=60
    )
)
def test_whatever_the_server_does_the_wait_is_sane(steps: list[tuple[str, float, int]]) -> None:
    """Never negative, never for ever, never before the pause is over."""
    pacer, now, resume = Pacer(Limits(), 0.0), 0.0, 0.0
    for what, seconds, images in steps:
        wait = pacer.delay(images, now)
        assert 0.0 <= wait < 1e7
        assert now + wait >= resume - 1e-6
        now += wait
        ticket = pacer.acquire(images, now)
        now += 0.01
        if what == "answer":
            pacer.record_success(ticket, {}, now)
        else:
            pacer.record_rejection(ticket, {}, seconds, now)
            resume = max(resume, now + seconds)


def header(name: str, limit: str, remaining: str, reset: str) -> dict[str, str]:
    """The three headers of a limit."""
    said = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{what}-{name}": text for what, text in said.items()}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, {}),
        (header("requests", "500", "499", "120ms"), {"requests": AdvertisedLimit(500, 499, 1 / 0.12)}),
        (
            header("tokens", "30000", "554", "58.891s"),
            {"tokens": AdvertisedLimit(30000, 554, 29446 / 58.891)},
        ),
        (header("input-images", "5", "0", "60"), {"images": AdvertisedLimit(5, 0, 5 / 60)}),
        (header("images", "5", "2", "36s"), {"images": AdvertisedLimit(5, 2, 3 / 36)}),
        (header("images", "5", "5", "0s"), {"images": AdvertisedLimit(5, 5, 5 / 60)}),
        (header("images", "5", "0", "soon"), {"images": AdvertisedLimit(5, 0, 5 / 60)}),
        (header("images", "0", "0", "1s"), {}),
        (header("images", "5", "9", "1s"), {}),
        (header("images", "many", "9", "1s"), {}),
        (header("widgets", "5", "2", "1s"), {}),
    ],
)
def test_what_headers_state(headers: dict[str, str], expected: dict[str, AdvertisedLimit]) -> None:
    """Both spellings of the reset, both names of the images' limit; what makes no sense says nothing."""
    found = advertised_limits(headers)
    assert found.keys() == expected.keys()
    for kind, limit in expected.items():
        assert found[kind].rate == pytest.approx(limit.rate)
        assert (found[kind].limit, found[kind].remaining) == (limit.limit, limit.remaining)


@pytest.mark.parametrize("name", ["images_per_minute", "requests_per_minute", "tokens_per_minute"])
@pytest.mark.parametrize("value", [0, -1, True, "5", math.inf, math.nan, 1e-310, 9e-7])
def test_limits_that_make_no_sense_are_refused(name: str, value: object) -> None:
    """A rate is a number above 0, and not so small that times overflow."""
    with pytest.raises(ConfigurationError, match=name):
        Limits(**{name: value})


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["accept", "reject", "crowd"]),
            st.one_of(st.floats(-1e6, 1e9), st.floats(0, 100)),
            st.one_of(st.just(1), st.integers(1, 10_000)),
            st.floats(0, 86_400),
        ),
        max_size=40,
    ),
    st.booleans(),
)
def test_no_time_that_passes_breaks_the_arithmetic(
    steps: list[tuple[str, float, int, float]], stated: bool
) -> None:
    """Years, bursts, clocks that run backwards, and requests as large as the limit."""
    pacer, now = Pacer(Limits(tokens_per_minute=1000.0 if stated else None), 0.0), 0.0
    advertised = {"images": AdvertisedLimit(10_000, 5, 1e-9)} if stated else {}
    for what, passed, images, seconds in steps:
        now += passed
        permits = [pacer.acquire(images, now) for _ in range(50 if what == "crowd" else 1)]
        for permit in permits:
            if what == "accept":
                pacer.record_success(permit, advertised, now)
            else:
                pacer.record_rejection(permit, advertised, seconds, now)
            pacer.record_usage(permit, 10, now)
            pacer.close(permit)
        assert 0.0 <= pacer.delay(images, now) < math.inf
        assert pacer.binding_limit(images, now)


def test_quiet_client_goes_on_as_before() -> None:
    """Idle time is no evidence that the rate was used: after any pause the next request goes at once."""
    pacer, now = Pacer(Limits(), 0.0), 0.0
    pacer.record_rejection(pacer.acquire(1, now), {}, 1.0, now + 0.05)
    for minutes in (7, 7, 60, 60 * 24 * 365 * 10):
        now += minutes * 60
        assert pacer.delay(1, now) == 0.0
        pacer.record_success(pacer.acquire(1, now), {}, now)


@pytest.mark.parametrize("hours", [1, 24])
def test_long_pause_teaches_no_rate(hours: int) -> None:
    """A limit of an hour or a day is a pause: when it is over, the next requests do not wait as long once more."""
    pacer, now = Pacer(Limits(), 0.0), 0.0
    pacer.record_rejection(pacer.acquire(1, now), {}, hours * 3600.0, now)
    now = hours * 3600.0
    for _ in range(10):
        delay = pacer.delay(1, now)
        assert delay <= 80.0
        now += delay
        pacer.record_success(pacer.acquire(1, now), {}, now)
    assert now < hours * 3600.0 + 180.0
