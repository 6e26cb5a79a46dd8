"""Items for more images than one request carries: one row each, whatever becomes of their requests."""

from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

from openai_images import (
    ImagesClient,
    Limits,
    ModerationBlockedError,
    PartialResultError,
    QuotaExhaustedError,
)
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, pictures, rows, run, states
from tests.helpers.clients import PNG, FakeTime, client_of
from tests.helpers.crashing_filesystem import PluggedDisk, Pulled

PROMPT = "an otter on a raft"
ITEM = "00001"


@pytest.fixture
def in_order(server: LocalImagesServer, time: FakeTime) -> ImagesClient:
    """A client whose requests meet the server's script in their order."""
    return client_of(server, timing=time.timing, limits=Limits(concurrency=1))


def files(out: Path, state: str) -> list[str]:
    """The files in the item's row of this state."""
    (row,) = (row for row in rows(out) if row["state"] == state and row["key"] == ITEM)
    return [file["name"] for file in row["files"]]


async def test_one_row_for_three_requests(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Sent once, done once; tokens and money are those of all requests."""
    ran = await run(client, items_of(PROMPT, n=23), out)
    assert (ran.done, server.posts) == ([ITEM], 3)
    assert states(out, ITEM) == ["sent", "done"]
    assert files(out, "done") == [f"images/{ITEM}-{number}.png" for number in range(23)]
    done = rows(out)[-1]
    assert (done["attempts"], done["usage"]["output_tokens"] % 23) == (3, 0)
    each = Decimal(done["cost"]) / 23
    assert Decimal("0.001") < each < Decimal("0.01")
    assert ran.summary.spent == Decimal(done["cost"])
    (begun,) = (row for row in rows(out) if row["state"] == "sent")
    assert (begun["pictures"], Decimal(begun["estimate"]) >= Decimal(done["cost"])) == (23, True)


async def test_one_of_them_is_blocked(in_order: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """The others' images are on the disk, their row says what is missing, and nothing is sent again by itself."""
    server.script("ok", "moderation_400")
    ran = await run(in_order, items_of(PROMPT, n=23), out)
    error = ran.failed[ITEM]
    assert isinstance(error, PartialResultError)
    assert isinstance(error.errors[0], ModerationBlockedError)
    assert states(out, ITEM) == ["sent", "failed"]
    failed = rows(out)[-1]
    assert failed["message"].startswith("10 of 23 images are missing; the 13 received are in")
    assert (failed["billed"], Decimal(failed["cost"]) > 0) == (True, True)
    assert len(files(out, "failed")) == len(pictures(out)) == 13
    assert all((out / name).read_bytes() == PNG for name in files(out, "failed"))
    again = await run(in_order, items_of(PROMPT, n=23), out)
    assert (again.plan.failed, server.posts) == ((ITEM,), 3)
    assert again.summary.spent == ran.summary.spent == Decimal(failed["cost"])


async def test_nobody_knows_about_one(in_order: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """The item is unknown, its images are kept, and its cost counts as its estimate."""
    server.script("ok", "reset_after_body", "ok")
    ran = await run(in_order, items_of(PROMPT, n=23), out)
    assert states(out, ITEM) == ["sent", "unknown"]
    assert len(files(out, "unknown")) == len(pictures(out)) == 13
    assert (ran.summary.unknown, ran.summary.unpriced) == (1, 1)
    await run(in_order, items_of(PROMPT, n=23), out)
    assert server.posts == 3


@pytest.mark.parametrize("concurrency", [1, 100])
async def test_a_limit_in_the_middle(
    server: LocalImagesServer, time: FakeTime, out: Path, concurrency: int
) -> None:
    """A refusal of one request is not the item's as long as another one may have run; otherwise it is written down."""
    server.script("ok", "rate_limited:0.001", "rate_limited:0.001")
    client = client_of(server, timing=time.timing, limits=Limits(concurrency=concurrency))
    ran = await run(client, items_of(PROMPT, n=23), out)
    assert (ran.done, server.posts, len(pictures(out))) == ([ITEM], 5, 23)
    seen = states(out, ITEM)
    assert (seen[0], seen[-1]) == ("sent", "done")
    if concurrency == 1:
        assert seen == ["sent", "done"]


async def test_a_limit_at_the_beginning(in_order: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """The first is refused before any other one is sent: it did not run, and is sent once more."""
    server.script("rate_limited:0.001")
    ran = await run(in_order, items_of(PROMPT, n=23), out)
    assert (ran.done, server.posts) == ([ITEM], 4)
    assert states(out, ITEM) == ["sent", "refused", "sent", "done"]


async def test_no_quota(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """All are refused: the item did not run and waits for another day, and the batch stops."""
    server.always("quota_429")
    ran = await run(client, items_of(PROMPT, n=23), out)
    assert isinstance(ran.error, QuotaExhaustedError)
    assert (states(out, ITEM)[-1], ran.summary.reason) == ("refused", "quota")
    server.always(None)
    again = await run(client, items_of(PROMPT, n=23), out)
    assert again.done == [ITEM]


async def test_the_quota_ends_in_the_middle(
    in_order: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """What came is saved, and nothing else is sent."""
    server.script("ok", "quota_429", "quota_429")
    ran = await run(in_order, items_of(PROMPT, "another", n=23), out, concurrency=1)
    assert isinstance(ran.error, QuotaExhaustedError)
    assert (states(out, ITEM), states(out, "00002")) == (["sent", "failed"], [])
    assert (len(pictures(out)), server.posts) == (10, 3)


async def test_a_server_that_is_remote(server: LocalImagesServer, time: FakeTime, out: Path) -> None:
    """None of the requests was sent, so the item is pending."""
    client = client_of(server, timing=time.timing)
    await server.aclose()
    ran = await run(client, items_of(PROMPT, n=23), out)
    assert (ran.summary.reason, ran.summary.unknown, ran.summary.failed) == ("server", 0, 0)
    assert states(out, ITEM)[-1] == "refused"


@pytest.mark.parametrize("loses", [False, True], ids=["keeps", "loses"])
@pytest.mark.parametrize("fault", ["ok", "rate_limited:0.001", "moderation_400", "reset_after_body"])
async def test_the_plug_is_pulled_at_every_point(
    client: ImagesClient, server: LocalImagesServer, tmp_path: Path, fault: str, *, loses: bool
) -> None:
    """No request is made again without being asked for but one that was refused, and the journal knows of all."""
    items, pulled, operations, unknown = items_of(PROMPT, n=12), True, 0, 0
    most = 2 + (fault == "rate_limited:0.001")
    while pulled:
        out = tmp_path / str(operations)
        before = server.posts
        server.faults = (fault,)
        disk = PluggedDisk(operations, loses=loses)
        with suppress(Pulled):
            await run(client, items, out, disk=disk)
        pulled = disk.is_pulled
        paid = server.posts - before
        again = await run(client, items, out)
        assert again.error is None
        assert server.posts - before <= most
        if paid == most:
            assert server.posts - before == paid
        summary = again.summary
        assert summary.done + summary.failed + summary.unknown == 1
        unknown += summary.unknown
        server.faults = ()
        last = await run(client, items, out, retry_unknown=True, retry_failed=True)
        assert last.summary.done == 1
        assert len(pictures(out)) >= 12
        operations += 1
    assert operations > 15
    assert unknown >= 1


async def test_a_budget_counts_all_pictures(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """The estimate is that of all requests, so an item that does not fit is not begun."""
    ran = await run(client, items_of(PROMPT, n=23), out, budget=Decimal("0.13"))
    assert (ran.summary.reason, server.posts) == ("budget", 0)
