"""A disk that takes long is what a batch waits for, and the batch says it."""

import asyncio
import threading
from pathlib import Path

import pytest

from openai_images import Batch, BatchOptions, ImagesClient, Timing
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of
from tests.helpers.clients import FakeTime
from tests.helpers.crashing_filesystem import FailingDisk

NOON = FakeTime.WALL


@pytest.mark.parametrize(
    ("suffix", "skipped"), [(".jsonl", 1), (".part", 0)], ids=["the journal", "an image"]
)
async def test_a_write_that_does_not_end(
    server: LocalImagesServer, tmp_path: Path, suffix: str, skipped: int
) -> None:
    """After some seconds, with the time at which it began; the count of what waits gives no other reason."""
    now = [1000.0]
    writing, may_write = threading.Event(), threading.Event()
    seen: list[str] = []

    def slow(operation: str, path: Path) -> bool:
        if operation == "write" and path.name.endswith(suffix):
            seen.append(path.name)
            if len(seen) > skipped:
                writing.set()
                assert may_write.wait(60)
        return False

    timing = Timing(monotonic=lambda: now[0], wall=lambda: NOON)
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key, timing=timing) as client:
        batch = Batch(
            client, items_of("an otter"), tmp_path / "out", disk=FailingDisk(slow), options=BatchOptions()
        )
        async with batch:
            outcome = asyncio.ensure_future(anext(batch))
            await asyncio.to_thread(writing.wait)
            reasons = [batch.wait_reason]
            now[0] += 6
            reasons.append(batch.wait_reason)
            may_write.set()
            assert (await outcome).key == "00001"
            reasons.append(batch.wait_reason)
    assert (reasons[0], reasons[2]) == (None, None)
    assert str(reasons[1]).startswith(f"a write to {str(tmp_path / 'out')!r} has not ended since ")
