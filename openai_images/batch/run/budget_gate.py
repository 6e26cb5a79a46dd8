"""The wait of requests for the budget: each holds a reservation until its cost is known.

Invariants: a request waits as long as one in flight may cost less than its reservation; the reason of the wait is
logged once.
"""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal

from openai_images.batch.run.budget import Budget, RequestCost, Reservation

_log = logging.getLogger("openai_images")


class BudgetGate:
    """The gate in front of a budget: `reserve` before a request starts, then `settle` once."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._assumed: RequestCost | None = None
        self._freed = asyncio.Event()
        self._has_explained = False

    async def reserve(self, cost: RequestCost) -> Reservation | None:
        """Return the reservation of a request when it fits; None if it does not fit and nothing is in flight."""
        while (reservation := self.try_reserve(cost)) is None and self.budget.in_flight:
            self._explain(cost)
            self._freed.clear()
            await self._freed.wait()
        return reservation

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

    def repeat(self, reservation: Reservation | None) -> None:
        """Count an attempt that may have been billed; the request is sent again."""
        if reservation is not None:
            self.budget.repeat(reservation)

    def _explain(self, cost: RequestCost) -> None:
        assumption = self.budget.assumption(cost)
        if assumption and not self._has_explained:
            self._has_explained = True
            number = self.budget.in_flight
            _log.warning("the budget allows only %d in flight now: %s", number, assumption)
