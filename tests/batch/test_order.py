"""The order in which things reach the disk, the server and the caller: what a page cache would hide from kill -9."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images import Batch
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of
from tests.helpers.clients import PNG, client_of
from tests.helpers.crashing_filesystem import WatchedDisk


class Recorder(WatchedDisk):
    """Writes down what was written where, and all else that a test tells it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def about_to(self, operation: str, path: Path, args: tuple[Any, ...]) -> None:
        """See what is coming."""
        name = "picture" if path.name.endswith(".part") else path.name
        self.told.append(f"{operation} {name}")
        if path.name == "journal.jsonl" and operation == "write":
            states = [json.loads(row)["state"] for row in args[0].splitlines()]
            self.told[-1] = f"write {' '.join(states)}"


@pytest.fixture
def recorder() -> Recorder:
    """Nothing happened yet."""
    return Recorder()


def arrival(recorder: Recorder) -> Callable[[], float]:
    """A clock for the server, which asks it first when a request arrives."""

    def clock() -> float:
        recorder.told.append("POST")
        return time.monotonic()

    return clock


async def lived(recorder: Recorder, out: Path, *faults: str) -> list[str]:
    """What happened to one item, from its first row on."""
    async with (
        LocalImagesServer(pictures=PNG, faults=faults, clock=arrival(recorder)) as server,
        client_of(server) as client,
        Batch(client, items_of("an otter"), out, disk=recorder) as batch,
    ):
        async for _ in batch:
            recorder.told.append("outcome")
    told = recorder.told[recorder.told.index("write sent") :]
    # The server asks its clock again while it answers.
    return [what for number, what in enumerate(told) if what != "POST" or told[number - 1] != "POST"]


async def test_a_picture_is_there_before_anybody_is_told(recorder: Recorder, out: Path) -> None:
    """The row before the request; the picture, its name and its row before the outcome; each synced first."""
    assert await lived(recorder, out) == [
        "write sent",
        "sync journal.jsonl",
        "POST",
        "create picture",
        "write picture",
        "sync picture",
        "publish picture",
        "sync_folder images",
        "write done",
        "sync journal.jsonl",
        "outcome",
    ]


async def test_a_failure_is_there_before_anybody_is_told(recorder: Recorder, out: Path) -> None:
    """The row of a failure is synced before its outcome."""
    assert await lived(recorder, out, "moderation_400") == [
        "write sent",
        "sync journal.jsonl",
        "POST",
        "write failed",
        "sync journal.jsonl",
        "outcome",
    ]


async def test_each_attempt_is_there_before_it_is_sent(recorder: Recorder, out: Path) -> None:
    """A refusal is synced before the next attempt's row, and that before the next request."""
    told = await lived(recorder, out, "rate_limited:0.001", "reset_after_body")
    assert told == [
        "write sent",
        "sync journal.jsonl",
        "POST",
        "write refused",
        "sync journal.jsonl",
        "write sent",
        "sync journal.jsonl",
        "POST",
        "write unknown",
        "sync journal.jsonl",
        "outcome",
    ]


async def test_the_folder_is_there_before_the_first_row(recorder: Recorder, out: Path) -> None:
    """The folders, the journal's name and the beginning are synced before anything is sent."""
    await lived(recorder, out)
    assert recorder.told[: recorder.told.index("write sent")] == [
        "make_folder out",
        "sync_folder " + out.parent.name,
        "make_folder images",
        "sync_folder out",
        "open journal.jsonl",
        "sync_folder out",
        "write begun",
        "sync journal.jsonl",
    ]
