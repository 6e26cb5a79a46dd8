"""Numbers, plans and endings of a batch in words."""

from decimal import Decimal
from typing import Any

import pytest

from openai_images import PUBLISHED_PRICES, BatchItem, BatchPlan, BatchSummary, GenerateRequest
from openai_images.cli.batch_plan import estimate_items, plan_lines
from openai_images.cli.batch_report import RunSummary
from openai_images.cli.console import dollars, duration, join_limited, plural, truncate


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (192.0, "3 min 12 s"),
        (3600.0, "1 h"),
        (7500.0, "2 h 5 min"),
        (86_370.0, "1 d"),
        (100_000.0, "1 d 4 h"),
        (-1.0, "0 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """The two largest units; never 60 of one."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "spent", "may_cost"),
    [
        ("0", "$0.00", "$0.00"),
        ("0.00001", "under $0.0001", "under $0.0001"),
        ("0.04121", "$0.0412", "$0.0413"),
        ("0.5", "$0.50", "$0.50"),
        ("0.99999", "$1.00", "$1.00"),
        ("1.001", "$1.00", "$1.01"),
        ("12345.678", "$12,345.68", "$12,345.68"),
    ],
)
def test_dollars(amount: str, spent: str, may_cost: str) -> None:
    """Enough digits for what an image costs; an upper bound is rounded up."""
    assert (dollars(Decimal(amount)), dollars(Decimal(amount), "ROUND_UP")) == (spent, may_cost)


def test_names_and_counts() -> None:
    """As a sentence has them."""
    assert (plural(1, "request"), plural(1200, "request")) == ("1 request", "1,200 requests")
    assert join_limited(["a", "b", "c"], 3) == "a, b, c"
    assert join_limited(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert truncate("one\n two", 20) == "one two"
    assert truncate("0123456789", 5) == "0123…"


def keys(number: int) -> tuple[str, ...]:
    """So many of them."""
    return tuple(f"{index:05}" for index in range(number))


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (BatchPlan(total=1000, pending=keys(1000), to_send=keys(1000)), ["1,000 requests to do"]),
        (
            BatchPlan(
                total=1000,
                done=keys(740),
                failed=("f",) * 12,
                unknown=("u",) * 3,
                pending=("p",) * 245,
                to_send=("p",) * 245,
            ),
            [
                (
                    "resuming: 740 done, 12 failed (--retry-failed sends them again), "
                    "3 unknown (may have been billed; --retry-unknown sends them again), 245 to do"
                )
            ],
        ),
        (
            BatchPlan(total=3, done=("a",), failed=("f",), unknown=("u",), to_send=("f",)),
            [
                (
                    "resuming: 1 done, 1 failed (sent again now), "
                    "1 unknown (may have been billed; --retry-unknown sends them again)"
                )
            ],
        ),
        (BatchPlan(total=2, done=("a", "b")), ["resuming: 2 done, nothing to do"]),
        (
            BatchPlan(
                total=3,
                done=("a", "b"),
                pending=("c",),
                to_send=("c",),
                adopted=("a",),
                altered=("b",),
                changed=("c",),
                removed=keys(7),
                same={"b": "a"},
                notes=("the last line was torn",),
            ),
            [
                "resuming: 2 done, 1 to do",
                "1 request shares the images of an identical one",
                "note: failed before, and the request is different now: c",
                "note: the image existed without a row in the journal; the row was added: a",
                "note: the image was changed after it was written; it is left unchanged: b",
                "note: in the journal, but no longer in the input: 00000, 00001, 00002, 00003, 00004 and 2 more",
                "note: the last line was torn",
            ],
        ),
    ],
)
def test_plans(plan: BatchPlan, said: list[str]) -> None:
    """What was done, what will be done, and what was noticed."""
    assert plan_lines(plan) == said


def run_summary(**known: Any) -> RunSummary:
    """A run summary of this; names that begin with `of_` are its own."""
    own = {name[3:]: known.pop(name) for name in list(known) if name.startswith("of_")}
    return RunSummary(summary=BatchSummary(**known), out="out", **own)


def test_an_end_that_is_good() -> None:
    """Three lines, and nothing to be done."""
    good = run_summary(
        total=9,
        done=9,
        elapsed=843.0,
        spent=Decimal(5),
        of_spent_before=Decimal(3),
        of_images_per_minute=70.3,
    )
    assert good.lines == [
        "9 of 9 requests done",
        "in 14 min 3 s, 70 images/min, $2.00 spent, $5.00 in all runs",
        "contact sheet: out/index.html",
    ]
    assert (good.warning, good.exit_code) == ("", 0)


def test_the_cost_of_a_run_is_what_the_journal_gained() -> None:
    """An image that was complete only after the run was abandoned is in it; what earlier runs cost is not."""
    first = run_summary(total=9, done=2, spent=Decimal(5))
    assert first.lines[1] == "in 0 s, $5.00 spent"
    later = run_summary(total=9, done=2, spent=Decimal(5), of_spent_before=Decimal(5))
    assert later.lines[1] == "in 0 s, $5.00 in all runs"


def test_an_end_that_is_not() -> None:
    """Each count with what can be done about it."""
    bad = run_summary(
        total=20, done=5, failed=4, blocked=3, unknown=2, missing=1, not_started=8, reason="stopped"
    )
    assert bad.lines == [
        "5 of 20 requests done, 4 failed (3 blocked by moderation), 2 unknown, 1 missing, 8 not started",
        "in 0 s",
        "run the same command again to send the remaining requests",
        "--retry-failed sends failed requests again; the reasons are in out/index.html",
        "--retry-missing sends requests again whose images are gone",
        "contact sheet: out/index.html",
    ]
    assert bad.exit_code == 1
    blocked = run_summary(total=2, done=1, failed=1, blocked=1)
    assert (
        blocked.lines[2]
        == "requests that moderation blocked need another prompt; the reasons are in out/index.html"
    )


def test_unknown_keys_are_capped() -> None:
    """With where to find the rest."""
    many = run_summary(total=30, unknown=30, of_unknown=keys(30))
    assert many.warning.startswith(
        f"unknown: {', '.join(keys(20))} and 10 more, see out/index.html: they were sent"
    )
    assert run_summary(total=1, unknown=1).warning.startswith(
        "unknown: 1 more, see out/index.html: it was sent"
    )
    assert many.record["summary"]["unknown_keys"] == list(keys(30))


def items(*requests: GenerateRequest) -> list[BatchItem]:
    """As a file would have them."""
    return [BatchItem(str(number), request) for number, request in enumerate(requests)]


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ((GenerateRequest("x"),), "unknown (no price is known for a model that is not named)"),
        ((GenerateRequest("x", model="m"),), "unknown (no price is known for 'm')"),
        (
            (GenerateRequest("x", model="gpt-image-2", output_format="gif"),),
            "unknown (no price is known for all parameters of a request to 'gpt-image-2')",
        ),
    ],
)
def test_estimates_that_are_unknown(requests: tuple[GenerateRequest, ...], said: str) -> None:
    """Why, and never as nothing."""
    assert str(estimate_items(items(*requests), PUBLISHED_PRICES)) == said


def test_estimates() -> None:
    """At most so much, for as many as have a price."""
    priced = GenerateRequest("x", model="gpt-image-2", size="1024x1024", quality="low")
    whole = estimate_items(items(priced, priced), PUBLISHED_PRICES)
    assert str(whole).startswith("at most $0.0")
    assert str(whole).endswith(f" (prices of {PUBLISHED_PRICES.as_of})")
    auto = GenerateRequest("x", model="gpt-image-2", size="1024x1024", quality="auto")
    assert "; auto counts as its most expensive size and quality)" in str(
        estimate_items(items(auto), PUBLISHED_PRICES)
    )
    part = estimate_items(items(priced, GenerateRequest("x", model="m")), PUBLISHED_PRICES, "p.json")
    assert str(part).endswith(
        " (prices in p.json; auto counts as its most expensive size and quality) for 1 of 2 requests, "
        "unknown for the rest (no price is known for 'm')"
    )
