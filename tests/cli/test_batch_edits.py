"""`openai-images batch` with images to edit, a budget for what nobody named, and images that did not come."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.edit_images import encoded, house

Cli = Callable[..., Any]
FOX = encoded(house((64, 64)))


@pytest.fixture
def edits(empty_folder: Path) -> str:
    """Two rows, whose images are beside the file, in a folder that is not the current one."""
    Path("in/photos").mkdir(parents=True)
    Path("in/photos/fox.png").write_bytes(FOX)
    Path("in/rows.csv").write_text("key,prompt,image\nnight,make it night,photos/fox.png\nfrog,a frog,\n")
    return "in/rows.csv"


def test_edits_of_a_spreadsheet(cli: Cli, server: Any, edits: str) -> None:
    """Planned, sent, and done once; a changed image is refused before anything is sent."""
    dry = cli("batch", edits, "--out", "out", "--dry-run")
    assert (dry.code, server.posts) == (0, 0)
    assert "for 1 of 2 requests, unknown for the rest (no price is known for images to edit by " in dry.err
    for budget, code in (("0.05", 1), ("0.5", 0)):
        most = ("--max-image-cost", "0.1", "--size", "1024x1024", "--quality", "low", "--budget", budget)
        dry = cli("batch", edits, "--out", "out", "--dry-run", *most)
        assert (dry.code, server.posts) == (code, 0)
        assert "estimated cost: at most $0.106 (prices of " in dry.err
        assert ", and --max-image-cost)\n" in dry.err
        assert " to $0.106\n" in dry.err
    done = cli("batch", edits, "--out", "out")
    assert (done.code, sorted(done.out.splitlines())) == (0, ["out/images/frog.png", "out/images/night.png"])
    assert "2 done, nothing to do" in cli("batch", edits, "--out", "out").err
    Path("in/photos/fox.png").write_bytes(encoded(house((32, 64))))
    for more in ([], ["--dry-run"]):
        changed = cli("batch", edits, "--out", "out", *more)
        assert (changed.code, server.posts) == (2, 2)
        assert (
            "1 item is changed: this folder's journal has another request under the same key" in changed.err
        )
        assert "'night'; nothing was sent" in changed.err


def test_a_picture_that_is_not_there(cli: Cli, server: Any, edits: str) -> None:
    """Its row and column are told, and nothing is sent."""
    Path("in/photos/fox.png").unlink()
    done = cli("batch", edits, "--out", "out")
    assert (done.code, server.posts) == (2, 0)
    assert "line 2: image: 'in/photos/fox.png' cannot be read (No such file or directory)" in done.err


def test_half_a_dollar_for_auto(cli: Cli, server: Any) -> None:
    """What `auto` really costs decides; the end says what was assumed, and how to make it certain."""
    Path("many.txt").write_text("\n".join(f"otter {number}" for number in range(9)))
    done = cli("batch", "many.txt", "--out", "out", "--budget", "0.05")
    assert (done.code, len(done.out.splitlines())) == (1, 7)
    assert (
        "the budget allows only 1 in flight now: the next one waits until their costs are certain; "
        "an image of gpt-image-2 with size auto, quality" in done.err
    )
    assert (
        "the next request might exceed the budget of $0.05: raise --budget to continue\nassumed: " in done.err
    )
    assert (
        "$0.0086 is reserved for each, 1.25 times the most expensive so far; set size and quality" in done.err
    )
    assert done.err.count("or --max-image-cost, to make the cost certain") == 2
    assert "max_image_cost" not in done.err
    more = cli("batch", "many.txt", "--out", "out", "--budget", "0.06", "--max-image-cost", "0.01")
    assert (more.code, len(more.out.splitlines())) == (1, 1)
    assert cli("batch", "many.txt", "--out", "o", "--max-image-cost", "x").code == 2


def test_the_rest_of_a_request(cli: Cli, server: Any) -> None:
    """It is said that images are missing; `--retry-missing` asks for these, and not for what was refused."""
    Path("rows.csv").write_text("key,prompt,n\nfox,a fox,3\nheron,a heron,1\n")
    server.script("fewer_images", "moderation_400")
    done = cli("batch", "rows.csv", "--out", "out", "--concurrency", "1")
    assert done.code == 1
    assert "2 failed (1 blocked by moderation, 1 with only some of the images)" in done.err
    assert "--retry-missing requests only the missing ones" in done.err
    again = cli("batch", "rows.csv", "--out", "out")
    assert (
        "2 failed (1 with only some of the images: --retry-missing requests the others; --retry-f"
        in again.err
    )
    rest = cli("batch", "rows.csv", "--out", "out", "--retry-missing", "--json")
    assert [request.json.get("n") for request in server.requests] == [3, 1, 2]
    plan, fox, summary = map(json.loads, rest.out.splitlines())
    assert (plan["plan"]["to_send"], len(fox["images"]), summary["summary"]["failed"]) == (1, 3, 1)
    assert "1 with only some of the images: requested now; --retry-failed sends them again" in rest.err
