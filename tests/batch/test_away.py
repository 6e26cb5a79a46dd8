"""Answers with URLs: where an image is is on the disk before it is fetched, and what is paid for is not sent again."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    Batch,
    BatchOptions,
    DownloadError,
    GenerateRequest,
    ImagesClient,
    PartialResultError,
    Succeeded,
)
from openai_images.batch.journal.journal_reader import parse_journal
from openai_images.batch.journal.ledger import Ledger
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, many, pictures, posts, rows, run, states
from tests.helpers.clients import PNG, FakeTime, client_of
from tests.helpers.crashing_filesystem import HastyDisk
from tests.helpers.leaks import until
from tests.helpers.raw_server import RawServer, reply

PICTURE = reply(PNG, kind="image/png")


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that answers with URLs."""
    async with LocalImagesServer(pictures=PNG, picture_links="absolute", now=lambda: FakeTime.WALL) as server:
        yield server


async def test_it_is_fetched(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """The image is in the folder, and its URL was in the journal before."""
    ran = await run(client, many(3), out)
    assert ran.done == ["00001", "00002", "00003"]
    assert ran.summary.away == 0
    assert pictures(out) == ["00001.png", "00002.png", "00003.png"]
    assert states(out, "00001") == ["sent", "away", "done"]
    (row,) = [row for row in rows(out) if row["key"] == "00001" and row["state"] == "away"]
    assert row["urls"][0].startswith(server.base_url)
    assert (server.posts, len(server.downloads)) == (3, 3)
    again = await run(client, many(3), out)
    assert (again.outcomes, again.summary.done) == ([], 3)
    assert again.summary.spent == ran.summary.spent


async def test_the_next_run_fetches_it(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """What could not be fetched is not sent again by itself: the next run fetches it, first of all, for nothing."""
    server.script("ok", "ok", "download_404", "download_ok")
    ran = await run(client, many(2), out, concurrency=1)
    error = ran.failed["00001"]
    assert isinstance(error, DownloadError)
    assert "run the batch again" in str(error)
    assert (ran.done, ran.summary.away, ran.summary.failed, ran.summary.unknown) == (["00002"], 1, 0, 0)
    assert rows(out)[-4:][0]["key"] == "00001"
    again = await run(client, many(3), out, concurrency=1, retry_failed=True)
    assert (again.plan.away, again.plan.to_fetch, again.plan.to_send) == (("00001",), ("00001",), ("00003",))
    assert again.outcomes[0].key == "00001"
    assert isinstance(again.outcomes[0], Succeeded)
    assert again.outcomes[0].result.image.path == out / "images" / "00001.png"
    assert (again.done, again.summary.done, again.summary.away) == (["00001", "00003"], 3, 0)
    assert set(posts(server).values()) == {1}
    assert states(out, "00001") == ["sent", "away", "away", "done"]


@pytest.mark.parametrize("options", [{}, {"retry_failed": True}, {"retry_missing": True}, {"dedupe": True}])
async def test_it_is_tried_again_and_never_sent(
    client: ImagesClient, server: LocalImagesServer, out: Path, options: Any
) -> None:
    """As often as the batch is run, while its URL leads nowhere; the account is not charged for it again."""
    server.always("download_expired_403")
    first = await run(client, many(1), out)
    for _ in range(3):
        ran = await run(client, many(1), out, **options)
        assert isinstance(ran.failed["00001"], DownloadError)
        assert ran.failed["00001"].status_code == 403
        assert (ran.summary.away, ran.summary.spent, ran.summary.unpriced) == (
            1,
            first.summary.spent,
            first.summary.unpriced,
        )
    assert (server.posts, len(server.downloads)) == (1, 4)
    assert rows(out)[-1]["urls"] == [ran.failed["00001"].url]


async def test_it_is_sent_again_when_asked_for(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """With `retry_unknown`, and only where it still cannot be fetched; then both are paid for."""
    server.script("download_404", "download_404", "download_ok")
    await run(client, many(1), out)
    ran = await run(client, many(1), out, retry_unknown=True, budget=Decimal(1))
    assert (ran.done, server.posts) == (["00001"], 2)
    assert states(out, "00001") == ["sent", "away", "away", "away", "sent", "away", "done"]
    assert ran.summary.spent is not None
    cost = [Decimal(row["cost"]) for row in rows(out) if "cost" in row]
    assert ran.summary.spent == sum(cost)


@pytest.mark.parametrize("economy", [False, True])
async def test_only_what_is_lacking_is_sent_again(
    client: ImagesClient, server: LocalImagesServer, out: Path, economy: bool
) -> None:
    """The images that were downloaded are kept, and not paid for twice; there is one outcome."""
    server.script(
        "download_ok", "download_404", "download_404", "download_404", "download_404", "download_ok"
    )
    await run(client, many(1, n=3), out)
    assert pictures(out) == ["00001-0.png"]
    ran = await run(client, many(1, n=3), out, retry_unknown=True, economy=economy)
    [outcome] = ran.outcomes
    assert isinstance(outcome, Succeeded)
    assert [image.path for image in outcome.result.images] == [
        out / "images" / name for name in pictures(out)
    ]
    assert pictures(out) == [f"00001-{number}.png" for number in range(3)]
    sent = server.batch_requests if economy else server.requests[1:]
    assert [request.json["n"] for request in sent] == [2]


async def test_it_is_not_sent_in_economy_after_it_was_fetched(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """It is paid for."""
    server.script("download_404")
    await run(client, many(1), out)
    ran = await run(client, many(1), out, retry_unknown=True, economy=True)
    assert (ran.done, len(ran.outcomes), len(server.batch_requests)) == (["00001"], 1, 0)


async def test_in_economy_its_new_images_count(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """They are in the provider's file, while the old URL still leads nowhere."""
    server.always("download_404")
    await run(client, many(1), out)
    ran = await run(client, many(1), out, retry_unknown=True, economy=True)
    [outcome] = ran.outcomes
    assert isinstance(outcome, Succeeded)
    assert outcome.result.request_id is not None
    assert (pictures(out), len(server.batch_requests), ran.summary.done) == (["00001.png"], 1, 1)


async def test_it_is_fetched_where_that_is_possible(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """`retry_unknown` pays for nothing that is still there."""
    server.script("download_404")
    await run(client, many(1), out)
    ran = await run(client, many(1), out, retry_unknown=True, budget=Decimal("0.1"))
    assert (ran.done, server.posts) == (["00001"], 1)


async def test_no_money_is_needed_to_fetch(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """A budget that is used up keeps nothing from being fetched."""
    server.script("download_404")
    await run(client, many(1), out)
    ran = await run(client, many(2), out, budget=Decimal("0.0001"))
    assert (ran.done, ran.summary.reason, ran.summary.not_started) == (["00001"], "budget", 1)
    assert server.posts == 1


async def test_a_run_that_ends_while_it_fetches(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Whoever pulls the plug in the middle of a download finds the URL in the journal."""
    server.script("download_stall_mid_body")
    batch = Batch(client, many(1), out, options=BatchOptions(), disk=HastyDisk())
    async with batch:
        task = asyncio.ensure_future(anext(batch))
        await until(lambda: len(server.downloads) == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (states(out, "00001"), batch.summary.away, batch.summary.unknown) == (["sent", "away"], 1, 0)
    again = await run(client, many(1), out)
    assert (again.done, server.posts) == (["00001"], 1)


async def test_a_picture_that_is_there_already(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Written, and no row said so before the machine went down: it is taken as it is."""
    server.script("download_404")
    await run(client, many(1), out)
    (out / "images" / "00001.png").write_bytes(PNG)
    again = await run(client, many(1), out)
    assert (again.plan.done, again.plan.adopted, again.plan.away) == (("00001",), ("00001",), ())
    assert (server.posts, len(server.downloads)) == (1, 1)


async def test_some_of_several(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Each run fetches what is still lacking; the images have their names, in the end all of them."""
    server.script("download_404", "download_ok", "download_404", "download_404")
    ran = await run(client, many(1, n=3), out)
    assert isinstance(ran.failed["00001"], DownloadError)
    assert pictures(out) == ["00001-0.png"]
    assert len(rows(out)[-1]["urls"]) == 2
    ran = await run(client, many(1, n=3), out)
    assert pictures(out) == ["00001-0.png", "00001-1.png"]
    assert isinstance(ran.failed["00001"], DownloadError)
    ran = await run(client, many(1, n=3), out)
    assert isinstance(ran.outcomes[0], Succeeded)
    images = ran.outcomes[0].result.images
    assert [image.path for image in images] == [out / "images" / f"00001-{number}.png" for number in range(3)]
    assert all(image.data == PNG for image in images)
    assert (await run(client, many(1, n=3), out)).summary.done == 1
    assert server.posts == 1


async def test_a_picture_beside_a_url(out: Path) -> None:
    """What came as bytes is on the disk before anything is fetched."""
    async with RawServer() as server:
        url = f"http://127.0.0.1:{server.port}/2.png"
        data = [{"url": url}, {"b64_json": base64.b64encode(PNG).decode()}]
        answer = reply(json.dumps({"data": data}).encode())
        server.scripts = [[answer], [reply(b"", status=404)], [PICTURE]]
        async with client_of(server) as client:
            ran = await run(client, many(1, n=2), out)
            assert isinstance(ran.failed["00001"], DownloadError)
            assert pictures(out) == ["00001-0.png"]
            assert (rows(out)[-1]["files"][0]["name"], rows(out)[-1]["urls"]) == ("images/00001-0.png", [url])
            ran = await run(client, many(1, n=2), out)
            assert ran.done == ["00001"]
        assert pictures(out) == ["00001-0.png", "00001-1.png"]
        assert [head.split()[0] for head in server.heads] == ["POST", "GET", "GET"]


async def test_a_part_that_failed(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one of several requests failed, what the others gave is fetched and kept."""
    server.script("ok", "status:400", "download_ok", "download_404")
    ran = await run(client, many(1, n=12), out)
    assert isinstance(ran.failed["00001"], PartialResultError)
    row = rows(out)[-1]
    assert (row["state"], row["billed"]) == ("failed", True)
    assert len(row["files"]) + len(row["urls"]) in (2, 10)
    assert len(row["urls"]) == 1


async def test_identical_requests(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Those that share an image share it when it is fetched, in whichever run that is."""
    server.script("download_404")
    items = items_of("an otter", "an otter", "a fox")
    first = await run(
        client, items, out, dedupe=True, concurrency=1
    )  # the otter is sent first, and gets the fault
    assert (first.summary.away, first.summary.done) == (2, 1)
    again = await run(client, items, out, dedupe=True)
    assert again.plan.to_fetch == ("00001",)
    assert (again.summary.done, server.posts) == (3, 2)


async def test_a_changed_request(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """What is paid for and not fetched yet is not replaced by another request under the same key."""
    from openai_images import BatchFolderError

    server.script("download_404")
    await run(client, items_of("an otter"), out)
    with pytest.raises(BatchFolderError, match="which may have been paid for: '00001'"):
        await run(client, items_of("a fox"), out)
    assert server.posts == 1


async def test_the_page(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """It says what is behind a URL, and no signature."""
    server.always("download_404")
    await run(client, many(1), out)
    page = (out / "index.html").read_text()
    assert "Not downloaded" in page
    assert "status 404" in page
    assert server.downloads[0].path not in page or "?" not in server.downloads[0].path


def test_rows_of_an_older_version() -> None:
    """It wrote such an item as failed: its URLs count all the same."""
    sent = {"state": "sent", "key": "a", "request": "d", "stem": "a", "pictures": 1, "estimate": "0.01"}
    failed = {"state": "failed", "key": "a", "request": "d", "error": "DownloadError", "billed": True}
    lines = [sent, {**failed, "cost": "0.005", "urls": ["https://pictures.test/a.png"], "message": "m"}]
    ledger = Ledger.from_journal(
        parse_journal(b"".join(json.dumps(line).encode() + b"\n" for line in lines)), {}
    )
    record = ledger.get("a")
    assert (record.state, record.urls, record.cost) == (
        "away",
        ("https://pictures.test/a.png",),
        Decimal("0.005"),
    )
    ledger.add({"state": "away", "key": "a", "urls": ["https://pictures.test/b.png"], "message": "m"})
    ledger.add({"state": "done", "key": "a", "files": [{"name": "a.png", "nbytes": 1, "sha256": "0"}]})
    assert (ledger.get("a").state, ledger.get("a").urls) == ("done", ())
    assert (ledger.get("a").cost, ledger.spending.known, ledger.spending.unpriced) == (
        Decimal("0.005"),
        Decimal("0.005"),
        0,
    )


async def test_a_request_for_urls(out: Path) -> None:
    """The retired models answer with URLs where nobody says otherwise."""
    async with (
        LocalImagesServer(pictures=PNG, legacy=True, now=lambda: FakeTime.WALL) as server,
        client_of(server) as client,
    ):
        items = items_of("an otter")
        request = GenerateRequest("an otter", model="dall-e-2", size="256x256")
        ran = await run(client, [type(items[0])("a", request)], out)
        assert (ran.done, pictures(out), server.posts) == (["a"], ["a.png"], 1)
