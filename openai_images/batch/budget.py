"""The budget of a batch: what is spent, what requests in flight may cost, and which request may be sent next.

Invariants: pure. The worst cost of a request is its estimate, or unknown. When a request starts, what was spent and
the worst costs of all requests in flight but one fit into the limit together: so the limit is never exceeded by more
than one request in flight, whatever they cost, and not at all where each names its size and quality. Expected costs
fit, too: where an estimate assumes the most expensive size or quality, or is unknown, each image is expected to cost
`MARGIN` times the most expensive one of its kind so far. A request that may have been billed counts with its worst
cost; where that is unknown nothing more is sent.
Must not: count an unknown cost as zero.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any, Final

from attrs import define, field, frozen

from openai_images._util.attrs import safe_repr
from openai_images.models.requests import EditRequest, GenerateRequest, as_list, set_parameters

MARGIN: Final = Decimal("1.25")
"""The dearest image so far and not the mean, as the costs of `auto` differ in steps; a quarter for longer prompts."""

_ZERO: Final = Decimal(0)
_ASSUMED: Final = ("size", "quality")
_NO_COST: Final = ("prompt", "n", "user", "safety_identifier", "extra_body", "image", "mask", "markup")


@frozen
class RequestCost:
    """What is known of a request's cost: `worst` US dollars (None: unknown) for `count` images of one `kind`.

    `assumed` says for people what the worst cost assumes; "" where it is certain.
    """

    worst: Decimal | None
    count: int = 1
    kind: str = field(default="", repr=False)
    assumed: str = ""

    @classmethod
    def of(
        cls, request: GenerateRequest, worst: Decimal | None, count: int, *, is_certain: bool = False
    ) -> RequestCost:
        """What is known of the cost of this request; `is_certain` where the user says what it costs at most."""
        values = {**set_parameters(request), **(request.extra_body or {})}
        kind: dict[str, Any] = {name: value for name, value in values.items() if name not in _NO_COST}
        assumed = [f"{name} auto" for name in _ASSUMED if values.get(name, "auto") == "auto"]
        if isinstance(request, EditRequest):
            kind["images"] = [len(as_list(request.image)), request.mask is None, request.markup is None]
            assumed.insert(0, "images to edit")
        is_certain = is_certain or not (assumed or worst is None)
        text = "" if is_certain else f"{values.get('model')} with {', '.join(assumed) or 'an unknown price'}"
        return cls(worst, count, json.dumps(kind, sort_keys=True, default=str), text)


@define(eq=False)
class Reservation:
    """A request in flight."""

    cost: RequestCost


@safe_repr
class Budget:
    """A limit in US dollars (None: no limit), what of it is spent, and the requests in flight.

    Raises ValueError for an amount that is negative or no number.
    """

    def __init__(self, limit: Decimal | None, spent: Decimal = _ZERO) -> None:
        self.limit = None if limit is None else _check_amount(limit)
        self.spent = _check_amount(spent)
        self.is_unknown = False
        """Whether a request was billed whose cost nobody knows: nothing fits any more."""
        self._in_flight: set[Reservation] = set()
        self._costs = Counter[
            RequestCost
        ]()  # of those in flight: many have the same, and there may be 50,000
        self._dearest: dict[str, Decimal] = {}  # US dollars for one image, by kind
        self._overruns: dict[str, Decimal] = {}  # what was billed for a worst cost of 1, where that is more

    @property
    def in_flight(self) -> int:
        """How many requests hold a reservation."""
        return len(self._in_flight)

    @property
    def reserved(self) -> Decimal | None:
        """What requests in flight are expected to cost; None where that is unknown."""
        return _sum([(self.expected(cost), count) for cost, count in self._costs.items()])

    def worst(self, cost: RequestCost) -> Decimal | None:
        """The most that a request may cost: its estimate, and more where this kind was billed more; None: unknown."""
        return None if cost.worst is None else cost.worst * self._overruns.get(cost.kind, 1)

    def dearest(self, cost: RequestCost) -> Decimal | None:
        """What the most expensive image of this kind has cost so far."""
        return self._dearest.get(cost.kind)

    def expected(self, cost: RequestCost) -> Decimal | None:
        """What a request is expected to cost: its worst cost where that is certain, or no image has finished yet."""
        worst, dearest = self.worst(cost), self.dearest(cost)
        if dearest is None or not cost.assumed:
            return worst
        learned = MARGIN * dearest * cost.count
        return learned if worst is None else min(learned, worst)

    def reserve(self, cost: RequestCost) -> Reservation | None:
        """Reserve the cost of a request that starts now; None where it does not fit. Raises ValueError."""
        if cost.worst is not None:
            _check_amount(cost.worst)
        if not self._fits(cost):
            return None
        reservation = Reservation(cost)
        self._in_flight.add(reservation)
        self._costs[cost] += 1
        return reservation

    def settle(self, reservation: Reservation, cost: Decimal | None, images: int = 0) -> None:
        """Spend what a request has cost for `images` images (0: as many as requested); None: its worst cost.

        Raises ValueError for one that is not in flight, and for a cost that is no amount.
        """
        if cost is not None:
            _check_amount(cost)
        self.release(reservation)
        self._spend(reservation.cost, cost)
        if cost is not None:
            self.learn(reservation.cost, cost, images)

    def learn(self, of: RequestCost, cost: Decimal, images: int = 0) -> None:
        """Remember what `images` images of this kind have cost, which is not spent again."""
        each = cost / (images or of.count)
        self._dearest[of.kind] = max(each, self._dearest.get(of.kind, _ZERO))
        if of.worst and cost > of.worst:
            self._overruns[of.kind] = max(cost / of.worst, self._overruns.get(of.kind, _ZERO))

    def repeat(self, reservation: Reservation) -> None:
        """Spend the worst cost of an attempt that may have been billed; the request is in flight once more."""
        self._spend(reservation.cost, None)

    def release(self, reservation: Reservation) -> None:
        """Free the reservation of a request that was not executed. Raises ValueError where it is not in flight."""
        if reservation not in self._in_flight:
            raise ValueError("this request is not in flight: it is settled or released once")
        self._in_flight.remove(reservation)
        self._costs[reservation.cost] -= 1
        if not self._costs[reservation.cost]:
            del self._costs[reservation.cost]

    def _spend(self, of: RequestCost, cost: Decimal | None) -> None:
        spent = self.worst(of) if cost is None else cost
        self.is_unknown = self.is_unknown or spent is None
        self.spent += spent or _ZERO

    def _fits(self, cost: RequestCost) -> bool:
        if self.limit is None:
            return True
        worst = [(self.worst(each), count) for each, count in (*self._costs.items(), (cost, 1))]
        known = [(each, count) for each, count in worst if each is not None]
        unknown = sum(count for each, count in worst if each is None)
        exceeding = max(each for each, _ in known) if unknown == 0 else _ZERO
        total = sum((each * count for each, count in known), _ZERO)
        if self.is_unknown or unknown > 1 or self.spent + total - exceeding > self.limit:
            return False
        reserved, expected = self.reserved, self.expected(cost)
        if reserved is None:
            return False
        if cost.assumed and self.dearest(cost) is None:  # nothing is known yet: this one finds out
            return self.spent + reserved < self.limit
        return expected is not None and self.spent + reserved + expected <= self.limit

    def assumption(self, cost: RequestCost) -> str:
        """What is assumed of this request's cost, and how to make it certain; "" where it is."""
        if not cost.assumed:
            return ""
        worst, dearest = self.worst(cost), self.dearest(cost)
        most = "an unknown amount" if worst is None else f"${worst / cost.count:.4f}"
        found = (
            "no image of this kind has finished yet"
            if dearest is None
            else f"${MARGIN * dearest:.4f} is reserved for each, {MARGIN} times the dearest so far"
        )
        advice = "give max_image_cost" if worst is None else "name size and quality, or give max_image_cost,"
        return f"an image by {cost.assumed} may cost up to {most}, and {found}; {advice} to make it certain"

    def __repr__(self) -> str:
        limit = "no limit" if self.limit is None else f"limit {self.limit}"
        return f"<Budget {self.spent} spent, {self.in_flight} in flight, {limit}>"


def _sum(amounts: list[tuple[Decimal | None, int]]) -> Decimal | None:
    known = [amount * count for amount, count in amounts if amount is not None]
    return sum(known, _ZERO) if len(known) == len(amounts) else None


def _check_amount(value: Decimal) -> Decimal:
    """Reject what is no amount of money: NaN would make every comparison false."""
    if not value.is_finite() or value < 0:
        msg = f"an amount in US dollars is a finite number of 0 or more, not {value}"
        raise ValueError(msg)
    return value
