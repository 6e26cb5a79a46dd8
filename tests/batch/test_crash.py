"""The plug is pulled at every operation of an item's life: nothing is paid twice, and nothing that is there is lost."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from openai_images import BatchItem, ImagesClient
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import Ran, items_of, many, pictures, posts, rows, run, states
from tests.helpers.clients import PNG
from tests.helpers.crashing_filesystem import PluggedDisk, Pulled

pytestmark = pytest.mark.slow

PROMPT = "an otter on a raft"
ITEM = "00001"


async def crashed(
    client: ImagesClient, items: Sequence[BatchItem], out: Path, disk: PluggedDisk
) -> Ran | None:
    """Run until the plug is pulled; what came of it where it got as far as that."""
    try:
        ran = await run(client, items, out, disk=disk)
    except Pulled:
        return None
    assert disk.is_pulled == isinstance(ran.error, Pulled), ran.error
    return ran


def has_all(out: Path, count: int) -> bool:
    """Whether so many images are in the journal and on the disk, whole, and nothing half-written beside them."""
    files = [file["name"] for row in rows(out) if row["state"] == "done" for file in row["files"]]
    half = [name for name in pictures(out) if name.startswith(".")]
    return len(files) == count and not half and all((out / name).read_bytes() == PNG for name in files)


@pytest.mark.parametrize("loses", [False, True], ids=["keeps", "loses"])
@pytest.mark.parametrize("n", [None, 2])
async def test_at_every_point(
    client: ImagesClient, server: LocalImagesServer, tmp_path: Path, n: int | None, *, loses: bool
) -> None:
    """Whatever the moment: at most one POST without being asked for another, and what was yielded is there."""
    items, pulled, operations, adopted, unknown = items_of(PROMPT, n=n), True, 0, 0, 0
    while pulled:
        out = tmp_path / str(operations)
        before = server.posts
        disk = PluggedDisk(operations, loses=loses)
        first = await crashed(client, items, out, disk)
        pulled = disk.is_pulled
        may_be_sent = server.posts > before or "sent" in states(out, ITEM)
        again = await run(client, items, out)
        resumed = server.posts - before
        assert (again.error, resumed <= 1) == (None, True)
        assert again.summary.done + again.summary.unknown == 1
        if first is not None and first.done:
            assert again.plan.done == (ITEM,)
        if not may_be_sent:
            assert again.done == [ITEM]
        last = await run(client, items, out, retry_unknown=True)
        assert server.posts - before == resumed + again.summary.unknown
        assert last.summary.done == 1
        assert has_all(out, n or 1)
        adopted += len(again.plan.adopted)
        unknown += again.summary.unknown
        operations += 1
    assert operations > 15
    assert adopted >= (1 if loses else 3)
    assert unknown >= 1


@pytest.mark.parametrize(
    ("fault", "end", "most"),
    [
        pytest.param("rate_limited:0.001", "done", 2, id="refused for the rate, then done"),
        pytest.param("moderation_400", "failed", 1, id="blocked"),
        pytest.param("reset_after_body", "unknown", 1, id="nobody knows"),
    ],
)
async def test_at_every_point_of_other_lives(
    client: ImagesClient, server: LocalImagesServer, tmp_path: Path, fault: str, end: str, most: int
) -> None:
    """What is sent again was refused; what ended otherwise, or may have, is not sent without being asked for."""
    items, pulled, operations, ends = items_of(PROMPT), True, 0, set[str]()
    while pulled:
        out = tmp_path / str(operations)
        before = server.posts
        server.faults = (fault,)
        disk = PluggedDisk(operations, loses=True)
        await crashed(client, items, out, disk)
        pulled = disk.is_pulled
        again = await run(client, items, out)
        summary = again.summary
        assert server.posts - before <= most
        assert summary.done + summary.failed + summary.unknown == summary.total == 1
        ends |= {name for name in ("done", "failed", "unknown") if getattr(summary, name)}
        operations += 1
    assert {end, "unknown"} <= ends <= {end, "unknown", "done"}


@pytest.mark.parametrize("loses", [False, True], ids=["keeps", "loses"])
async def test_at_every_point_of_several(
    client: ImagesClient, server: LocalImagesServer, tmp_path: Path, *, loses: bool
) -> None:
    """Items in flight at once do not spoil each other's journal: each is sent once, and all can be had."""
    items, pulled, operations = many(3), True, 0
    while pulled:
        out = tmp_path / str(operations)
        server.requests.clear()
        disk = PluggedDisk(operations, loses=loses)
        first = await crashed(client, items, out, disk)
        pulled = disk.is_pulled
        again = await run(client, items, out)
        assert set(first.done if first else []) <= set(again.plan.done)
        assert max(posts(server).values()) == 1
        assert again.summary.done + again.summary.unknown == 3
        last = await run(client, items, out, retry_unknown=True)
        assert (last.summary.done, has_all(out, 3)) == (3, True)
        operations += 2


async def test_while_it_recovers(client: ImagesClient, server: LocalImagesServer, tmp_path: Path) -> None:
    """A second crash, at every point of the recovery from the first, loses nothing either."""
    items, adopted, first = items_of(PROMPT), 0, 7
    is_over = False
    while not is_over:
        first += 1
        second, pulled = 0, True
        while pulled:
            out = tmp_path / f"{first}-{second}"
            before = server.posts
            disk = PluggedDisk(first, loses=False)
            await crashed(client, items, out, disk)
            is_over = not disk.is_pulled
            paid_for = [name for name in pictures(out) if (out / "images" / name).read_bytes() == PNG]
            recovering = PluggedDisk(second, loses=True)
            await crashed(client, items, out, recovering)
            pulled = recovering.is_pulled
            again = await run(client, items, out)
            assert (again.error, server.posts - before <= 1) == (None, True)
            assert again.summary.done == 1 or not paid_for
            adopted += len(again.plan.adopted)
            second += 1
    assert adopted > 10
