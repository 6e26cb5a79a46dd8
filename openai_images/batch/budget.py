"""How much a batch may still spend: an estimate is set aside before a request is sent, and gives way to its cost.

Rules: pure, synchronous, Decimal throughout, in US dollars; nothing is set aside that would take what is spent and
set aside together over the limit; a cost that is higher than its estimate is recorded as it is, a cost nobody knows
counts as its estimate. It refuses to forget: what is set aside stays so until it is settled or released.
"""

from __future__ import annotations

from decimal import Decimal

from openai_images._util.attrs import safe_repr

__all__ = ["Budget"]

_NOTHING = Decimal(0)


@safe_repr
class Budget:
    """A limit in US dollars (None: no limit), what of it is spent, and what is set aside for requests under way."""

    def __init__(self, limit: Decimal | None, spent: Decimal = _NOTHING) -> None:
        """Start with what was spent before. Raises ValueError for an amount that is negative or no number."""
        self.limit = None if limit is None else _amount(limit)
        self.spent = _amount(spent)
        self.reserved = _NOTHING

    @property
    def left(self) -> Decimal | None:
        """What can still be set aside, never below 0; None without a limit."""
        return None if self.limit is None else max(self.limit - self.spent - self.reserved, _NOTHING)

    def reserve(self, estimate: Decimal) -> bool:
        """Set an estimate aside, or set nothing aside and say False where it does not fit. Raises ValueError."""
        if self.limit is not None and self.spent + self.reserved + _amount(estimate) > self.limit:
            return False
        self.reserved += _amount(estimate)
        return True

    def settle(self, estimate: Decimal, cost: Decimal | None) -> None:
        """Spend the cost in place of what was set aside for it, the estimate where the cost is not known.

        Raises ValueError where less than the estimate is set aside, and for a cost that is no amount.
        """
        spent = _amount(estimate if cost is None else cost)
        self.release(estimate)
        self.spent += spent

    def release(self, estimate: Decimal) -> None:
        """Set an estimate free: its request did not run. Raises ValueError where less than that is set aside."""
        if _amount(estimate) > self.reserved:
            msg = f"only {self.reserved} is set aside, not {estimate}: each estimate is settled or released once"
            raise ValueError(msg)
        self.reserved -= estimate

    def __repr__(self) -> str:
        """The three amounts."""
        limit = "no limit" if self.limit is None else f"limit {self.limit}"
        return f"<Budget {self.spent} spent, {self.reserved} set aside, {limit}>"


def _amount(value: Decimal) -> Decimal:
    """Refuse what is no amount of money: NaN would make every comparison fail, quietly."""
    if not value.is_finite() or value < 0:
        msg = f"an amount in US dollars is a finite number of 0 or more, not {value}"
        raise ValueError(msg)
    return value
