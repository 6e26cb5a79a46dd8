"""What rows add up to: states, money, and what a run does about them."""

import itertools
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from openai_images import BatchFolderError, BatchOptions, BatchPlan, GenerateRequest
from openai_images.batch.items.plan import FolderFindings, make_plan, reject_changed_items
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import encode_row
from openai_images.batch.journal.journal_reader import JournalContents, JournalRow, parse_journal
from openai_images.batch.journal.ledger import Ledger

FILE = {"name": "images/a.png", "nbytes": 1, "sha256": "00"}


def row(state: str, key: str = "a", **more: Any) -> JournalRow:
    """A row; what is sent may cost 5."""
    fields: dict[str, Any] = {"state": state, "key": key, "request": "r", **more}
    if state == "sent":
        fields = {"estimate": "5", "stem": key, **fields}
    if state == "done":
        fields = {"files": [FILE], **fields}
    return fields


def ledger_of(*rows: JournalRow | bytes, estimates: dict[str, Decimal | None] | None = None) -> Ledger:
    """What a journal of these rows, or lines, adds up to."""
    lines = (line if isinstance(line, bytes) else encode_row(line) for line in rows)
    return Ledger.from_journal(parse_journal(b"".join(lines)), estimates or {})


SENT, REFUSED = row("sent"), row("refused")
DONE, FAILED, UNKNOWN = row("done", cost="2"), row("failed"), row("unknown")
ADOPTED = row("done", adopted=True)


@pytest.mark.parametrize(
    ("rows", "state", "known", "estimated", "unpriced"),
    [
        ([], "pending", None, 0, 0),
        ([SENT], "unknown", None, 5, 1),
        ([SENT, REFUSED], "pending", None, 0, 0),
        ([SENT, DONE], "done", 2, 0, 0),
        ([SENT, row("done", cost=None)], "done", None, 5, 1),
        ([SENT, FAILED], "failed", None, 0, 0),
        ([SENT, row("failed", billed=True, cost="1.5")], "failed", Decimal("1.5"), 0, 0),
        ([SENT, row("failed", billed=True, cost=None)], "failed", None, 5, 1),
        ([SENT, UNKNOWN], "unknown", None, 5, 1),
        ([SENT, REFUSED, SENT, DONE], "done", 2, 0, 0),
        ([SENT, SENT, DONE], "done", 2, 5, 1),
        ([SENT, ADOPTED], "done", None, 5, 1),
        ([SENT, UNKNOWN, ADOPTED], "done", None, 5, 1),
        ([SENT, UNKNOWN, SENT, DONE], "done", 2, 5, 1),
        ([SENT, UNKNOWN, SENT, REFUSED], "unknown", None, 5, 1),
        ([SENT, UNKNOWN, SENT], "unknown", None, 10, 2),
        ([SENT, FAILED, SENT, REFUSED], "failed", None, 0, 0),
        ([SENT, FAILED, SENT, DONE], "done", 2, 0, 0),
        ([SENT, DONE, SENT, REFUSED], "done", 2, 0, 0),
        ([SENT, DONE, SENT, DONE], "done", 4, 0, 0),
        ([SENT, DONE, row("done", moved=True)], "done", 2, 0, 0),
        ([row("done", same_as="b")], "done", None, 0, 0),
        ([DONE], "done", 2, 0, 0),
        ([REFUSED], "pending", None, 0, 0),
    ],
)
def test_states_and_money(
    rows: Sequence[JournalRow], state: str, known: int | Decimal | None, estimated: int, unpriced: int
) -> None:
    """Each order of rows gives a state, what was paid, and what may have been."""
    ledger = ledger_of(*rows)
    spending = ledger.spending
    assert (ledger.get("a").state, spending.known) == (state, None if known is None else Decimal(known))
    assert (spending.estimated, spending.unpriced, spending.unpriceable) == (estimated, unpriced, 0)
    assert spending.upper_bound == (known or 0) + estimated


def test_times_do_not_matter() -> None:
    """Rows count in their order, whatever their times say."""
    ledger = ledger_of(
        row("sent", at="2027"), row("failed", at="2026"), row("sent", at="2025"), row("done", at="2024")
    )
    assert ledger.get("a").state == "done"


def test_lines_that_cannot_be_read() -> None:
    """A broken line about an item counts as one that says it was sent, unless a later row says otherwise."""
    broken = b'{"state":"??","key":"a","x\n'
    assert ledger_of(broken).get("a").state == "unknown"
    assert ledger_of(SENT, FAILED, broken).get("a").state == "unknown"
    assert ledger_of(broken, SENT, DONE).get("a").state == "done"
    assert ledger_of(SENT, DONE, broken).get("a").state == "done"
    assert ledger_of(b'{"state":"sent","key":"\\ud8","x\n').records == {}
    assert ledger_of(broken).spending.unpriceable == 1
    assert ledger_of(broken, estimates={"a": Decimal(3)}).spending.upper_bound == 3


@pytest.mark.parametrize("estimate", [None, "NaN", "much", 5])
def test_no_estimate(estimate: object) -> None:
    """A row without an estimate has today's, as far as there is one."""
    sent = row("sent", estimate=estimate)
    assert ledger_of(sent).spending.unpriceable == 1
    assert ledger_of(sent, estimates={"a": Decimal(3)}).spending.upper_bound == 3


# The plan.


def asked(*keys: str, digests: str = "r") -> list[ResolvedItem]:
    """Items; `digests` has one letter for each, or one for all."""
    letters = itertools.chain(digests, itertools.repeat(digests[-1]))
    return [
        ResolvedItem(index, key, GenerateRequest("an otter"), digest)
        for index, (key, digest) in enumerate(zip(keys, letters, strict=False))
    ]


JOURNAL = [
    *(row("sent", "done"), row("done", "done")),
    *(row("sent", "failed"), row("failed", "failed")),
    *(row("sent", "unknown"),),
    *(row("sent", "refused"), row("refused", "refused")),
    *(row("sent", "gone"), row("done", "gone")),
    *(row("sent", "old"), row("done", "old")),
]
KEYS = ("done", "failed", "unknown", "refused", "gone", "new")


def plan_of(found: FolderFindings | None = None, **options: Any) -> BatchPlan:
    """The plan for all of them."""
    found = found or FolderFindings(missing={"gone"}, notes=["a note"])
    return make_plan(asked(*KEYS), ledger_of(*JOURNAL), found, BatchOptions(**options))


def test_a_plan() -> None:
    """Every item is somewhere, once; only what never ran is sent."""
    plan = plan_of()
    assert (plan.done, plan.failed, plan.unknown, plan.missing) == (
        ("done",),
        ("failed",),
        ("unknown",),
        ("gone",),
    )
    assert plan.pending == plan.to_send == ("refused", "new")
    assert (plan.total, plan.removed, plan.notes) == (6, ("old",), ("a note",))
    assert plan.total == sum(map(len, (plan.done, plan.failed, plan.unknown, plan.missing, plan.pending)))


@pytest.mark.parametrize(
    ("option", "key"), [("retry_failed", "failed"), ("retry_unknown", "unknown"), ("retry_missing", "gone")]
)
def test_what_is_sent_by_choice(option: str, key: str) -> None:
    """Each option adds one kind of item to what is sent, in the order of the input."""
    assert plan_of(**{option: True}).to_send == tuple(
        name for name in KEYS if name in ("refused", "new", key)
    )


def test_changes() -> None:
    """What was paid, or may have been, stops the run; what failed or was refused is new; an unreadable one is not."""
    ledger = ledger_of(*JOURNAL, b'{"state":"sent","key":"torn","request"\n')
    reject_changed_items(asked("done", "unknown", "gone", "torn", "new"), ledger)
    reject_changed_items(asked("failed", "refused", "new", "torn", digests="x"), ledger)
    for key in ("done", "unknown", "gone"):
        with pytest.raises(BatchFolderError, match=f"1 item is changed.* '{key}'; nothing"):
            reject_changed_items(asked("failed", key, digests="x"), ledger)
    plan = make_plan(asked("failed", digests="x"), ledger, FolderFindings(), BatchOptions())
    assert (plan.changed, plan.to_send) == (("failed",), ("failed",))


@pytest.mark.parametrize(
    ("rows", "options", "same", "to_send"),
    [
        ([], {}, {"b": "a", "c": "a"}, "a"),
        ([row("sent", "b"), row("done", "b")], {}, {"a": "b", "c": "b"}, ""),
        ([row("sent", "b"), row("failed", "b")], {}, {"a": "b", "c": "b"}, ""),
        ([row("sent", "b")], {}, {"a": "b", "c": "b"}, ""),
        ([row("sent", "b")], {"retry_unknown": True}, {"a": "b", "c": "b"}, "b"),
        (
            [row("sent", "c"), row("failed", "c"), row("sent", "b")],
            {"retry_failed": True},
            {"a": "c"},
            "c",
        ),
        ([row("sent", "b"), row("refused", "b")], {}, {"b": "a", "c": "a"}, "a"),
    ],
)
def test_dedupe(
    rows: Sequence[JournalRow], options: dict[str, bool], same: dict[str, str], to_send: str
) -> None:
    """Of identical requests one at most is sent, and none where one is done, failed or unknown, unless asked for."""
    plan = make_plan(
        asked("a", "b", "c"), ledger_of(*rows), FolderFindings(), BatchOptions(dedupe=True, **options)
    )
    assert ("".join(plan.to_send), plan.same) == (to_send, same)
    assert plan.total == sum(map(len, (plan.done, plan.failed, plan.unknown, plan.missing, plan.pending)))


def test_many_identical_requests() -> None:
    """To find who represents them takes each a few comparisons, however many there are."""
    comparisons = 0

    class Key(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal comparisons
            comparisons += 1
            return str.__eq__(self, other)

    keys = [Key(number) for number in range(500)]
    plan = make_plan(asked(*keys), ledger_of(), FolderFindings(), BatchOptions(dedupe=True))
    assert (plan.to_send, len(plan.same)) == (("0",), 499)
    assert comparisons < 10 * len(keys)


BATCH: dict[str, Any] = {"state": "provider_batch", "key": None, "tag": "t", "since": 1_700_000_000}


def submitted(*rows: dict[str, Any]) -> Ledger:
    """The ledger of two items that went into a batch at the provider, and of these rows."""
    first: list[dict[str, Any]] = [
        {**BATCH, "step": "creating"},
        {"state": "sent", "key": "a", "batch": "t", "estimate": "0.5", "stem": "a"},
        {"state": "sent", "key": "b", "batch": "t", "estimate": "0.25", "stem": "b"},
    ]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in (*first, *rows))
    contents = parse_journal(data)
    assert not contents.notes
    return Ledger.from_journal(contents, {})


def test_what_is_at_the_provider_is_not_unknown() -> None:
    """While its batch has no end; it is reserved, and not spent."""
    ledger = submitted({**BATCH, "step": "created", "id": "batch_1"})
    assert [ledger.get(key).state for key in "ab"] == ["submitted", "submitted"]
    assert (ledger.submitted_estimate, ledger.spending.upper_bound) == (Decimal("0.75"), 0)
    assert (ledger.batches["t"].id, list(ledger.batches["t"].keys)) == ("batch_1", ["a", "b"])


def test_items_of_a_batch_end_one_by_one() -> None:
    """With their costs; what did not run stands where it stood."""
    done: dict[str, Any] = {"state": "done", "key": "a", "cost": "0.2", "files": []}
    ledger = submitted(done, {"state": "refused", "key": "b"})
    assert [ledger.get(key).state for key in "ab"] == ["done", "pending"]
    assert (ledger.submitted_estimate, ledger.spending.known) == (0, Decimal("0.2"))
    assert list(ledger.batches["t"].keys) == []


def test_a_batch_that_ended_without_an_answer() -> None:
    """Its items are unknown, and may have cost their estimate: rows were lost."""
    ledger = submitted({**BATCH, "step": "ended", "status": "completed"})
    assert [ledger.get(key).state for key in "ab"] == ["unknown", "unknown"]
    assert (ledger.batches, ledger.spending.upper_bound) == ({}, Decimal("0.75"))


def test_a_batch_whose_first_row_is_lost() -> None:
    """Is known by the rows of its items: it can be found by its tag."""
    (sent,) = parse_journal(b'{"state":"sent","key":"a","batch":"t"}\n').rows
    ledger = Ledger.from_journal(JournalContents([sent]), {})
    assert ledger.get("a").state == "submitted"
    assert (ledger.batches["t"].since, list(ledger.batches["t"].keys)) == (0, ["a"])
    ledger.add({**BATCH, "step": "created", "id": "batch_1"})
    assert (ledger.batches["t"].since, ledger.batches["t"].id) == (BATCH["since"], "batch_1")


@pytest.mark.parametrize(
    "change",
    [
        {"tag": 1},
        {"step": "new"},
        {"step": ["created"]},
        {"since": -1},
        {"since": "x"},
        {"key": "a"},
        {"id": 5},
        {"input_file_id": 5},
    ],
)
def test_odd_rows_of_batches(change: dict[str, Any]) -> None:
    """They are none, and are reported."""
    odd = {**BATCH, "step": "created", "id": "batch_1", **change}
    contents = parse_journal(json.dumps(odd).encode() + b"\n")
    assert contents.rows == []
    assert len(contents.notes) == 1
