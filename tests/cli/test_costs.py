"""`openai-images costs`: batches added up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.batch.test_costs import batch, done, sent

Cli = Callable[..., Any]


@pytest.fixture
def folders(tmp_path: Path) -> None:
    """Two batches, the second with a request of unknown cost and another model."""
    batch(tmp_path / "animals", sent("a"), done("a", "1.25"), sent("b"), done("b", "0.01"))
    batch(
        tmp_path / "drafts",
        sent("a", "gpt-image-1.5"),
        done("a", "0.5"),
        sent("b"),
        sent("c"),
        done("c", None),
    )


def rows(text: str) -> list[list[str]]:
    """The cells of each line."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def test_folders_are_added_up(cli: Cli, folders: None) -> None:
    """By folder and model, with a total; what is not known is beside it, and never 0."""
    done = cli("costs", "animals", "drafts/")
    assert done.code == 0
    assert rows(done.out) == [
        ["folder", "model", "images", "tokens in", "tokens out", "cost", "unknown cost"],
        ["animals", "gpt-image-2", "2", "10", "400", "$1.26", "-"],
        ["drafts/", "gpt-image-1.5", "1", "5", "200", "$0.50", "-"],
        ["gpt-image-2", "1", "5", "200", "-", "2 requests"],
        ["total", "4", "20", "800", "$1.76", "2 requests"],
    ]
    assert "unknown cost: 2 requests not in the sum" in done.err
    assert "$0.04 at most by the estimates" in done.err


def test_json_has_a_line_for_each_folder_and_the_total(cli: Cli, folders: None) -> None:
    """Amounts are exact, as text."""
    *lines, last = [json.loads(line) for line in cli("costs", "animals", "drafts", "--json").out.splitlines()]
    assert [line["folder"] for line in lines] == ["animals", "drafts"]
    assert [model["model"] for model in lines[1]["models"]] == ["gpt-image-1.5", "gpt-image-2"]
    assert last == {
        "total": {
            "images": 4,
            "input_tokens": 20,
            "output_tokens": 800,
            "cost": "1.76",
            "unpriced": 2,
            "unpriced_at_most": "0.04",
        }
    }


def test_a_folder_counts_once(cli: Cli, folders: None) -> None:
    """However often, and however, it is named."""
    done = cli("costs", "animals", "./animals/")
    assert rows(done.out)[-1][-2] == "$1.26"
    assert "./animals/ was named twice" in done.err


def test_a_local_batch_cost_nothing(cli: Cli, folders: None, tmp_path: Path) -> None:
    """A real one, whose amounts are shown and not added."""
    (tmp_path / "p.txt").write_text("a fox\n")
    assert (
        cli("batch", "p.txt", "--out", "local", "--local", "--size", "816x816", "--quality", "low").code == 0
    )
    done = cli("costs", "local", "animals")
    table = rows(done.out)
    assert table[1][:3] == ["local (local)", "gpt-image-2", "1"]
    assert table[-1][-2] == "$1.26"
    assert "not billed" in done.err


def test_what_is_no_batch_is_refused(cli: Cli, folders: None, tmp_path: Path) -> None:
    """All of it at once, with exit code 2, and nothing is summed."""
    (tmp_path / "otter.png").write_bytes(b"x")
    done = cli("costs", "animals", "nowhere", "otter.png", "nul\0")
    assert (done.code, done.out) == (2, "")
    assert "'nowhere' is not the folder of a batch: it does not exist" in done.err
    assert "'otter.png' is not the folder of a batch: it is a file" in done.err
    assert cli("costs").code == 2


def test_a_batch_that_sent_nothing(cli: Cli, tmp_path: Path) -> None:
    """Is one, and cost nothing."""
    batch(tmp_path / "new")
    assert rows(cli("costs", "new").out)[1] == ["new", "nothing was sent", "0", "-", "-", "-", "-"]
