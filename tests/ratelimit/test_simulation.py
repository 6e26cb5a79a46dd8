"""The real pacer against simulated providers: time as a multiple of the ideal, and rejections.

`ideal` is what a pacer that knows the limit needs, obeying the waits it is told.
"""

import itertools
from collections.abc import Iterator

import pytest

from openai_images.models.options import Limits
from openai_images.ratelimit.pacer import Pacer
from openai_images.wire.headers import AdvertisedLimit
from tests.ratelimit.simulation import BucketLimit, Case, Figures, NoLimit, Simulation, WindowLimit, ideal

pytestmark = pytest.mark.slow


def run(case: Case) -> tuple[float, Figures]:
    """The time as a multiple of the ideal, and the figures."""
    figures = Simulation(case).run(lambda now: Pacer(Limits(), now))
    return figures.seconds / ideal(case), figures


def buckets() -> Iterator[tuple[str, Case]]:
    """Limits of 0.5 to 50 images a second that run for half a minute at least."""
    grid = itertools.product(
        (0.5, 2, 5, 16.7, 50),
        (1, 4, 16, 60, 150),
        ("exact", "seconds"),
        ((0.2, 16), (0.2, 200), (3, 64), (20, 200), (60, 200)),
        (1, 3),
    )
    for number, (rate, burst, hint, (latency, slots), images) in enumerate(grid):
        enough = int((30 * min(rate, 20) + burst) / images)
        if burst < images or slots * images / latency < rate / 2 or number % 9:
            continue
        yield (
            f"{rate}-{burst}-{hint}-{latency}-{slots}-{images}",
            Case(
                lambda rate=rate, burst=burst: BucketLimit(rate, burst),
                requests=max(150, enough),
                images=images,
                latency=latency,
                concurrency=slots,
                hint=hint,
            ),
        )


CASES = dict(buckets())


def allowed(name: str) -> float:
    """The multiple of the ideal: whole seconds cost most where they are long beside what the limit gives.

    With a burst of one, whole seconds and 150 images, none is below 1.19 for all rates from 1 to 50 a second, 1.07 up
    to 17 and 1.02 up to 5 (`docs/architecture.md`): one 429 costs 33 % at 50 a second, 10 % at 16.7.
    """
    rate, burst, hint, *_ = name.split("-")
    if hint == "exact" or float(burst) > float(rate):
        return 1.12 if float(rate) < 50 else 1.35
    return 1.4 if float(rate) < 50 else 1.6


@pytest.mark.parametrize("name", CASES)
def test_limit_is_used_up_and_hardly_run_into(name: str) -> None:
    """Nobody states the limit, and it takes little longer than it must."""
    ratio, figures = run(CASES[name])
    assert ratio <= allowed(name)
    assert figures.rejected <= CASES[name].requests / 4


@pytest.mark.parametrize("rate", [3, 8])
def test_requests_of_one_moment_arrive_in_any_order(rate: float) -> None:
    """Two of the first four are accepted, whichever: then the burst is two, and a whole second is a short wait."""
    case = Case(lambda: BucketLimit(rate, 2), latency=0.2, concurrency=200, hint="seconds")
    ratio, figures = run(case)
    assert ratio <= 1.35
    assert figures.rejected <= 15


@pytest.mark.parametrize(("latency", "most"), [(0.2, 30), (60.0, 15)])
def test_large_burst_that_ends_is_met_by_few_requests(latency: float, most: int) -> None:
    """A hundred requests are sent before the number a second grows: most large bursts end by then."""
    case = Case(lambda: BucketLimit(2, 150), requests=210, latency=latency, concurrency=200)
    ratio, figures = run(case)
    assert ratio <= 1.05
    assert figures.rejected <= most


def test_limit_is_nearly_ideal_on_the_whole() -> None:
    """Nine of ten cases take at most a tenth longer, half of them hardly any."""
    ratios = sorted(run(case)[0] for case in CASES.values())
    assert ratios[len(ratios) // 2] < 1.02
    assert ratios[len(ratios) * 8 // 10] < 1.12


@pytest.mark.parametrize(("chance", "wait"), [(0.01, 5.0), (0.05, 5.0), (0.1, 1.0), (0.05, 5.5), (0.02, 0.5)])
@pytest.mark.parametrize(("slots", "latency"), [(16, 20.0), (64, 20.0), (4, 5.0)])
@pytest.mark.parametrize("seed", range(2))
def test_foreign_rejections_cost_their_wait_and_little_more(
    chance: float, wait: float, slots: int, latency: float, seed: int
) -> None:
    """An overloaded engine or another tenant says nothing about our rate."""
    case = Case(
        NoLimit,
        requests=1000,
        latency=latency,
        concurrency=slots,
        chance=chance,
        foreign_wait=wait,
        seed=seed,
    )
    ratio, _ = run(case)
    assert ratio <= 1.9


@pytest.mark.parametrize("seconds", [60, 600])
def test_overload_is_a_pause(seconds: float) -> None:
    """When a server that rejected everything accepts again, work goes on as before."""
    case = Case(
        NoLimit,
        requests=600,
        latency=5,
        concurrency=16,
        outage=(60, 60 + seconds),
        foreign_wait=20,
    )
    ratio, _ = run(case)
    assert ratio <= 1.25


@pytest.mark.parametrize("clients", [2, 3, 4])
@pytest.mark.parametrize("hint", ["exact", "seconds"])
@pytest.mark.parametrize(("rate", "burst"), [(0.5, 4), (2, 16), (5, 60)])
def test_clients_share_a_limit(clients: int, hint: str, rate: float, burst: int) -> None:
    """Several clients under one limit, none of which knows of the others."""
    case = Case(
        lambda: BucketLimit(rate, burst),
        requests=150 * clients,
        clients=clients,
        hint=hint,
        concurrency=64,
    )
    ratio, figures = run(case)
    assert ratio <= 1.3
    assert figures.rejected <= 225 * clients


@pytest.mark.parametrize("hint", ["exact", "seconds"])
@pytest.mark.parametrize(
    ("limit", "enforced"),
    [
        (600, lambda: WindowLimit(10, 1)),
        (600, lambda: WindowLimit(100, 10)),
        (300, lambda: BucketLimit(5, 1)),
        (20, lambda: WindowLimit(20, 60)),
    ],
    ids=["10 a second", "100 in ten seconds", "evenly", "20 in a fixed minute"],
)
def test_advertised_limit_is_never_slower_than_none(limit: int, enforced: object, hint: str) -> None:
    """A limit a minute that is enforced over one or ten seconds, as Azure does, or evenly, or in a fixed minute."""

    def advertised(used: float) -> dict[str, AdvertisedLimit]:
        return {"requests": AdvertisedLimit(limit, max(0.0, limit - used), limit / 60)}

    silent = Case(enforced, requests=max(50, limit // 5), latency=0.2, hint=hint)  # type: ignore[arg-type]
    stated = Simulation(
        Case(silent.limit, requests=silent.requests, latency=0.2, hint=hint, advertised=advertised)
    ).run(lambda now: Pacer(Limits(), now))
    unstated = Simulation(silent).run(lambda now: Pacer(Limits(), now))
    assert stated.seconds <= unstated.seconds * 1.05


def test_stated_limit_is_used_to_its_last_image() -> None:
    """Requests in flight at the first response are charged once, whether it counts them already or not."""

    def advertised(used: float) -> dict[str, AdvertisedLimit]:
        return {"requests": AdvertisedLimit(300, 300 - used, 5.0)}

    case = Case(
        lambda: WindowLimit(300, 60), requests=300, latency=0.2, concurrency=64, advertised=advertised
    )
    ratio, figures = run(case)
    assert ratio <= 1.25
    assert figures.rejected == 0
