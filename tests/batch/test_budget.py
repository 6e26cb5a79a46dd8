"""A budget: what is reserved, spent and set free, and that no order of events exceeds it by more than one request."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from openai_images import EditRequest, GenerateRequest
from openai_images.batch.run.budget import MARGIN, Budget, RequestCost, Reservation

D = Decimal


def cost(worst: Decimal | None) -> RequestCost:
    """A request whose cost is certain."""
    return RequestCost(worst)


WORST = D("0.7")


def auto(worst: Decimal | None = WORST, count: int = 1, kind: str = "k") -> RequestCost:
    """A request whose worst cost is assumed."""
    return RequestCost(worst, count, kind, "a model, size auto")


def reserve(budget: Budget, *costs: RequestCost) -> list[Reservation]:
    """Reservations, all of which must fit."""
    reservations = [budget.reserve(each) for each in costs]
    assert None not in reservations
    return [each for each in reservations if each is not None]


def test_what_fits_is_reserved() -> None:
    """To the last cent, and no further; what does not fit changes nothing."""
    budget = Budget(D("1.00"), spent=D("0.40"))
    assert budget.reserve(cost(D("0.35")))
    assert not budget.reserve(cost(D("0.26")))
    assert (budget.spent, budget.reserved, budget.in_flight) == (D("0.40"), D("0.35"), 1)
    assert budget.reserve(cost(D("0.25")))
    assert not budget.reserve(cost(D("0.000001")))
    assert budget.reserve(cost(D(0)))


def test_the_cost_takes_the_place_of_its_estimate() -> None:
    """What was estimated too high is free again; an unknown cost counts as its estimate; what did not run is free."""
    budget = Budget(D(1))
    first, second, third = reserve(budget, *[cost(D("0.3"))] * 3)
    assert budget.reserve(cost(D("0.3"))) is None
    budget.settle(first, D("0.1"))
    assert not budget.reserve(cost(D("0.31")))
    budget.settle(second, None)
    budget.release(third)
    assert (budget.spent, budget.reserved) == (D("0.4"), 0)
    assert budget.reserve(cost(D("0.6")))


def test_a_cost_above_its_estimate_is_recorded() -> None:
    """Even above the limit; then nothing fits any more; with room, others of the kind count as much more."""
    budget = Budget(D(1))
    (reservation,) = reserve(budget, cost(D("0.9")))
    budget.settle(reservation, D("1.25"))
    assert (budget.spent, budget.reserved) == (D("1.25"), 0)
    assert not budget.reserve(cost(D("0.01")))
    assert not budget.reserve(cost(D(0)))
    budget = Budget(D(10))
    budget.settle(*reserve(budget, cost(D(1))), D(3))
    assert (budget.worst(cost(D(2))), budget.reserve(cost(D("2.4")))) == (6, None)


def test_the_first_of_a_kind_must_fit_with_its_least_cost() -> None:
    """What it will cost is not known; what it costs at least is."""
    first = RequestCost(WORST, 100, "k", "a model, size auto", least=D("0.60"))
    assert Budget(D("0.59")).reserve(first) is None
    assert Budget(D(1), spent=D("0.41")).reserve(first) is None
    assert Budget(D("0.60")).reserve(first)


def test_a_budget_that_was_spent_before() -> None:
    """A batch that goes on with a smaller budget starts nothing, whether its costs are certain or not."""
    for spent in (D(1), D(3)):
        assert Budget(D(1), spent=spent).reserve(cost(D("0.01"))) is None
        assert Budget(D(1), spent=spent).reserve(auto()) is None
        assert Budget(D(1), spent=spent).reserve(auto(None)) is None


def test_without_a_limit_everything_fits() -> None:
    """What is spent is counted all the same."""
    budget = Budget(None)
    first, *_ = reserve(budget, *[cost(D(10) ** 9)] * 3, cost(None), auto(None))
    budget.settle(first, D("0.01"))
    assert (budget.spent, budget.in_flight) == (D("0.01"), 4)


@pytest.mark.parametrize("amount", [D(-1), D("nan"), D("inf"), D("-inf")])
def test_what_is_no_amount_is_refused(amount: Decimal) -> None:
    """Everywhere, and nothing has changed then."""
    budget = Budget(D(5))
    (reservation,) = reserve(budget, cost(D(2)))
    for limit in (D(1), None):
        with pytest.raises(ValueError, match="an amount in US dollars is"):
            Budget(limit, spent=amount)
        with pytest.raises(ValueError, match="an amount in US dollars is"):
            Budget(limit).reserve(cost(amount))
    with pytest.raises(ValueError, match="an amount in US dollars is"):
        Budget(amount)
    with pytest.raises(ValueError, match="an amount in US dollars is"):
        budget.settle(reservation, amount)
    assert (budget.spent, budget.reserved) == (0, 2)


def test_a_reservation_is_freed_once() -> None:
    """A second time would let something start that does not fit."""
    budget = Budget(D(1))
    (reservation,) = reserve(budget, cost(D("0.5")))
    budget.release(reservation)
    for again in (lambda: budget.release(reservation), lambda: budget.settle(reservation, D("0.1"))):
        with pytest.raises(ValueError, match="settle or release it once"):
            again()
    assert (budget.spent, budget.reserved) == (0, 0)


def test_it_shows_its_amounts() -> None:
    """For a log line."""
    assert repr(Budget(D(5), D("1.5"))) == "<Budget 1.5 spent, 0 in flight, limit 5>"
    assert repr(Budget(None)) == "<Budget 0 spent, 0 in flight, no limit>"


def test_the_first_of_a_kind_finds_out_what_it_costs() -> None:
    """One at a time where its worst cost does not fit; then a quarter more than the dearest is reserved for each."""
    budget = Budget(D("0.5"))
    (probe,) = reserve(budget, auto())
    assert budget.reserve(auto()) is None
    budget.settle(probe, D("0.007"))
    assert budget.expected(auto()) == MARGIN * D("0.007")
    budget.settle(*reserve(budget, auto()), D("0.002"))
    assert budget.expected(auto(count=3)) == 3 * MARGIN * D("0.007")
    assert budget.expected(auto(kind="another")) == D("0.7")
    for _ in range(70):
        if reservation := budget.reserve(auto()):
            budget.settle(reservation, D("0.007"))
    assert D("0.5") - MARGIN * D("0.007") < budget.spent <= D("0.5")


def test_one_more_than_certainly_fit_is_in_flight() -> None:
    """Seven at $0.70 fit into $5, and an eighth may exceed it; a ninth would break the promise."""
    budget = Budget(D(5))
    budget.learn(auto(), D("0.007"))
    reserve(budget, *[auto()] * 8)
    assert budget.reserve(auto()) is None
    assert budget.reserved == 8 * MARGIN * D("0.007")


def test_a_worst_cost_that_nobody_knows() -> None:
    """One such request at a time, beside others that fit; where its cost stays unknown nothing is sent any more."""
    budget = Budget(D(1))
    (edit,) = reserve(budget, auto(None))
    assert budget.reserve(cost(D("0.1"))) is None
    budget.settle(edit, D("0.04"))
    (edit, _) = reserve(budget, auto(None), cost(D("0.1")))
    assert budget.reserve(auto(None)) is None
    budget.settle(edit, None)
    assert budget.is_unknown
    assert budget.reserve(cost(D("0.0001"))) is None


def test_fewer_images_than_requested_teach_their_own_price() -> None:
    """Of ten images one came: it cost all that was paid."""
    budget = Budget(D(5))
    budget.settle(*reserve(budget, auto(D(3), 10)), D("0.05"), 1)
    assert budget.expected(auto(D(3), 10)) == D("0.05") * 10 * MARGIN


@pytest.mark.parametrize(
    ("params", "assumed"),
    [
        ({}, "m with size auto, quality auto"),
        ({"size": "1024x1024"}, "m with quality auto"),
        ({"size": "auto", "quality": "low"}, "m with size auto"),
        ({"size": "1024x1024", "quality": "low"}, ""),
        ({"size": "1024x1024", "extra_body": {"quality": "low"}}, ""),
        ({"size": "1024x1024", "quality": "low", "extra_body": {"quality": "auto"}}, "m with quality auto"),
    ],
)
def test_what_is_assumed(params: dict[str, Any], assumed: str) -> None:
    """A size or quality that is not named; the message says how to make the cost certain."""
    of = RequestCost.of(GenerateRequest("a", model="m", **params), D("0.7"), 1)
    assert of.assumed == assumed
    told = Budget(D(1)).assumption(of)
    assert bool(assumed) == bool(told)
    assert not told or "may cost up to $0.7000" in told
    assert not told or "set size and quality" in told


def test_kinds() -> None:
    """A kind is what decides the price, without the prompt and the number of images."""

    def kind(request: GenerateRequest) -> str:
        return RequestCost.of(request, D(1), 1).kind

    first = GenerateRequest("a fox", model="m")
    assert kind(first) == kind(GenerateRequest("a heron", model="m", n=4, user="u"))
    others: list[dict[str, Any]] = [{"model": "o"}, {"size": "1024x1024"}, {"quality": "low"}, {"style": "x"}]
    kinds = {kind(GenerateRequest("a", **{"model": "m", **params})) for params in others}
    edits = [EditRequest("a", model="m", image=image) for image in ("a.png", ["a.png", "b.png"])]
    edits.append(EditRequest("a", model="m", image="a.png", mask="m.png"))
    assert len(kinds | {kind(first)} | set(map(kind, edits))) == 8
    assert RequestCost.of(edits[0], None, 1).assumed == "m with images to edit, size auto, quality auto"


amounts = st.decimals(min_value=0, max_value=3, places=3)
requests = st.one_of(
    st.builds(cost, amounts),
    st.builds(auto, st.one_of(st.none(), amounts), st.integers(1, 4), st.sampled_from("ab")),
)


@given(limit=amounts, before=amounts, concurrency=st.integers(1, 9), data=st.data())
def test_it_is_never_exceeded_by_more_than_one_request(
    limit: Decimal, before: Decimal, concurrency: int, data: st.DataObject
) -> None:
    """Whatever requests cost up to their worst, and in whatever order they end, fail or stay unknown.

    An unknown cost with a known worst is one that was the worst; where no worst is known, any amount was billed.
    """
    budget, bill = Budget(limit, before), before
    in_flight: list[Reservation] = []
    highest = D(0)  # of all requests that were in flight when the last one started
    known = True
    for _ in range(data.draw(st.integers(0, 30))):
        request = data.draw(requests)
        reservation = budget.reserve(request) if len(in_flight) < concurrency else None
        if reservation is not None:
            assert known
            in_flight.append(reservation)
            known_worst = [each.cost.worst for each in in_flight if each.cost.worst is not None]
            unknown = len(in_flight) - len(known_worst)
            assert unknown <= 1
            assert bill + sum(known_worst) - (0 if unknown else max(known_worst)) <= limit
            if not any(each.cost.assumed for each in in_flight):
                assert bill + sum(known_worst) <= limit
            highest = max(known_worst, default=D(0))
        elif in_flight:
            ended = in_flight.pop(data.draw(st.integers(0, len(in_flight) - 1)))
            worst, ends = ended.cost.worst, data.draw(st.sampled_from(["done", "done", "unknown", "refused"]))
            if ends == "refused":
                budget.release(ended)
                continue
            paid = (
                data.draw(amounts) if worst is None else worst * data.draw(st.sampled_from([0, 1, D("0.1")]))
            )
            bill += paid
            highest = max(highest, paid) if worst is None else highest
            budget.settle(ended, paid if ends == "done" else None)
            known = known and (ends == "done" or worst is not None)
        assert not known or budget.spent >= bill
    assert bill <= max(limit, before) + highest
    assert budget.in_flight == len(in_flight)


@given(limit=amounts, costs=st.lists(st.tuples(amounts, amounts), max_size=20))
def test_estimates_that_hold_keep_the_limit(limit: Decimal, costs: list[tuple[Decimal, Decimal]]) -> None:
    """Where sizes and qualities are named and no cost is above its estimate, nothing is spent above the limit."""
    budget = Budget(limit)
    fitted = [
        (reservation, min(worst, paid))
        for worst, paid in costs
        if (reservation := budget.reserve(cost(worst))) is not None
    ]
    for reservation, paid in fitted:
        budget.settle(reservation, paid)
        assert budget.spent + (budget.reserved or 0) <= limit
    assert budget.spent == sum(paid for _, paid in fitted)
