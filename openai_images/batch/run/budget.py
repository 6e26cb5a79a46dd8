"""The budget of a batch: the costs so far, the possible costs of requests in flight, and whether a request fits.

Invariants: `Budget` is pure. At a start, the costs so far and the worst costs (estimates) of all requests in flight
except one fit into the limit: it is exceeded by one request at most, and never if all set size and quality. Expected
costs fit, too: for an estimate that is unknown, or assumes the most expensive size, `MARGIN` times the most expensive
image of this kind, and before the first one the least estimate. A request that may have been billed counts with its
worst cost; if that is unknown, nothing more is sent. At the gate a request waits as long as one in flight may cost less
than its reservation; the reason is logged once.
Must not: count an unknown cost as zero.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from attrs import define, field, frozen

from openai_images._util.attrs import safe_repr
from openai_images.models.requests import EditRequest, GenerateRequest, as_list, set_parameters

_log = logging.getLogger("openai_images")

MARGIN: Final = Decimal("1.25")
"""Times the most expensive image, not the mean: costs of `auto` differ in steps. A quarter more for longer prompts."""

_ZERO: Final = Decimal(0)
_ASSUMED: Final = ("size", "quality")
_NO_COST: Final = ("prompt", "n", "user", "safety_identifier", "extra_body", "image", "mask", "markup")


@frozen
class RequestCost:
    """The possible cost of a request: `least` to `worst` US dollars (None: unknown), for `count` images of a `kind`.

    `assumed` says in messages what the worst cost assumes; "" if it is certain.
    """

    worst: Decimal | None
    count: int = 1
    kind: str = field(default="", repr=False)
    assumed: str = ""
    least: Decimal = _ZERO

    @classmethod
    def of(
        cls,
        request: GenerateRequest,
        worst: Decimal | None,
        count: int,
        *,
        least: Decimal = _ZERO,
        is_certain: bool = False,
    ) -> RequestCost:
        """Return the possible cost of this request; `is_certain` if the user has set the most that it may cost."""
        values = {**set_parameters(request), **(request.extra_body or {})}
        kind: dict[str, Any] = {name: value for name, value in values.items() if name not in _NO_COST}
        assumed = [f"{name} auto" for name in _ASSUMED if values.get(name, "auto") == "auto"]
        if isinstance(request, EditRequest):
            kind["images"] = [len(as_list(request.image)), request.mask is None, request.markup is None]
            assumed.insert(0, "images to edit")
        is_certain = is_certain or not (assumed or worst is None)
        text = "" if is_certain else f"{values.get('model')} with {', '.join(assumed) or 'an unknown price'}"
        return cls(worst, count, json.dumps(kind, sort_keys=True, default=str), text, least)


@define(eq=False)
class Reservation:
    """A request in flight."""

    cost: RequestCost


@safe_repr
class Budget:
    """A limit in US dollars (None: no limit), the amount spent, and the requests in flight.

    Raises ValueError for an amount that is negative or not a number.
    """

    def __init__(self, limit: Decimal | None, spent: Decimal = _ZERO) -> None:
        self.limit = None if limit is None else _check_amount(limit)
        self.spent = _check_amount(spent)
        self.is_unknown = False
        """Whether a request of unknown cost was billed: then nothing fits any more."""
        self._in_flight: set[Reservation] = set()
        self._costs = Counter[RequestCost]()  # in flight: many have the same cost, and there may be 50,000
        self._dearest: dict[str, Decimal] = {}  # US dollars for one image, by kind
        self._overruns: dict[str, Decimal] = {}  # by kind: billed per dollar of worst cost, if above 1

    @property
    def in_flight(self) -> int:
        """The number of requests that hold a reservation."""
        return len(self._in_flight)

    @property
    def reserved(self) -> Decimal | None:
        """The expected cost of the requests in flight; None if unknown."""
        return _sum([(self.expected(cost), count) for cost, count in self._costs.items()])

    def worst(self, cost: RequestCost) -> Decimal | None:
        """Return the most that a request may cost: its estimate, or more if this kind was billed more; or None."""
        return None if cost.worst is None else cost.worst * self._overruns.get(cost.kind, 1)

    def dearest(self, cost: RequestCost) -> Decimal | None:
        """Return the cost of the most expensive image of this kind so far."""
        return self._dearest.get(cost.kind)

    def expected(self, cost: RequestCost) -> Decimal | None:
        """Return the expected cost of a request: its worst cost if that is certain, or if no image has finished yet."""
        worst, dearest = self.worst(cost), self.dearest(cost)
        if dearest is None or not cost.assumed:
            return worst
        learned = MARGIN * dearest * cost.count
        return learned if worst is None else min(learned, worst)

    def reserve(self, cost: RequestCost) -> Reservation | None:
        """Reserve the cost of a request that starts now; None if it does not fit. Raises ValueError."""
        if cost.worst is not None:
            _check_amount(cost.worst)
        return self.hold(cost) if self._fits(cost) else None

    def hold(self, cost: RequestCost) -> Reservation:
        """Reserve the cost of a request that was sent already, whether it fits or not."""
        reservation = Reservation(cost)
        self._in_flight.add(reservation)
        self._costs[cost] += 1
        return reservation

    def settle(self, reservation: Reservation, cost: Decimal | None, images: int = 0) -> None:
        """Replace a reservation by the `cost` of `images` images (0: as many as requested); None means the worst cost.

        Raises ValueError if the request is not in flight, and for an invalid cost.
        """
        if cost is not None:
            _check_amount(cost)
        self.release(reservation)
        self._spend(reservation.cost, cost)
        if cost is not None:
            self.learn(reservation.cost, cost, images)

    def learn(self, of: RequestCost, cost: Decimal, images: int = 0) -> None:
        """Remember the cost of `images` images of this kind, without spending it."""
        each = cost / (images or of.count)
        self._dearest[of.kind] = max(each, self._dearest.get(of.kind, _ZERO))
        if of.worst and cost > of.worst:
            self._overruns[of.kind] = max(cost / of.worst, self._overruns.get(of.kind, _ZERO))

    def repeat(self, reservation: Reservation) -> bool:
        """Spend the worst cost of an attempt that may have been billed; the request stays in flight.

        Return False, and spend nothing, if another attempt does not fit.
        """
        if not self._fits(reservation.cost):
            return False
        self._spend(reservation.cost, None)
        return True

    def release(self, reservation: Reservation) -> None:
        """Free the reservation of a request that was not executed. Raises ValueError if it is not in flight."""
        if reservation not in self._in_flight:
            raise ValueError("this request is not in flight: settle or release it once")
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
        if cost.assumed and self.dearest(cost) is None:
            # Only the least is known yet: this request is the first.
            left = self.limit - self.spent - reserved
            return left > 0 and cost.least <= left
        return expected is not None and self.spent + reserved + expected <= self.limit

    def assumption(self, cost: RequestCost) -> str:
        """Say what is assumed of this request's cost, and how to make it certain; "" if it is certain."""
        if not cost.assumed:
            return ""
        worst, dearest = self.worst(cost), self.dearest(cost)
        most = "an unknown amount" if worst is None else f"${worst / cost.count:.4f}"
        found = (
            "no image of this kind has finished yet"
            if dearest is None
            else f"${MARGIN * dearest:.4f} is reserved for each, {MARGIN} times the most expensive so far"
        )
        advice = "set max_image_cost" if worst is None else "set size and quality, or max_image_cost,"
        return f"an image of {cost.assumed} may cost up to {most}; {found}; {advice} to make the cost certain"

    def __repr__(self) -> str:
        limit = "no limit" if self.limit is None else f"limit {self.limit}"
        return f"<Budget {self.spent} spent, {self.in_flight} in flight, {limit}>"


def _sum(amounts: list[tuple[Decimal | None, int]]) -> Decimal | None:
    known = [amount * count for amount, count in amounts if amount is not None]
    return sum(known, _ZERO) if len(known) == len(amounts) else None


def _check_amount(value: Decimal) -> Decimal:
    """Reject invalid amounts: NaN would make every comparison false."""
    if not value.is_finite() or value < 0:
        msg = f"an amount in US dollars is a finite number of 0 or more, not {value}"
        raise ValueError(msg)
    return value


class BudgetGate:
    """The gate in front of a budget: `reserve` before a request starts, then `settle` once."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._assumed: RequestCost | None = None
        self._freed = asyncio.Event()
        self._has_explained = self._is_waiting = False

    async def reserve(
        self, cost: RequestCost, on_wait: Callable[[], object] = lambda: None
    ) -> Reservation | None:
        """Return the reservation of a request when it fits; None if it does not fit and nothing is in flight.

        `on_wait` is called before each wait.
        """
        try:
            while (reservation := self.try_reserve(cost)) is None and self.budget.in_flight:
                self._is_waiting = True
                self._explain(cost)
                on_wait()
                self._freed.clear()
                await self._freed.wait()
        finally:
            self._is_waiting = False
        return reservation

    @property
    def wait_reason(self) -> str | None:
        """Why the next request waits, and until when; None if it does not wait."""
        if not self._is_waiting:
            return None
        number = self.budget.in_flight
        return (
            f"the budget allows only {number} in flight now: the next one waits until their costs are certain"
        )

    def try_reserve(self, cost: RequestCost) -> Reservation | None:
        """Return the reservation of a request; None if it does not fit now."""
        if cost.assumed:
            self._assumed = cost
        return self.budget.reserve(cost)

    @property
    def assumption(self) -> str:
        """The assumption of the last uncertain cost, and how to make it certain; "" if all were certain."""
        return "" if self._assumed is None else self.budget.assumption(self._assumed)

    def settle(
        self, reservation: Reservation | None, cost: Decimal | None, images: int = 0, *, ran: bool
    ) -> None:
        """Replace a reservation by the cost of `images` images, or free it if the request was not executed."""
        if reservation is None:
            return
        if ran:
            self.budget.settle(reservation, cost, images)
        else:
            self.budget.release(reservation)
        self._freed.set()

    def repeat(self, reservation: Reservation | None) -> bool:
        """Count an attempt that may have been billed, and return True, if the request may be sent again."""
        return reservation is None or self.budget.repeat(reservation)

    def _explain(self, cost: RequestCost) -> None:
        if not self._has_explained:
            self._has_explained = True
            assumption = self.budget.assumption(cost)
            _log.warning("%s%s", self.wait_reason, f"; {assumption}" if assumption else "")
