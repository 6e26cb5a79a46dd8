"""Batches that are killed with SIGKILL and resumed: nothing is lost, and nothing is paid for twice.

`python -m benchmarks kill` does the same fifty times, at moments drawn by chance.
"""

import asyncio
import csv
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kill import noise, one
from benchmarks.kill_run import Moment
from openai_images.server import LocalImagesServer
from tests.helpers.cli_processes import wait_for

pytestmark = pytest.mark.slow

PROMPTS = 24
MOMENTS = (
    Moment(1, 0.0),  # the journal has just begun
    Moment(2_500, 0.0),  # requests are in flight
    Moment(6_000, 0.01),  # images arrive and are written
)


@pytest.mark.skipif("sys.platform == 'win32'", reason="Windows has no SIGKILL")
async def test_a_batch_that_is_killed_goes_on(tmp_path: Path) -> None:
    """At each moment: done images stay as they are, only unknown ones are missing, and all come when asked for."""
    picture = noise(120)
    stories = await asyncio.gather(
        *(one(tmp_path, number, moment, picture, PROMPTS) for number, moment in enumerate(MOMENTS))
    )
    assert [story.wrong for story in stories] == [[]] * len(MOMENTS), [story.output for story in stories]
    assert all(story.was_running for story in stories)
    assert any(story.killed.open for story in stories)
    assert any(story.killed.done for story in stories)


# Writes the records, and stops before they get their names.
STOPS_AT_THE_END = """
import sys, time
from openai_images._util import atomic_file
from openai_images.cli import main

def publish(part, target, *, original=atomic_file.publish, **options):
    if target.name == "pictures.csv":
        print("stopped at its end", flush=True)
        time.sleep(600)
    return original(part, target, **options)

atomic_file.publish = publish
sys.exit(main())
"""
RECORDS = ("pictures.csv", "metadata.jsonl", "index.html")


def killed(argv: list[str], reached: Callable[[subprocess.Popen[str]], object]) -> None:
    """Run a program until it has reached a point, and kill it there."""
    with subprocess.Popen([sys.executable, *argv], stdout=subprocess.PIPE, text=True) as running:
        try:
            reached(running)
        finally:
            running.kill()
    assert running.returncode == -signal.SIGKILL


def rows_of(out: Path) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The rows of both records."""
    with (out / "pictures.csv").open(encoding="utf-8", newline="") as file:
        shown = list(csv.DictReader(file, strict=True))
    lines = (out / "metadata.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines], shown


@pytest.mark.skipif("sys.platform == 'win32'", reason="Windows has no SIGKILL")
def test_records_of_images_after_a_kill(images_env: LocalImagesServer, tmp_path: Path) -> None:
    """A killed run leaves those of the run before, whole; the next one writes what the journal knows."""
    prompts, out = tmp_path / "prompts.txt", tmp_path / "out"
    batch = ["batch", str(prompts), "--out", str(out), "-s", "1024x1024", "--retry-unknown", "-q"]
    command = [sys.executable, "-m", "openai_images", *batch]

    def done() -> int:
        return (out / "journal.jsonl").read_bytes().count(b'{"state":"done"')

    def has_done_seven(running: subprocess.Popen[str]) -> None:
        while done() < 7 or images_env.posts < 12:  # no stall is left for the next run
            assert running.poll() is None
            time.sleep(0.01)

    prompts.write_text("".join(f"otter {number}\n" for number in range(3)))
    subprocess.run(command, check=True, timeout=60)
    before = [(out / name).read_bytes() for name in RECORDS]
    assert len(rows_of(out)[0]) == 3

    prompts.write_text("".join(f"otter {number}\n" for number in range(12)))
    images_env.script(*["ok"] * 4, *["stall"] * 5)
    killed(["-m", "openai_images", *batch], has_done_seven)
    assert [(out / name).read_bytes() for name in RECORDS] == before

    killed(["-c", STOPS_AT_THE_END, *batch], lambda running: wait_for(running.stdout, "stopped"))
    assert done() == 12
    assert [(out / name).read_bytes() for name in RECORDS] == before
    assert list(out.glob(".*.part"))

    posts = images_env.posts
    subprocess.run(command, check=True, timeout=60)
    assert images_env.posts == posts
    exact, shown = rows_of(out)
    journal = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    paid = {row["request_id"]: Decimal(row["cost"]) for row in journal if row["state"] == "done"}
    assert [row["key"] for row in exact] == [f"{number:05}" for number in range(1, 13)]
    assert {row["request_id"]: Decimal(row["cost"]) for row in shown} == paid
    for row in exact:
        assert hashlib.sha256((out / row["file_name"]).read_bytes()).hexdigest() == row["sha256"]
    assert not list(out.glob(".*.part"))
