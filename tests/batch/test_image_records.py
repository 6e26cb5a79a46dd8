"""`pictures.csv` and `metadata.jsonl`: a row for each image there is, made anew from the journal each time."""

import csv
import inspect
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openai_images import Batch, BatchItem, EditRequest, GenerateRequest, ImageReference, ImagesClient
from openai_images.batch.items.models import BatchOptions
from openai_images.batch.items.resolved_item import resolve_items
from openai_images.batch.journal.journal_reader import parse_journal
from openai_images.batch.journal.ledger import Ledger
from openai_images.batch.sheet import image_records, sheet_entries as parameters
from openai_images.batch.sheet.image_records import write_records
from openai_images.server import LocalImagesServer
from tests.batch.test_partial import Stingy
from tests.helpers.batch_runs import items_of, many, rows, run
from tests.helpers.clients import PNG

NAMES = ("pictures.csv", "metadata.jsonl")


def cells(out: Path) -> list[dict[str, str]]:
    """The rows of `pictures.csv`."""
    with (out / "pictures.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def objects(out: Path) -> list[dict[str, Any]]:
    """The rows of `metadata.jsonl`, each on a line, whatever a reader takes for its end."""
    text = (out / "metadata.jsonl").read_bytes().decode()
    assert text.splitlines() == text.split("\n")[:-1]
    return [json.loads(line) for line in text.splitlines()]


def records(out: Path) -> list[dict[str, Any]]:
    """The rows, which are the same in both files, and of which each has its image."""
    found = objects(out)
    shown = [{name: value for name, value in row.items() if value != ""} for row in cells(out)]
    assert [set(row) for row in shown] == [set(row) for row in found]
    assert [row["file_name"] for row in shown] == [row["file_name"] for row in found]
    assert all((out / row["file_name"]).is_file() for row in found)
    return found


def written(out: Path, journal: list[dict[str, Any]], *items: BatchItem, **options: Any) -> None:
    """The records of these items and rows; each file is made."""
    (out / "images").mkdir(parents=True)
    for row in journal:
        for file in row.get("files", ()):
            (out / file["name"]).write_bytes(PNG)
    resolved = resolve_items(items, None, BatchOptions())
    data = "".join(
        json.dumps({"request": next((i.digest for i in resolved if i.key == row["key"]), ""), **row}) + "\n"
        for row in journal
    )
    ledger = Ledger.from_journal(parse_journal(data.encode()), {})
    write_records(out, resolved, ledger, BatchOptions(**options))


def done(key: str, *names: str, **fields: Any) -> dict[str, Any]:
    """A row of an item that is done."""
    files = [{"name": f"images/{name}", "nbytes": 70, "sha256": "ab"} for name in names]
    return {"state": "done", "key": key, "attempts": 1, **fields, "files": files}


async def test_what_made_each_image(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Key, prompt, model and all parameters that were set, then the image, and what the response told."""
    body = {"moderation": "low"}
    items = [
        BatchItem("fox", GenerateRequest('a fox,\n"red" \N{FOX FACE}', model="gpt-image-2", size="1024x1024", n=2)),
        BatchItem("owl", GenerateRequest("an owl", model="gpt-image-2", quality="low", extra_body=body, user="me")),
    ]  # fmt: skip
    await run(client, items, out)
    fox, second, owl = records(out)
    journal = {row["key"]: row for row in rows(out) if row["state"] == "done"}
    told = journal["owl"]
    assert list(owl) == [
        *("file_name", "key", "image_index", "state", "prompt", "model", "quality", "extra_body"),
        *("width", "height", "media_type", "nbytes", "sha256", "result_quality", "cost", "input_tokens"),
        *("output_tokens", "seconds", "recorded_at", "request_id"),
    ]
    assert owl == {
        "file_name": "images/owl.png",
        "key": "owl",
        "image_index": 0,
        "state": "done",
        "prompt": "an owl",
        "model": "gpt-image-2",
        "quality": "low",
        "extra_body": '{"moderation":"low"}',
        "width": 1,
        "height": 1,
        "media_type": "image/png",
        "nbytes": len(PNG),
        "sha256": told["files"][0]["sha256"],
        "result_quality": told["quality"],
        "cost": float(told["cost"]),
        "input_tokens": told["usage"]["input_tokens"],
        "output_tokens": told["usage"]["output_tokens"],
        "seconds": told["seconds"],
        "recorded_at": told["at"],
        "request_id": told["request_id"],
    }
    assert [fox["file_name"], second["file_name"]] == ["images/fox-0.png", "images/fox-1.png"]
    assert (fox["image_index"], second["image_index"], fox["n"], fox["size"]) == (0, 1, 2, "1024x1024")
    assert fox["prompt"] == cells(out)[0]["prompt"] == items[0].request.prompt
    assert "quality" not in fox
    spent = Decimal(journal["fox"]["cost"])
    assert sum(Decimal(row["cost"]) for row in cells(out)[:2]) == spent
    assert fox["output_tokens"] + second["output_tokens"] == journal["fox"]["usage"]["output_tokens"]


async def test_made_anew_from_the_journal(client: ImagesClient, out: Path) -> None:
    """A process that was killed wrote none, or old ones: the next run writes what an undisturbed one would have."""
    await run(client, many(2), out)
    await run(client, many(3), out)
    before = [(out / name).read_bytes() for name in NAMES]
    assert len(records(out)) == 3
    (out / "pictures.csv").unlink()
    (out / "metadata.jsonl").write_bytes((out / "metadata.jsonl").read_bytes().splitlines(keepends=True)[0])
    async with Batch(client, many(3), out):
        pass
    assert [(out / name).read_bytes() for name in NAMES] == before
    assert not [path for path in out.iterdir() if path.suffix == ".part"]


async def test_images_that_are_not_there_have_no_row(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Failed, unknown and pending items, and images that were deleted."""
    server.script("moderation_400", "reset_after_body", "ok", "ok")
    await run(client, many(4), out, concurrency=1)
    assert [row["key"] for row in records(out)] == ["00003", "00004"]
    (out / "images/00003.png").unlink()
    await run(client, many(5), out, budget=Decimal(0))
    assert [row["key"] for row in records(out)] == ["00004"]


async def test_each_image_names_its_own_request(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images that came in a second request for the missing ones are not said to be of the first."""
    Stingy(client, monkeypatch, [2, 1])
    items = items_of("an otter", n=3)
    await run(client, items, out)
    assert [row["state"] for row in records(out)] == ["failed", "failed"]
    await run(client, items, out, retry_failed=True)
    first, second, third = records(out)
    assert [row["state"] for row in (first, second, third)] == ["done"] * 3
    assert first["cost"] == second["cost"] == third["cost"] / 2
    assert third["output_tokens"] == 100


def test_the_row_of_each_response(tmp_path: Path) -> None:
    """Kept images keep what theirs told; what was adopted, moved or fetched later told nothing new."""
    usage = {"usage": {"input_tokens": 5, "output_tokens": 7}}
    partial = done("a", "a-0.png", "a-1.png", request_id="one", cost="0.03", **usage)
    journal = [
        {**partial, "state": "failed", "error": "PartialResultError", "billed": True},
        {**done("a", "a-0.png", "a-1.png"), "state": "sent", "stem": "a", "pictures": 3},
        done("a", "a-0.png", "a-1.png", "a-2.png", request_id="two", cost="0.01", at="2026-11-22T10:00:05.123Z"),
        {**done("b", request_id="three", cost="0.05"), "state": "away", "urls": ["https://example/b"]},
        {"state": "done", "key": "b", "files": done("b", "b.png")["files"]},
        {"state": "done", "key": "c", "adopted": True, "files": done("c", "c.png")["files"]},
    ]  # fmt: skip
    written(tmp_path, journal, *(BatchItem(key, GenerateRequest(key, n=3)) for key in "abc"))
    found = records(tmp_path)
    assert [(row["key"], row.get("request_id"), row.get("cost")) for row in found] == [
        ("a", "one", 0.015),
        ("a", "one", 0.015),
        ("a", "two", 0.01),
        ("b", "three", 0.05),
        ("c", None, None),
    ]
    assert [row.get("output_tokens") for row in found] == [4, 3, None, None, None]
    assert found[2]["recorded_at"] == "2026-11-22T10:00:05.123Z"


def test_which_files_have_a_row(tmp_path: Path) -> None:
    """Not damaged ones, nor those elsewhere; a shared one has one row, and that of a removed item no prompt."""
    elsewhere = tmp_path / "elsewhere.png"
    outside = done("d")
    outside["files"] = [{"name": str(elsewhere), "nbytes": 70, "sha256": "ab"}]
    journal = [
        {**done("a", "a.png", "a.damaged.png"), "state": "unknown"},
        done("b", "b.damaged.png"),
        done("removed", "r.png", cost="1", request="of old"),
        outside,
        {**done("copy", "b.damaged.png"), "same_as": "b"},
    ]
    items = [BatchItem(key, GenerateRequest("p", model="m")) for key in ("copy", "a", "b", "d")]
    written(tmp_path / "out", journal, *items)
    found = records(tmp_path / "out")
    assert [(row["key"], row["file_name"], row["state"]) for row in found] == [
        ("a", "images/a.png", "unknown"),
        ("b", "images/b.damaged.png", "done"),
        ("removed", "images/r.png", "done"),
    ]
    assert [row.get("prompt") for row in found] == ["p", "p", None]
    assert found[2]["cost"] == 1.0


def test_a_shared_image_of_a_removed_item(tmp_path: Path) -> None:
    """It has its row, with the parameters of those that share it, once."""
    copies = [{**done(key, "r.png"), "same_as": "removed"} for key in ("x", "y")]
    items = [BatchItem(key, GenerateRequest("p")) for key in ("x", "y")]
    digest = resolve_items(items, None, BatchOptions())[0].digest
    written(tmp_path, [done("removed", "r.png", request=digest), *copies], *items)
    assert [(row["key"], row["prompt"]) for row in records(tmp_path)] == [("removed", "p")]


FORMULAS = ("=1+1", "+1", "-2 otters", "@SUM(A1)", "\tx", "\rx")
TEXTS = (
    *FORMULAS,
    'quotes " and, commas',
    "two\nlines\r\n",
    "one\u2028two\u2029three\x85four",
    "'quoted",
    "nul\0l",
)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_any_kind(tmp_path: Path, text: str) -> None:
    """As they are in `metadata.jsonl`; in `pictures.csv` none that a spreadsheet would run."""
    item = BatchItem("k", GenerateRequest(text, model=text))
    written(tmp_path, [done("k", "k.png")], item)
    ((shown,), (exact,)) = cells(tmp_path), objects(tmp_path)
    assert (exact["prompt"], exact["model"]) == (text, text)
    expected = f"'{text}" if text in FORMULAS else text
    assert (shown["prompt"], shown["model"]) == (expected, expected)


def test_half_of_a_character(tmp_path: Path) -> None:
    """It cannot be written, and prevents nothing."""
    written(tmp_path, [done("an owl \ud800", "k.png")], BatchItem("an owl \ud800", GenerateRequest("p")))
    assert records(tmp_path)[0]["key"] == cells(tmp_path)[0]["key"] == "an owl ?"


def test_values_with_parts(tmp_path: Path) -> None:
    """They are JSON in one cell, whatever they hold; images that were sent are named, and their bytes never shown."""
    deep: dict[str, Any] = {"nan": float("nan"), "when": object}
    items = [
        BatchItem("a", GenerateRequest("p", svg={"model": "m", "reasoning": {"effort": "low"}}, extra_body=deep)),
        BatchItem("b", GenerateRequest("p", frame_count=3)),
    ]  # fmt: skip
    resolved = [*resolve_items(items[1:], None, BatchOptions())]
    assert parameters._plain("extra_body", deep) == '{"nan":"nan","when":"<type>"}'
    assert parameters._plain("svg", items[0].request.svg) == '{"model":"m","reasoning":{"effort":"low"}}'
    assert resolved[0].request.frame_count == parameters._plain("frame_count", 3) == 3
    edit = EditRequest(
        "p",
        image=[
            Path("a.png"),
            "b.png",
            b"secret",
            ImageReference(file_id="file-1"),
            "data:image/png;base64,AA",
        ],
        mask=ImageReference(image_url="https://example/mask.png"),
    )
    names = '["a.png","b.png","<bytes>","file-1","<str>"]'
    assert parameters._plain("image", edit.image) == names
    assert parameters._plain("mask", edit.mask) == "https://example/mask.png"


def test_a_stand_in_is_called_one(tmp_path: Path) -> None:
    """The remark that begins the page is in each row: records may travel without it."""
    written(tmp_path, [done("k", "k.png")], BatchItem("k", GenerateRequest("p")), note="Local stand-ins.")
    assert records(tmp_path)[0]["note"] == "Local stand-ins."


@pytest.mark.parametrize("kind", ["text", "folder", "link"])
async def test_files_of_the_user_stay(
    client: ImagesClient, out: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What no batch wrote is not overwritten, and said; our own file is."""
    await run(client, many(1), out)
    own = out / "metadata.jsonl"
    kept = out.parent / "kept"
    kept.write_text('{"file_name": "images/00001.png", "text": "my caption"}\n')
    own.unlink()
    if kind == "folder":
        own.mkdir()
    elif kind == "link":
        own.symlink_to(kept)
    else:
        kept.rename(own)
    await run(client, many(2), out)
    name = f"metadata.jsonl in {out}"
    assert caplog.messages == [f"{name} was not written by a batch and was not replaced"]
    assert own.is_dir() if kind == "folder" else "my caption" in own.read_text()
    assert len(cells(out)) == 2
    assert sorted(path.name for path in out.iterdir() if "metadata" in path.name) == ["metadata.jsonl"]


@pytest.mark.parametrize("name", NAMES)
def test_our_own_files_are_known(tmp_path: Path, name: str) -> None:
    """Also with odd keys, as the first of several, and without a row."""
    odd = BatchItem('a "b",\\', GenerateRequest("p"))
    written(tmp_path, [done(odd.key, "k.png")], odd)
    assert image_records._may_replace(tmp_path / name)
    (tmp_path / "images/k.png").unlink()
    write_records(tmp_path, resolve_items([odd], None, BatchOptions()), Ledger(), BatchOptions())
    assert image_records._may_replace(tmp_path / name)
    assert records(tmp_path) == []


def test_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, the old file stays, and no part of a new one."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    written(tmp_path, [done("k", "k.png")], BatchItem("k", GenerateRequest("p")))
    before = (tmp_path / "pictures.csv").read_bytes()
    monkeypatch.setattr("openai_images._util.atomic_file.publish", full)
    write_records(tmp_path, [], Ledger(), BatchOptions())
    assert caplog.messages == [
        f"{name} could not be written to {tmp_path} (No space left on device)" for name in NAMES
    ]
    assert (tmp_path / "pictures.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "metadata.jsonl", "pictures.csv"]


def test_one_of_both_that_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A spreadsheet that holds its file open does not prevent the other; nor is it asked once more for each row."""

    def publish(part: Path, target: Path, **_: object) -> Path:
        if target.suffix == ".csv":
            raise PermissionError(13, "Permission denied")
        return part.replace(target)

    written(tmp_path, [done("k", "k.png")], BatchItem("k", GenerateRequest("p")))
    (tmp_path / "metadata.jsonl").unlink()
    monkeypatch.setattr("openai_images._util.atomic_file.publish", publish)
    write_records(tmp_path, [], Ledger(), BatchOptions())
    assert caplog.messages == [f"pictures.csv could not be written to {tmp_path} (Permission denied)"]
    assert (len(cells(tmp_path)), objects(tmp_path)) == (1, [])
    assert not list(tmp_path.glob(".*"))


def test_rows_are_streamed(tmp_path: Path) -> None:
    """However many rows there are, one is in memory at a time."""
    (tmp_path / "images").mkdir()
    items = resolve_items(many(3), None, BatchOptions())
    records = image_records._Records(tmp_path, items, Ledger(), BatchOptions())
    assert re.fullmatch(
        r"file_name,key,image_index,state,prompt,model,size,quality,width,.*\r\n", records.csv_header
    )
    assert inspect.isgenerator(records.rows())
    assert list(records.rows()) == []
