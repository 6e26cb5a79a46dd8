"""A provider and its clients in virtual time: what a pacer does to both, for any limit, latency and concurrency.

Invariants: no clock is read and nothing is slept; the same case gives the same figures; a client sends only what its
pacer allows, and sends again what was rejected. Must not: know how a pacer decides.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import define, evolve, field, frozen

from openai_images.wire.headers import AdvertisedLimit

_TRAVEL = 0.02
"""Seconds from a client to the server, and from a rejection back."""


class Pacing(Protocol):
    """What a client asks before it sends, and tells afterwards."""

    def delay(self, images: int, now: float) -> float:
        """Seconds until it may go."""
        ...

    def acquire(self, images: int, now: float) -> Any:
        """It goes."""

    def record_success(self, permit: Any, advertised: Mapping[str, AdvertisedLimit], now: float) -> None:
        """It was accepted."""

    def record_rejection(
        self, permit: Any, advertised: Mapping[str, AdvertisedLimit], seconds: float, now: float
    ) -> None:
        """It was rejected."""


class Limit(Protocol):
    """What a server enforces."""

    def wait(self, images: int, now: float) -> float:
        """0 where it would accept, else seconds until it would."""
        ...

    def take(self, images: int, now: float) -> None:
        """Accept."""


@define
class BucketLimit:
    """A token bucket: `rate` images a second, `burst` at most."""

    rate: float
    burst: float
    level: float = field(init=False)
    at: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.level = self.burst

    def wait(self, images: int, now: float) -> float:
        """Seconds until so many are there."""
        self.level, self.at = min(self.burst, self.level + (now - self.at) * self.rate), now
        return 0.0 if self.level >= images - 1e-9 else (images - self.level) / self.rate

    def take(self, images: int, now: float) -> None:
        """Take them."""
        self.level -= images


@define
class WindowLimit:
    """So many images in each fixed window of so many `seconds`."""

    images: int
    seconds: float
    used: int = 0
    window: int = -1

    def wait(self, images: int, now: float) -> float:
        """Seconds until the next window."""
        window = math.floor(now / self.seconds)
        if window != self.window:
            self.window, self.used = window, 0
        return 0.0 if self.used + images <= self.images else (window + 1) * self.seconds - now

    def take(self, images: int, now: float) -> None:
        """Count them."""
        self.used += images


class NoLimit:
    """Accepts everything."""

    def wait(self, images: int, now: float) -> float:
        """No time."""
        return 0.0

    def take(self, images: int, now: float) -> None:
        """Nothing to count."""


@frozen
class Case:
    """A limit and those who use it."""

    limit: Callable[[], Limit]
    requests: int = 150
    images: int = 1
    latency: float = 3.0
    concurrency: int = 16
    clients: int = 1
    hint: str = "exact"
    """How a rejection tells its wait: exact, seconds (whole ones), or none."""
    advertised: Callable[[float], dict[str, AdvertisedLimit]] | None = None
    """What the headers say, by the images accepted in the last minute."""
    chance: float = 0.0
    """Of a rejection that has nothing to do with the limit, asking for `foreign_wait` seconds."""
    foreign_wait: float = 5.0
    outage: tuple[float, float] = (0.0, 0.0)
    """From when to when everything is rejected so."""
    seed: int = 1


@define
class Figures:
    """Seconds until the last image was there; how many rejections, and how many of those were foreign."""

    seconds: float = 0.0
    rejected: int = 0
    foreign: int = 0


@define
class _Client:
    pacer: Pacing
    todo: int
    free: int
    done: int = 0


@define
class Simulation:
    """Runs one case, once."""

    case: Case
    limit: Limit = field(init=False)
    figures: Figures = field(factory=Figures)
    _chance: random.Random = field(init=False)
    _events: list[tuple[float, int, str, _Client, Any, float]] = field(factory=list, init=False)
    _order: itertools.count = field(factory=itertools.count, init=False)  # type: ignore[type-arg]
    _accepted: list[tuple[float, int]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.limit = self.case.limit()
        self._chance = random.Random(self.case.seed)

    def run(self, make: Callable[[float], Pacing]) -> Figures:
        """Until every client has its share of the images."""
        case = self.case
        share = case.requests // case.clients
        clients = [_Client(make(0.0), share, case.concurrency) for _ in range(case.clients)]
        for client in clients:
            self._push(0.0, "turn", client)
        now = 0.0
        while any(client.done < share for client in clients):
            now, _, what, client, permit, wait = heapq.heappop(self._events)
            if what == "arrives":
                self._answer(client, permit, now)
                continue
            if what == "rejected":
                client.free, client.todo = client.free + 1, client.todo + 1
                client.pacer.record_rejection(permit, self._advertised(now), wait, now)
            elif what == "accepted":
                client.free, client.done = client.free + 1, client.done + 1
                client.pacer.record_success(permit, self._advertised(now), now)
            self._send(client, now)
        self.figures.seconds = now
        return self.figures

    def _push(self, at: float, what: str, client: _Client, permit: Any = None, wait: float = 0.0) -> None:
        heapq.heappush(self._events, (at, next(self._order), what, client, permit, wait))

    def _send(self, client: _Client, now: float) -> None:
        while client.todo and client.free:
            delay = client.pacer.delay(self.case.images, now)
            if delay > 0:
                self._push(now + delay + self._chance.random() * 0.0005, "turn", client)  # a late timer
                return
            client.todo, client.free = client.todo - 1, client.free - 1
            permit = client.pacer.acquire(self.case.images, now)
            self._push(now + _TRAVEL * self._chance.uniform(0.9, 1.1), "arrives", client, permit)

    def _answer(self, client: _Client, permit: Any, now: float) -> None:
        case = self.case
        if case.outage[0] <= now < case.outage[1] or self._chance.random() < case.chance:
            self.figures.foreign += 1
            wait = case.foreign_wait
        else:
            wait = self.limit.wait(case.images, now)
            if not wait:
                self.limit.take(case.images, now)
                self._accepted.append((now, case.images))
                self._push(now + case.latency * self._chance.uniform(0.8, 1.2), "accepted", client, permit)
                return
            shown = {"exact": math.ceil(wait * 1000) / 1000, "seconds": float(max(1, math.ceil(wait)))}
            wait = shown.get(case.hint, 0.5)  # what a backoff waits where the server says nothing
        self.figures.rejected += 1
        self._push(now + _TRAVEL, "rejected", client, permit, wait)

    def _advertised(self, now: float) -> dict[str, AdvertisedLimit]:
        if self.case.advertised is None:
            return {}
        while self._accepted and self._accepted[0][0] < now - 60:
            self._accepted.pop(0)
        return self.case.advertised(sum(images for _, images in self._accepted))


@define
class Oracle:
    """A pacer that knows the limit, and obeys every wait that it is told."""

    limit: Limit
    resume_at: float = -math.inf

    def delay(self, images: int, now: float) -> float:
        """Until the limit would accept it."""
        pause = max(0.0, self.resume_at - now)
        return pause + self.limit.wait(images, now + pause)

    def acquire(self, images: int, now: float) -> None:
        """Count it."""
        self.limit.take(images, now)

    def record_success(self, permit: Any, advertised: Any, now: float) -> None:
        """Nothing to learn."""

    def record_rejection(self, permit: Any, advertised: Any, seconds: float, now: float) -> None:
        """Wait that long."""
        self.resume_at = max(self.resume_at, now + seconds)


def ideal(case: Case) -> float:
    """Seconds that it takes whoever knows the limit: one client with all the slots, and only foreign rejections."""
    known = case.limit()
    slots = case.concurrency * case.clients
    alone = evolve(case, limit=NoLimit, clients=1, concurrency=slots, advertised=None)
    return Simulation(alone).run(lambda _: Oracle(known)).seconds
