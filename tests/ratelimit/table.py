"""Prints how well limits are used: `python -m tests.ratelimit.table [EVERY]`, with each EVERYth case of the buckets.

Each row is a kind of limit: time by the ideal and rejections per 150 requests, as median, nine of ten, and worst.
"""

import itertools
import sys
from collections.abc import Callable, Iterator

from openai_images.models.options import Limits
from openai_images.ratelimit.pacer import Pacer
from openai_images.wire.headers import AdvertisedLimit
from tests.ratelimit.simulation import BucketLimit, Case, Limit, NoLimit, Simulation, WindowLimit, ideal

HINTS = ("exact", "seconds")
WINDOWS: dict[str, tuple[int, Callable[[], Limit]]] = {
    "10 in 1 s": (600, lambda: WindowLimit(10, 1)),
    "100 in 10 s": (600, lambda: WindowLimit(100, 10)),
    "20 in 60 s": (20, lambda: WindowLimit(20, 60)),
    "300 in 60 s": (300, lambda: WindowLimit(300, 60)),
    "5/s without a burst": (300, lambda: BucketLimit(5, 1)),
}


def buckets(every: int) -> Iterator[tuple[str, Case]]:
    """0.5 to 50 images a second, bursts of 1 to 150, 4 to 200 at a time that take 0.2 to 60 s, 1 or 3 images each."""
    slots = ((0.2, 4), (0.2, 16), (0.2, 200), (3, 64), (20, 200), (60, 200))
    grid = itertools.product((0.5, 2, 5, 16.7, 50), (1, 4, 5, 16, 60, 150), HINTS, slots, (1, 3))
    for number, (rate, burst, hint, (latency, concurrency), images) in enumerate(grid):
        if burst < images or concurrency * images / latency < rate / 2 or number % every:
            continue
        yield (
            f"{rate:g}/s, {hint}",
            Case(
                lambda rate=rate, burst=burst: BucketLimit(rate, burst),
                requests=max(150, int((30 * min(rate, 20) + burst) / images)),
                images=images,
                latency=latency,
                concurrency=concurrency,
                hint=hint,
            ),
        )


def clients() -> Iterator[tuple[str, Case]]:
    """Two to four clients on one limit, none of which knows of the others."""
    limits = ((0.5, 4), (2, 16), (5, 60), (5, 5), (16.7, 16))
    for count, hint, (rate, burst), seed in itertools.product((2, 3, 4), HINTS, limits, (1, 2)):
        yield (
            f"{count} clients, {hint}",
            Case(
                lambda rate=rate, burst=burst: BucketLimit(rate, burst),
                requests=150 * count,
                clients=count,
                hint=hint,
                concurrency=64,
                seed=seed,
            ),
        )


def windows() -> Iterator[tuple[str, Case]]:
    """Windows, which nobody states or which headers state as so many a minute."""
    for (name, (minute, limit)), hint, latency in itertools.product(WINDOWS.items(), HINTS, (0.2, 3)):
        yield f"{name}, {hint}", Case(limit, requests=300, latency=latency, concurrency=64, hint=hint)

        def advertised(used: float, minute: int = minute) -> dict[str, AdvertisedLimit]:
            return {"requests": AdvertisedLimit(minute, max(0.0, minute - used), minute / 60)}

        yield (
            f"{name}, {hint}, stated",
            Case(limit, requests=300, latency=latency, concurrency=64, hint=hint, advertised=advertised),
        )


def others() -> Iterator[tuple[str, Case]]:
    """Rejections that have nothing to do with the rate."""
    chances = ((0.01, 5.0), (0.05, 5.0), (0.1, 1.0), (0.05, 5.5), (0.02, 0.5))
    for (chance, wait), (slots, latency), seed in itertools.product(
        chances, ((16, 20.0), (64, 20.0), (4, 5.0)), (1, 2)
    ):
        yield (
            "foreign rejections",
            Case(NoLimit, 1000, 1, latency, slots, chance=chance, foreign_wait=wait, seed=seed),
        )
    for seconds, wait in itertools.product((60, 600), (1.0, 5.0, 20.0)):
        yield (
            f"overload of {seconds} s",
            Case(NoLimit, requests=600, latency=5, outage=(60, 60 + seconds), foreign_wait=wait),
        )


def spread(values: list[float], form: str) -> str:
    """Median, nine of ten, worst."""
    ordered = sorted(values)
    return " / ".join(
        format(ordered[min(len(ordered) - 1, int(len(ordered) * part))], form) for part in (0.5, 0.9, 1)
    )


def main() -> None:
    """Print a row as soon as it is known."""
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    cases = itertools.chain(buckets(every), clients(), windows(), others())
    for name, group in itertools.groupby(sorted(cases, key=lambda pair: pair[0]), key=lambda pair: pair[0]):
        ratios, rejected = list[float](), list[float]()
        for _, case in group:
            figures = Simulation(case).run(lambda now: Pacer(Limits(), now))
            ratios.append(figures.seconds / ideal(case))
            rejected.append((figures.rejected - figures.foreign) * 150 / case.requests)
        times, counts = spread(ratios, ".2f"), spread(rejected, ".0f")
        sys.stdout.write(f"{name:32} {len(ratios):3}  {times}   429s {counts}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
