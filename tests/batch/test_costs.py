"""`read_batch_costs`: what a batch's journal says of the costs of all its runs."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openai_images import BatchFolderError, ModelCosts, read_batch_costs
from openai_images.batch.journal.journal_reader import parse_journal
from openai_images.batch.journal.ledger import Ledger

BEGUN = {"state": "begun", "key": None, "format": 1}
USAGE = {"input_tokens": 5, "output_tokens": 200, "total_tokens": 205}


def sent(key: str, model: str | None = "gpt-image-2", estimate: str | None = "0.02") -> dict[str, Any]:
    """The row of a request whose first byte is next."""
    return {"state": "sent", "key": key, "stem": key, "pictures": 1, "model": model, "estimate": estimate}


def done(key: str, cost: str | None = "0.01", **more: Any) -> dict[str, Any]:
    """The row of an image that came."""
    file = {"name": f"images/{key}.png", "nbytes": 3, "sha256": "x"}
    return {"state": "done", "key": key, "cost": cost, "usage": USAGE, "files": [file], **more}


def batch(folder: Path, *rows: dict[str, Any] | bytes) -> Path:
    """A folder with this journal."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in (BEGUN, *rows)]
    folder.mkdir(exist_ok=True)
    (folder / "journal.jsonl").write_bytes(b"".join(lines))
    return folder


def test_costs_tokens_and_images_are_summed_by_model(tmp_path: Path) -> None:
    """Each response for the model that was asked; what shares another one's images adds none."""
    svg = {"input_tokens": 1, "output_tokens": 50}
    folder = batch(
        tmp_path,
        *(sent("a"), sent("b", "gpt-image-1.5"), done("b", "0.5"), done("a"), sent("c")),
        done("c", "0.02", svg_usage=svg),
        done("d", None, usage=None, same_as="a"),
    )
    assert read_batch_costs(folder).models == (
        ModelCosts(model="gpt-image-2", images=2, input_tokens=11, output_tokens=450, cost=Decimal("0.03")),
        ModelCosts(model="gpt-image-1.5", images=1, input_tokens=5, output_tokens=200, cost=Decimal("0.5")),
    )


@pytest.mark.parametrize(
    ("rows", "cost", "unpriced", "estimate"),
    [
        ([sent("a")], None, 1, "0.02"),
        ([sent("a"), sent("a")], None, 2, "0.04"),
        ([sent("a", estimate=None)], None, 1, None),
        ([sent("a"), {"state": "refused", "key": "a"}], None, 0, "0"),
        ([sent("a"), {"state": "failed", "key": "a"}], None, 0, "0"),
        ([sent("a"), {"state": "failed", "key": "a", "billed": True}], None, 1, "0.02"),
        ([sent("a"), {"state": "failed", "key": "a", "billed": True, "cost": "0.3"}], "0.3", 0, "0"),
        ([sent("a"), {"state": "unknown", "key": "a"}, sent("a"), done("a")], "0.01", 1, "0.02"),
        ([sent("a"), done("a", None)], None, 1, "0.02"),
        (
            [sent("a"), {"state": "away", "key": "a", "urls": ["u"], "cost": "0.1"}, done("a", None)],
            "0.1",
            0,
            "0",
        ),
    ],
)
def test_an_unknown_cost_is_never_zero(
    tmp_path: Path, rows: list[dict[str, Any]], cost: str | None, unpriced: int, estimate: str | None
) -> None:
    """What may have been billed without a known cost is counted, with the most that it may be; as a run counts it."""
    folder = batch(tmp_path, *rows)
    models = read_batch_costs(folder).models
    first = models[0] if models else ModelCosts(model=None)
    expected = (cost and Decimal(cost), unpriced, estimate and Decimal(estimate))
    assert (first.cost, first.unpriced, first.unpriced_estimate) == expected
    ledger = Ledger.from_journal(parse_journal((folder / "journal.jsonl").read_bytes()), {})
    assert (ledger.spending.known, ledger.spending.unpriced) == expected[:2]


def test_a_request_that_was_changed_counts_for_both_models(tmp_path: Path) -> None:
    """Each request for its own."""
    failed = {"state": "failed", "key": "a", "billed": True, "cost": "0.3"}
    folder = batch(tmp_path, sent("a", "gpt-image-1.5"), failed, sent("a"), done("a"))
    assert [(m.model, m.cost) for m in read_batch_costs(folder).models] == [
        ("gpt-image-1.5", Decimal("0.3")),
        ("gpt-image-2", Decimal("0.01")),
    ]


@pytest.mark.parametrize("model", [None, "", 5, ["x"]])
def test_a_model_that_is_not_recorded_is_none(tmp_path: Path, model: Any) -> None:
    """And odd counts are no counts."""
    odd = {"input_tokens": "5", "output_tokens": -1}
    (found,) = read_batch_costs(batch(tmp_path, sent("a", model), done("a", usage=odd))).models
    assert (found.model, found.images, found.input_tokens, found.output_tokens) == (None, 1, None, None)


def test_what_cannot_be_read_is_noted(tmp_path: Path) -> None:
    """A damaged row may have been a request."""
    costs = read_batch_costs(batch(tmp_path, b'{"state":"sent","key":"a", oops}\n', sent("b"), done("b")))
    assert "line 2 cannot be read" in costs.notes[0]
    assert sum(model.unpriced for model in costs.models) == 1


def test_a_folder_that_is_no_batch_says_what_it_is(tmp_path: Path) -> None:
    """A name of nothing, a file, images, an empty folder, one with batches in it, a journal of something else."""
    (tmp_path / "a.png").write_bytes(b"x")
    batch(tmp_path / "runs", sent("a"))
    batch(tmp_path / "newer", {**BEGUN, "format": 99})
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "journal.jsonl").write_text("hello\n")
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.PNG").write_bytes(b"x")
    for name, said in {
        "nothing": "it does not exist",
        "a.png": "it is a file",
        "empty": "it is empty",
        "images": "it holds 3 images and no journal.jsonl",
        ".": "name those:",
        "other": "has no row of a batch",
        "newer": "newer version",
    }.items():
        with pytest.raises(BatchFolderError, match=said):
            read_batch_costs(tmp_path / name)


def test_what_is_at_the_provider_is_unpriced(tmp_path: Path) -> None:
    """Until its batch has ended."""
    tag = {"state": "provider_batch", "key": None, "tag": "t", "since": 1}
    sent = {"state": "sent", "key": "a", "batch": "t", "estimate": "0.5", "model": "gpt-image-2"}
    folder = batch(tmp_path / "out", BEGUN, {**tag, "step": "creating"}, sent)
    (costs,) = read_batch_costs(folder).models
    assert (costs.model, costs.unpriced, costs.unpriced_estimate) == ("gpt-image-2", 1, Decimal("0.5"))
