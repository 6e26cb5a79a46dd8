"""A budget: what is set aside, spent and set free."""

from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from openai_images.batch.ledger import Budget

D = Decimal


def test_what_fits_is_set_aside() -> None:
    """To the last cent, and no further; what does not fit changes nothing."""
    budget = Budget(D("1.00"), spent=D("0.40"))
    assert budget.available == D("0.60")
    assert budget.reserve(D("0.35"))
    assert not budget.reserve(D("0.26"))
    assert (budget.spent, budget.reserved, budget.available) == (D("0.40"), D("0.35"), D("0.25"))
    assert budget.reserve(D("0.25"))
    assert budget.available == 0
    assert not budget.reserve(D("0.000001"))
    assert budget.reserve(D(0))


def test_the_cost_takes_the_place_of_its_estimate() -> None:
    """What was estimated too high is free again; an unknown cost counts as its estimate; what did not run is free."""
    budget = Budget(D(1))
    assert [budget.reserve(D("0.3")) for _ in range(4)] == [True, True, True, False]
    budget.settle(D("0.3"), D("0.1"))
    assert not budget.reserve(D("0.31"))
    budget.settle(D("0.3"), None)
    budget.release(D("0.3"))
    assert (budget.spent, budget.reserved, budget.available) == (D("0.4"), 0, D("0.6"))
    assert budget.reserve(D("0.6"))


def test_a_cost_above_its_estimate_is_recorded() -> None:
    """Even above the limit; then nothing fits any more, and nothing that is left is negative."""
    budget = Budget(D(1))
    assert budget.reserve(D("0.9"))
    budget.settle(D("0.9"), D("1.25"))
    assert (budget.spent, budget.reserved, budget.available) == (D("1.25"), 0, 0)
    assert not budget.reserve(D("0.01"))
    assert not budget.reserve(D(0))


def test_a_budget_that_was_spent_before() -> None:
    """A batch that goes on with a smaller budget starts nothing."""
    budget = Budget(D(1), spent=D(3))
    assert (budget.available, budget.reserve(D("0.01"))) == (0, False)


def test_without_a_limit_everything_fits() -> None:
    """What is spent is counted all the same."""
    budget = Budget(None)
    assert budget.available is None
    assert all(budget.reserve(D(10) ** 9) for _ in range(3))
    budget.settle(D(10) ** 9, D("0.01"))
    assert (budget.spent, budget.reserved) == (D("0.01"), 2 * D(10) ** 9)


@pytest.mark.parametrize("amount", [D(-1), D("nan"), D("inf"), D("-inf")])
def test_what_is_no_amount_is_refused(amount: Decimal) -> None:
    """Everywhere, and nothing has changed then."""
    budget = Budget(D(5))
    assert budget.reserve(D(2))
    for limit in (D(1), None):
        with pytest.raises(ValueError, match="an amount in US dollars is"):
            Budget(limit, spent=amount)
        with pytest.raises(ValueError, match="an amount in US dollars is"):
            Budget(limit).reserve(amount)
    with pytest.raises(ValueError, match="an amount in US dollars is"):
        Budget(amount)
    with pytest.raises(ValueError, match="an amount in US dollars is"):
        budget.release(amount)
    with pytest.raises(ValueError, match="an amount in US dollars is"):
        budget.settle(D(2), amount)
    assert (budget.spent, budget.reserved) == (0, 2)


def test_an_estimate_is_set_free_once() -> None:
    """A second time would let something start that does not fit."""
    budget = Budget(D(1))
    assert budget.reserve(D("0.5"))
    budget.release(D("0.5"))
    for again in (lambda: budget.release(D("0.5")), lambda: budget.settle(D("0.5"), D("0.1"))):
        with pytest.raises(ValueError, match=r"only 0\.0 is set aside, not 0\.5"):
            again()
    assert (budget.spent, budget.reserved) == (0, 0)


def test_it_shows_its_amounts() -> None:
    """For a log line."""
    assert repr(Budget(D(5), D("1.5"))) == "<Budget 1.5 spent, 0 set aside, limit 5>"
    assert repr(Budget(None)) == "<Budget 0 spent, 0 set aside, no limit>"


amounts = st.decimals(min_value=0, max_value=3, places=6)


@given(
    limit=amounts,
    before=amounts,
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("reserve"), amounts),
            st.tuples(st.just("settle"), st.one_of(st.none(), amounts)),
            st.tuples(st.just("release"), st.none()),
        ),
        max_size=40,
    ),
    data=st.data(),
)
def test_no_order_of_steps_sets_too_much_aside(
    limit: Decimal, before: Decimal, steps: list[tuple[str, Decimal | None]], data: st.DataObject
) -> None:
    """After each estimate that fitted all is within the limit; the books agree with a list of what happened."""
    budget = Budget(limit, before)
    under_way: list[Decimal] = []
    costs = [before]
    for step, amount in steps:
        if step == "reserve":
            assert amount is not None
            fitted = budget.reserve(amount)
            assert fitted == (sum(costs) + sum(under_way) + amount <= limit)
            under_way += [amount] if fitted else []
            assert not fitted or budget.spent + budget.reserved <= limit
        elif under_way:
            estimate = under_way.pop(data.draw(st.integers(0, len(under_way) - 1)))
            if step == "settle":
                budget.settle(estimate, amount)
                costs.append(estimate if amount is None else amount)
            else:
                budget.release(estimate)
        assert (budget.spent, budget.reserved) == (sum(costs), sum(under_way))
        assert budget.available == max(limit - sum(costs) - sum(under_way), D(0))


@given(limit=amounts, estimates=st.lists(st.tuples(amounts, amounts), max_size=20))
def test_estimates_that_hold_keep_the_limit(limit: Decimal, estimates: list[tuple[Decimal, Decimal]]) -> None:
    """Where no cost is above its estimate, nothing is ever spent above the limit."""
    budget = Budget(limit)
    fitted = [(estimate, min(estimate, cost)) for estimate, cost in estimates if budget.reserve(estimate)]
    for estimate, cost in fitted:
        budget.settle(estimate, cost)
        assert budget.spent + budget.reserved <= limit
    assert budget.spent == sum(cost for _, cost in fitted)
