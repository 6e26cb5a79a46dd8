"""The script of shared limits: its arithmetic beside that of `TokenBucket`, and what it gives in virtual time."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from benchmarks.redis_server import RedisServer
from openai_images import Limits
from openai_images.models.options import LOWEST_RATE
from openai_images.ratelimit.shared_pacer import SharedPacer
from openai_images.ratelimit.token_bucket import TokenBucket
from tests.ratelimit.shared_clients import SharedPacing, VirtualScript
from tests.ratelimit.simulation import BucketLimit, Case, Simulation, WindowLimit, ideal

KINDS = ("images", "requests", "tokens")


@pytest.fixture
def script(redis_server: RedisServer) -> Iterator[VirtualScript]:
    """A name with nothing in it."""
    script = VirtualScript(redis_server)
    yield script
    script.close()


def told(**limits: float) -> list[dict[str, Any]]:
    """Limits from settings: so many a second, with bursts of 4."""
    return [{"kind": kind, "rate": rate, "capacity": 4.0} for kind, rate in limits.items()]


class Model:
    """The same in Python: buckets, and places in order."""

    def __init__(self, limits: list[dict[str, Any]]) -> None:
        """All buckets are full."""
        self.buckets = {limit["kind"]: TokenBucket(limit["rate"], limit["capacity"], 0.0) for limit in limits}
        # While no limit is known, a hundred requests go a hundredth of a second apart.
        self.spacing = TokenBucket(100.0, 4, 0.0)
        self.last = self.tokens_per_image = 0.0

    def reserve(self, images: int, now: float) -> float:
        """Seconds until the place."""
        start = max(now, self.last)
        charge = {"images": images, "requests": 1, "tokens": self.tokens_per_image * images}
        delays = [bucket.delay(charge[kind], start) for kind, bucket in self.buckets.items()]
        self.last = start + max(*delays, self.spacing.delay(1, start))
        for kind, bucket in self.buckets.items():
            bucket.take(charge[kind], self.last)
        self.spacing.take(1, self.last)
        return self.last - now

    def use(self, per_image: float, difference: float, now: float) -> None:
        """Tokens that a request took."""
        self.tokens_per_image = per_image
        if "tokens" in self.buckets:
            self.buckets["tokens"].take(difference, now)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 5)),
        st.tuples(st.just("reserve"), st.integers(1, 10)),
        st.tuples(st.just("use"), st.floats(0, 20)),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(limits=st.dictionaries(st.sampled_from(KINDS), st.floats(0.05, 200), min_size=1), steps=steps)
def test_places_are_those_of_token_buckets(
    redis_server: RedisServer, limits: dict[str, float], steps: list[tuple[str, float]]
) -> None:
    """Several buckets at once, each with its own cost, by the server's clock."""
    script, model, now = VirtualScript(redis_server), Model(told(**limits)), 0.0
    for what, amount in steps:
        if what == "wait":
            now = round(now + amount, 6)
        elif what == "use":
            report = {"what": "usage", "per_image": amount, "difference": amount / 2}
            script.run(now, told=told(**limits), reports=[report])
            model.use(amount, amount / 2, now)
        else:
            place = script.run(now, told=told(**limits), images=int(amount))["place"]
            assert place["delay"] == pytest.approx(model.reserve(int(amount), now), rel=1e-6, abs=1e-4)
    script.close()


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=60),
    waits=st.lists(st.floats(0, 1), min_size=60, max_size=60),
    rate=st.floats(0.5, 50),
)
def test_no_stretch_of_time_has_more_than_its_share(
    redis_server: RedisServer, sizes: list[int], waits: list[float], rate: float
) -> None:
    """Between any two places there are at most a burst and what the time between them gives."""
    script, now, places = VirtualScript(redis_server), 0.0, list[tuple[float, int]]()
    for images, wait in zip(sizes, waits, strict=False):
        now = round(now + wait, 6)
        places.append(
            (now + script.run(now, told=told(images=rate), images=images)["place"]["delay"], images)
        )
    assert places == sorted(places, key=lambda place: place[0])
    for first in range(len(places)):
        total = 0
        for at, images in places[first:]:
            total += images
            assert total <= 4 + rate * (at - places[first][0]) + 0.01
    script.close()


def test_a_pause_is_for_everybody_and_its_end_is_no_herd(script: VirtualScript) -> None:
    """Places follow each other behind the end of a pause, as they would have from now."""
    limits = told(images=2)
    before = script.run(0, told=limits, images=1)["place"]
    script.run(0, reports=[rejected(before, seconds=10, explained=True)])
    delays = [script.run(1, told=limits, images=1)["place"]["delay"] for _ in range(6)]
    assert delays == pytest.approx([9, 9, 9, 9, 9.5, 10], abs=0.05)
    assert script.run(2)["pause"] == pytest.approx(8)


def rejected(place: dict[str, Any], *, seconds: float, explained: bool = False) -> dict[str, Any]:
    """The report of a 429."""
    facts = {"what": "rejected", "index": 0, "seconds": seconds, "explained": explained}
    return facts | {name: place[name] for name in ("period", "before", "charge")}


def unused(place: dict[str, Any]) -> dict[str, Any]:
    """The report of a place that nobody takes."""
    return {"what": "unused"} | {name: place[name] for name in ("serial", "period", "charge")}


def test_a_shorter_pause_does_not_end_a_longer_one(script: VirtualScript) -> None:
    """Whatever the order in which they are reported."""
    place = script.run(0, images=1)["place"]
    for seconds in (10, 3):
        script.run(0, reports=[rejected(place, seconds=seconds, explained=True)])
    assert script.run(0, images=1)["place"]["delay"] == pytest.approx(10)


def test_the_last_place_can_be_returned_once(script: VirtualScript) -> None:
    """Then it is as if it had never been reserved."""
    limits = told(images=1)
    for _ in range(4):
        script.run(0, told=limits, images=1)
    place = script.run(0, told=limits, images=1)["place"]
    assert place["delay"] == pytest.approx(1)
    script.run(0, reports=[unused(place), unused(place)])
    again = [script.run(0, told=limits, images=1)["place"]["delay"] for _ in range(2)]
    assert again == pytest.approx([1, 2], abs=1e-3)


def test_an_earlier_place_is_lost(script: VirtualScript) -> None:
    """Somebody behind it would go too early: the bucket would hold more than it can by then."""
    limits = told(images=1)
    places = [script.run(0, told=limits, images=1)["place"] for _ in range(6)]
    script.run(0, reports=[unused(places[4])])
    assert script.run(0, told=limits, images=1)["place"]["delay"] == pytest.approx(3, abs=1e-3)


def test_a_limit_that_one_tells_holds_for_who_tells_none(script: VirtualScript) -> None:
    """Also when it changes: the one that was told last counts."""
    for _ in range(5):
        script.run(0, told=told(images=1), images=1)
    assert script.run(0, images=1)["place"]["delay"] == pytest.approx(2, abs=1e-3)
    script.run(2, told=told(images=10))
    assert script.run(2, images=1)["place"]["delay"] == pytest.approx(0.1, abs=1e-3)


def advertised(remaining: float, *, held: float | None = None) -> dict[str, Any]:
    """The report of a limit of 60 images a minute in a response."""
    facts = {"what": "advertised", "kind": "images", "limit": 60, "rate": 1, "remaining": remaining}
    return facts | ({} if held is None else {"held": held})


def test_what_a_header_says_holds_for_everybody(script: VirtualScript) -> None:
    """A report that others' requests explain changes nothing; use by strangers does."""
    place = script.run(0, images=1)["place"]
    assert place["held"] == {}
    script.run(0, reports=[advertised(8)])
    place = script.run(0, images=4)["place"]
    assert place["delay"] < 0.01
    assert place["held"]["images"] == pytest.approx(4)
    script.run(0.1, images=2)
    script.run(0.1, reports=[advertised(4, held=4)])
    assert script.run(0.1, images=2)["place"]["held"]["images"] == pytest.approx(0, abs=0.2)
    script.run(30, reports=[advertised(3, held=30)])  # strangers took 27
    place = script.run(30, images=5)["place"]
    assert place["delay"] == pytest.approx(2, abs=0.2)
    assert place["reason"] == "advertised images"


def test_a_state_that_is_lost_is_not_taken_for_another(
    script: VirtualScript, redis_server: RedisServer
) -> None:
    """Numbers of places go on from the clock, so that a place from before is not returned into a new state."""
    old = script.run(0, told=told(images=1), images=1)["place"]
    redis_server.ask("DEL", script.key)
    new = script.run(3, told=told(images=1), images=1)["place"]
    assert new["serial"] > old["serial"]
    assert new["period"] > old["period"]


def test_a_clock_that_is_set_back_stops_nobody(script: VirtualScript) -> None:
    """Nor does a server with another clock that takes over: time goes on from the last moment."""
    limits = told(images=1)
    for _ in range(5):
        script.run(5000, told=limits, images=1)
    for number in range(3):
        assert script.run(10 + number, told=limits, images=1)["place"]["delay"] == pytest.approx(2, abs=1e-3)


def test_it_forgets_after_an_hour(script: VirtualScript, redis_server: RedisServer) -> None:
    """And not before the end of a pause."""
    place = script.run(0, images=1)["place"]
    assert 3_590_000 < redis_server.ask("PTTL", script.key) <= 3_600_000
    script.run(0, reports=[rejected(place, seconds=80_000, explained=True)])
    assert redis_server.ask("PTTL", script.key) > 83_000_000


def test_the_lowest_rate_leaves_a_state_that_ends(script: VirtualScript, redis_server: RedisServer) -> None:
    """Whatever waits: a state without an expiry would stop its name forever."""
    lowest = SharedPacer(Limits(images_per_minute=LOWEST_RATE), 0.0, lambda: None).told
    delay = [script.run(0.0, told=lowest, images=10)["place"]["delay"] for _ in range(10)][-1]
    assert delay > 1e8
    assert redis_server.ask("PTTL", script.key) > delay * 1000


def test_a_told_limit_that_differs_is_in_the_answer(script: VirtualScript) -> None:
    """The one that it replaces."""
    assert "replaced" not in script.run(0.0, told=told(images=1 / 3))
    assert "replaced" not in script.run(0.0, told=told(images=1 / 3, requests=1.0))
    assert (
        abs(script.run(0.0, told=told(images=2.0))["replaced"]["rate"] - 1 / 3) < 1e-9
    )  # an answer has 14 digits
    assert script.run(0.0, told=told(images=5.0))["replaced"] == {"kind": "images", "rate": 2.0}


def test_its_state_stays_small(script: VirtualScript, redis_server: RedisServer) -> None:
    """However many places there were."""
    for number in range(500):
        script.run(number / 1000, told=told(images=100, requests=100, tokens=1e6), images=1)
    assert redis_server.ask("HLEN", script.key) < 30
    assert redis_server.ask("MEMORY", "USAGE", script.key) < 10_000


@pytest.mark.parametrize("clients", [1, 4])
@pytest.mark.parametrize("hint", ["exact", "seconds"])
@pytest.mark.parametrize(("rate", "burst"), [(0.5, 4), (5, 60), (16.7, 16)])
def test_what_refusals_teach_is_shared(
    script: VirtualScript, clients: int, hint: str, rate: float, burst: int
) -> None:
    """Nobody states the limit: it is found, used up and hardly run into, by several as by one."""
    case = Case(
        lambda: BucketLimit(rate, burst),
        requests=150 * clients,
        clients=clients,
        hint=hint,
        concurrency=64,
    )
    figures = Simulation(case).run(lambda now: SharedPacing(script, Limits(), now))
    assert figures.seconds / ideal(case) <= 1.12
    assert figures.rejected <= 25 + 25 * (clients > 1) + case.requests / 8


def test_a_told_limit_is_kept_by_all(script: VirtualScript) -> None:
    """A limit that everybody knows is used up without a rejection."""
    case = Case(lambda: WindowLimit(100, 10), requests=400, clients=4, concurrency=64)
    limits = Limits(images_per_minute=570)
    figures = Simulation(case).run(lambda now: SharedPacing(script, limits, now))
    assert figures.rejected == 0
    assert figures.seconds <= 400 / 9.5 + 5
