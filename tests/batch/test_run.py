"""A batch from its beginning to its end, and again: what is sent, what never is, and what is told."""

import asyncio
import base64
import json
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from openai_images import (
    AuthenticationError,
    Batch,
    BatchInputError,
    BatchItem,
    BatchOptions,
    ConfigurationError,
    GenerateRequest,
    ImagesClient,
    Limits,
    ModerationBlockedError,
    Outcome,
    OutcomeUnknownError,
    Progress,
    QuotaExhaustedError,
    RetryPolicy,
    Succeeded,
    estimate_cost,
)
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, many, pictures, posts, rows, run, states
from tests.helpers.clients import PNG, client_of
from tests.helpers.crashing_filesystem import FailingDisk
from tests.helpers.leaks import nothing_left, until
from tests.helpers.raw_server import RawServer, reply


async def test_all_of_it(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Each item gives an outcome whose image is on the disk; a second run sends nothing."""
    async with nothing_left():
        first = await run(client, many(12), out, concurrency=4)
        await client.aclose()
    assert first.plan.to_send == first.plan.pending == tuple(f"{number:05d}" for number in range(1, 13))
    assert first.done == list(first.plan.to_send)
    assert pictures(out) == [f"{key}.png" for key in first.done]
    for outcome in first.outcomes:
        assert isinstance(outcome, Succeeded)
        assert outcome.result.image.path == out / "images" / f"{outcome.key}.png"
        assert (outcome.result.image.data, outcome.index) == (PNG, int(outcome.key) - 1)
        assert outcome.request.prompt == f"otter number {int(outcome.key)}"
    assert (first.summary.done, first.summary.earlier, first.summary.reason) == (12, 0, "")
    again = await run(client, many(12), out)
    assert (again.outcomes, again.plan.done, again.summary.earlier) == ([], first.plan.to_send, 12)
    assert server.posts == 12
    assert (out / "index.html").is_file()


async def test_the_rows(client: ImagesClient, out: Path) -> None:
    """A row says what was sent, and what came of it: file, digest, usage, cost, attempts, request."""
    await run(client, items_of("an otter"), out)
    begun, sent, done = rows(out)
    assert {name: begun[name] for name in ("state", "key", "format", "items", "to_send")} == {
        "state": "begun",
        "key": None,
        "format": 1,
        "items": 1,
        "to_send": 1,
    }
    assert sent["at"] == done["at"] == "2023-11-14T22:13:20.000Z"
    assert (sent["stem"], sent["pictures"], sent["attempt"], sent["estimate"]) == ("00001", 1, 1, "0.006000")
    assert sent["request"] == done["request"]
    assert (done["attempts"], done["size"], done["quality"], done["output_format"]) == (
        1,
        "1024x1024",
        "low",
        "png",
    )
    assert done["request_id"].startswith("req_")
    assert done["usage"]["output_tokens"] == done["usage"]["output_tokens_details"]["image_tokens"] == 196
    assert Decimal(done["cost"]) == Decimal(196 * 30 + done["usage"]["input_tokens"] * 5) / 1_000_000
    (file,) = done["files"]
    assert (file["name"], file["nbytes"], file["width"], file["media_type"]) == (
        "images/00001.png",
        70,
        1,
        "image/png",
    )


async def test_several_pictures(client: ImagesClient, out: Path) -> None:
    """An item with n > 1 has numbered files, also when its key is a name."""
    named = BatchItem("Ötter: one/two", GenerateRequest("an otter", model="gpt-image-2", n=3))
    ran = await run(client, [*items_of("an otter", n=2), named], out)
    assert ran.done == ["00001", "Ötter: one/two"]
    assert pictures(out) == [
        "00001-0.png",
        "00001-1.png",
        *(f"Ötter- one-two-{number}.png" for number in range(3)),
    ]


async def test_nothing_is_sent_before_it_is_iterated(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Entering makes a plan; leaving without iterating sends nothing."""
    async with Batch(client, many(3), out) as batch:
        assert len(batch.plan.to_send) == 3
        await asyncio.sleep(0)
    assert (server.posts, batch.summary.not_started) == (0, 3)


async def test_used_as_it_is_not_meant(client: ImagesClient, out: Path) -> None:
    """What cannot be done is told: no plan before it is entered, one entering, one iteration."""
    batch = Batch(client, many(1), out)
    for use in (lambda: batch.plan, lambda: batch.summary, batch.stop):
        with pytest.raises(RuntimeError, match="enter the batch first"):
            use()
    await batch.aclose()
    with pytest.raises(RuntimeError, match="a batch is entered once"):
        await batch.__aenter__()
    async with Batch(client, many(1), out) as batch:
        aiter(batch)
        with pytest.raises(RuntimeError, match="iterated once"):
            aiter(batch)
    await batch.aclose()


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        ([*items_of("a"), *items_of("b")], "item 1: the key '00001' is already used by item 0"),
        (
            [BatchItem("k", GenerateRequest(prompt), 3) for prompt in ("of one file", "of another")],
            "line 3: the key 'k' is already used by line 3",
        ),
        (items_of("a", svg={"model": {1, 2}}), "item 0: the request cannot be written as JSON"),
        (
            [BatchItem("k", GenerateRequest("\ud800"), 7)],
            "line 7: the request holds half of a surrogate pair",
        ),
        (items_of("a", n=0), "item 0: n must be a whole number from 1 to 1,000"),
        (items_of("a", n=10**9), "item 0: n must be a whole number from 1 to 1,000"),
        (items_of("a", n="2"), "item 0: n must be a whole number from 1 to 1,000"),
    ],
)
async def test_items_that_cannot_be(
    client: ImagesClient, out: Path, items: list[BatchItem], problem: str
) -> None:
    """Items that cannot be sent are told before anything is made or sent."""
    with pytest.raises(BatchInputError) as caught:
        await run(client, items, out)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)
    assert problem in str(caught.value)
    assert not out.exists()


async def test_no_items(client: ImagesClient, out: Path) -> None:
    """Nothing to do is done at once."""
    assert (await run(client, [], out)).summary.total == 0


# Failures.


async def test_a_block_in_each_tenth_row(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Blocked items fail, the others are done; blocked ones are sent again only when that is asked for."""
    prompts = [f"otter {number}" if number % 10 else f"wicked otter {number}" for number in range(1, 41)]
    server.script(*["ok" if number % 10 else "moderation_400" for number in range(1, 41)])
    ran = await run(client, items_of(*prompts), out, concurrency=1)
    assert sorted(ran.failed) == ["00010", "00020", "00030", "00040"]
    assert all(isinstance(error, ModerationBlockedError) for error in ran.failed.values())
    assert (ran.summary.done, ran.summary.failed, ran.summary.blocked, ran.error) == (36, 4, 4, None)
    row = rows(out)[-1]
    assert (row["state"], row["error"], row["code"]) == (
        "failed",
        "ModerationBlockedError",
        "moderation_blocked",
    )
    assert "wicked otter" not in json.dumps(row)
    assert "safety system" in (out / "index.html").read_text()
    again = await run(client, items_of(*prompts), out)
    assert (len(again.plan.failed), again.outcomes, server.posts) == (4, [], 40)
    last = await run(client, items_of(*prompts), out, retry_failed=True)
    assert (last.done, last.summary.done, server.posts) == (sorted(ran.failed), 40, 44)


@pytest.mark.parametrize("fault", ["reset_after_body", "status:500", "html_200"])
async def test_what_nobody_knows(
    client: ImagesClient, server: LocalImagesServer, out: Path, fault: str
) -> None:
    """What may have been billed is unknown: it is sent again only when that is asked for, not with the failures."""
    server.script(fault)
    ran = await run(client, many(3), out, concurrency=1)
    assert isinstance(ran.failed["00001"], OutcomeUnknownError)
    assert (ran.summary.unknown, ran.summary.done, ran.summary.unpriced) == (1, 2, 1)
    again = await run(client, many(3), out, retry_failed=True)
    assert (again.plan.unknown, again.outcomes) == (("00001",), [])
    last = await run(client, many(3), out, retry_unknown=True)
    assert (last.done, last.summary.done, posts(server)["otter number 1"]) == (["00001"], 3, 2)
    assert pictures(out) == ["00001.png", "00002.png", "00003.png"]


async def test_unknown_stays_unknown_when_it_is_refused(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """An unknown item that was to be sent again, and was refused, is still unknown: it may have been billed before."""
    server.script("reset_after_body", "quota_429")
    await run(client, many(1), out)
    refused = await run(client, many(1), out, retry_unknown=True)
    assert isinstance(refused.error, QuotaExhaustedError)
    assert refused.summary.unknown == 1
    last = await run(client, many(1), out)
    assert (last.plan.unknown, last.outcomes, server.posts) == (("00001",), [], 2)


@pytest.mark.parametrize("fault", ["quota_429", "status:401"])
async def test_an_error_of_all_items_after_a_lost_attempt(
    server: LocalImagesServer, out: Path, fault: str
) -> None:
    """The item may have been billed, so it has an outcome, although the batch stops."""
    server.script("reset_after_body", fault)
    async with client_of(server, retry=RetryPolicy(retry_unknown=True)) as client:
        ran = await run(client, many(1), out)
    assert list(ran.failed) == ["00001"]
    assert ran.outcomes[0].maybe_billed
    assert isinstance(ran.error, type(ran.failed["00001"]))
    assert (ran.summary.unknown, states(out, "00001")) == (1, ["sent", "sent", "unknown"])


@pytest.mark.parametrize("fault", ["quota_429", "quota_400"])
async def test_quota_exhausted_in_the_middle(
    client: ImagesClient, server: LocalImagesServer, out: Path, fault: str
) -> None:
    """It stops, what is in flight is kept, and the error is raised at the end; the rest can be sent another day."""
    server.script(*["ok"] * 10, *[fault] * 8)
    ran = await run(client, many(30), out, concurrency=4)
    assert isinstance(ran.error, QuotaExhaustedError)
    assert (ran.failed, ran.summary.reason, ran.summary.failed) == ({}, "quota", 0)
    assert (ran.summary.done, ran.summary.not_started) == (len(ran.done), 30 - len(ran.done))
    assert 10 <= len(ran.done) <= 13
    server.faults = ()
    again = await run(client, many(30), out)
    assert (again.summary.done, len(again.done)) == (30, 30 - len(ran.done))
    assert all(outcome.key not in ran.done for outcome in again.outcomes)


async def test_a_key_that_is_not_accepted(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """A key that was revoked stops the batch instead of failing all its items."""
    server.script("ok", "status:401")
    ran = await run(client, many(20), out, concurrency=1)
    assert isinstance(ran.error, AuthenticationError)
    assert (ran.summary.done, ran.summary.failed, ran.summary.not_started, ran.summary.reason) == (
        1,
        0,
        19,
        "key",
    )
    assert (await run(client, many(20), out)).summary.done == 20


async def test_pictures_before_the_answer_broke(out: Path) -> None:
    """Whole images of an answer that broke off are kept; the item is unknown, and a retry is for the others."""
    b64 = base64.b64encode(PNG).decode()
    whole = json.dumps({"data": [{"b64_json": b64}, {"b64_json": b64}]}).encode()
    cut = reply(whole[:-40], length=len(whole))
    rest = reply(json.dumps({"data": [{"b64_json": b64}]}).encode())
    async with RawServer([cut, "close"], [rest]) as server, client_of(server) as client:
        ran = await run(client, many(1, n=2), out)
        assert isinstance(ran.failed["00001"], OutcomeUnknownError)
        assert pictures(out) == ["00001-0.png"]
        assert (ran.summary.unknown, states(out, "00001")) == (1, ["sent", "unknown"])
        again = await run(client, many(1, n=2), out, retry_unknown=True)
        assert again.done == ["00001"]
        assert pictures(out) == ["00001-0.png", "00001-1.png"]


async def test_sent_again_by_the_clients_policy(server: LocalImagesServer, out: Path) -> None:
    """A client that sends what nobody knows again may pay twice knowingly: both are counted."""
    server.script("reset_after_body")
    async with client_of(server, retry=RetryPolicy(retry_unknown=True)) as client:
        ran = await run(client, many(1), out, budget=Decimal(1))
    assert states(out, "00001") == ["sent", "sent", "done"]
    assert (ran.summary.done, ran.summary.unpriced) == (1, 1)


# Stopping.


async def test_stop(server: LocalImagesServer, client: ImagesClient, out: Path) -> None:
    """Nothing new is started, what was sent arrives, and the iteration ends."""
    server.always("stall")
    outcomes: list[Outcome] = []
    async with Batch(client, many(10), out, options=BatchOptions(concurrency=3)) as batch:
        iterating = asyncio.ensure_future(anext(batch))
        await until(lambda: server.posts == 3)
        batch.stop()
        server.always(None)
        server.release()
        outcomes.append(await iterating)
        outcomes += [outcome async for outcome in batch]
    assert sorted(outcome.key for outcome in outcomes) == ["00001", "00002", "00003"]
    assert (batch.summary.reason, batch.summary.done, batch.summary.not_started) == ("stopped", 3, 7)
    assert (await run(client, many(10), out)).summary.done == 10


async def test_stop_before_it_begins(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """A batch that is stopped before it was iterated sends nothing."""
    async with Batch(client, many(3), out) as batch:
        batch.stop()
        assert [outcome async for outcome in batch] == []
    assert (server.posts, batch.summary.reason) == (0, "stopped")


async def test_stop_while_a_limit_is_waited_for(server: LocalImagesServer, out: Path) -> None:
    """Items that wait for the limit were not sent: they are dropped at once, and are pending."""
    server.always("rate_limited:3600")
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key) as client:
        async with Batch(client, many(4), out, options=BatchOptions(concurrency=2)) as batch:
            iterating = asyncio.ensure_future(anext(batch, None))
            await until(lambda: "refused" in states(out, "00001") or "refused" in states(out, "00002"))
            batch.stop()
            assert await iterating is None
        assert (batch.summary.not_started, batch.summary.unknown) == (4, 0)


@pytest.mark.parametrize("way", ["break", "cancel"])
async def test_leaving_early(client: ImagesClient, server: LocalImagesServer, out: Path, way: str) -> None:
    """What is in flight is cancelled, and the journal says that nobody knows about it."""
    server.script("ok", *["stall"] * 2)

    async def use() -> None:
        async with Batch(client, many(10), out, options=BatchOptions(concurrency=3)) as batch:
            async for _ in batch:
                await until(lambda: server.posts == 3)
                if way == "break":
                    break
            summaries.append(batch)

    summaries: list[Batch] = []
    async with nothing_left():
        task = asyncio.create_task(use())
        await until(lambda: server.posts == 3)
        if way == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task
        await client.aclose()
    ends = [row for row in rows(out) if row["state"] == "unknown"]
    assert len(ends) == 2  # the outcome in hand counts
    assert all(row["message"] == "the run ended before its response" for row in ends)
    again = await run(client, many(10), out)
    assert (len(again.plan.unknown), again.summary.done, server.posts) == (2, 8, 10)


async def test_a_paid_picture_is_kept_when_it_is_cancelled(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """An image that has arrived is written to its end, whoever leaves meanwhile."""
    writing, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(operation: str, path: Path) -> bool:
        if operation == "create":
            loop.call_soon_threadsafe(writing.set)
            go_on.wait(5)
        return False

    async def use() -> None:
        async with Batch(client, many(1), out, disk=FailingDisk(slow)) as batch:
            async for _ in batch:
                raise AssertionError

    task = asyncio.create_task(use())
    await writing.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert states(out, "00001") == ["sent", "done"]
    assert pictures(out) == ["00001.png"]


# Progress, money, sharing.


async def test_progress(client: ImagesClient, out: Path) -> None:
    """The counts of the run, and what it cost."""
    told: list[Progress] = []
    async with Batch(client, many(5), out, progress=told.append) as batch:
        async for _ in batch:
            pass
    assert (told[-1].total, told[-1].done, told[-1].images) == (5, 5, 5)
    assert (
        told[-1].spent
        == batch.summary.spent
        == sum(Decimal(row["cost"]) for row in rows(out) if "cost" in row)
    )


async def test_concurrency_is_the_clients(server: LocalImagesServer, out: Path) -> None:
    """Without an option as many items are in flight as the client's limits allow."""
    server.always("stall")
    async with (
        client_of(server, limits=Limits(concurrency=2)) as client,
        Batch(client, many(5), out) as batch,
    ):
        iterating = asyncio.ensure_future(anext(batch))
        await until(lambda: server.posts == 2)
        assert states(out, "00003") == []
        iterating.cancel()


async def test_the_clients_model_counts(server: LocalImagesServer, out: Path) -> None:
    """The model that the client adds is part of the request: priced, and not changed unseen."""
    items = [BatchItem("a", GenerateRequest("an otter", quality="low", size="1024x1024"))]
    async with client_of(server, model="gpt-image-2") as client:
        ran = await run(client, items, out, budget=Decimal(1))
    assert (ran.summary.done, ran.summary.unpriced) == (1, 0)
    async with client_of(server, model="gpt-image-2.6-flare") as client:
        with pytest.raises(ConfigurationError, match="1 item is changed"):
            await run(client, items, out)


async def test_dedupe(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Identical requests are sent once; each has its outcome and its row, with the same files."""
    items = items_of("an otter", "a raft", "an otter", "an otter")
    ran = await run(client, items, out, dedupe=True)
    assert ran.plan.to_send == ("00001", "00002")
    assert ran.plan.same == {"00003": "00001", "00004": "00001"}
    assert (ran.done, ran.summary.done, server.posts) == (["00001", "00002", "00003", "00004"], 4, 2)
    assert pictures(out) == ["00001.png", "00002.png"]
    assert [row["same_as"] for row in rows(out) if "same_as" in row] == ["00001", "00001"]
    assert ran.summary.spent == sum(Decimal(row["cost"]) for row in rows(out) if row.get("cost"))
    again = await run(client, [*items, *items_of("", "", "", "", "an otter")[4:]], out, dedupe=True)
    assert (again.plan.done, again.summary.done, server.posts) == (
        ("00001", "00002", "00003", "00004", "00005"),
        5,
        2,
    )


async def test_dedupe_of_what_fails(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """What befalls the one that was sent befalls those that share its images, now and in the next run."""
    server.script("moderation_400")
    items = items_of("an otter", "an otter")
    ran = await run(client, items, out, dedupe=True)
    assert (set(ran.failed), ran.summary.failed, ran.summary.blocked) == ({"00001", "00002"}, 2, 2)
    again = await run(client, items, out, dedupe=True)
    assert (again.plan.failed, again.plan.to_send) == (("00001", "00002"), ())
    retried = await run(client, items, out, dedupe=True, retry_failed=True)
    assert (retried.done, server.posts) == (["00001", "00002"], 2)


async def test_without_dedupe(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Identical prompts are items of their own."""
    ran = await run(client, items_of("an otter", "an otter"), out)
    assert (ran.summary.done, posts(server)["an otter"]) == (2, 2)


async def test_a_bug_of_the_callers(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """A progress callback that raises ends the run behind what was sent, and what was paid is kept."""

    def broken(progress: Progress) -> None:
        if progress.done == 2:
            raise ZeroDivisionError

    async with Batch(client, many(6), out, options=BatchOptions(concurrency=1), progress=broken) as batch:
        with pytest.raises(ZeroDivisionError):
            async for _ in batch:
                pass
    again = await run(client, many(6), out)
    assert (again.summary.done, max(posts(server).values())) == (6, 1)


async def test_a_refusal_costs_nothing(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Refusals for the rate take nothing from the budget: it pays for as many images as without them."""
    server.script(*["rate_limited:0.001", "rate_limited:0.001", "ok"] * 10)
    ran = await run(client, many(20), out, concurrency=1, budget=Decimal("0.0600"))
    assert (ran.summary.done, ran.summary.reason, ran.summary.unpriced) == (10, "budget", 0)


async def test_a_budget_waits_for_what_is_under_way(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """An item that does not fit beside those in flight may fit when they turn out cheaper than they might have been."""
    dear = [
        BatchItem(f"{number}", GenerateRequest(f"otter {number}", model="gpt-image-2")) for number in range(8)
    ]
    estimate = estimate_cost(dear[0].request)
    assert estimate is not None
    ran = await run(client, dear, out, concurrency=4, budget=estimate * 3 / 2)
    spent = ran.summary.spent
    assert spent is not None
    assert ran.summary.done > 1
    assert spent <= estimate * 3 / 2
    assert (spent + estimate > estimate * 3 / 2) == (ran.summary.reason == "budget")


async def test_a_budget_for_a_folder_without_prices(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Where nobody knows what earlier runs cost, a budget cannot be kept."""
    unpriced = [BatchItem("a", GenerateRequest("an otter", model="gpt-image-9"))]
    server.always("missing_fields")
    await run(client, items_of("an otter"), out)
    journal = out / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"estimate":"0.006000"', '"estimate":null'))
    with pytest.raises(ConfigurationError, match="1 earlier requests of this folder have neither a cost nor"):
        await run(client, [BatchItem("b", many(1)[0].request)], out, budget=Decimal(1))
    assert (await run(client, items_of("an otter"), out, budget=Decimal(1))).plan.done == ("00001",)
    with pytest.raises(
        ConfigurationError, match=r"the cost of 1 of the requests is unknown \(model 'gpt-image-9'\)"
    ):
        await run(client, unpriced, out, budget=Decimal(1))
    assert server.posts == 1


async def test_cancelled_while_it_opens(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Whoever leaves while the folder is being opened leaves it free."""
    opening, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(operation: str, path: Path) -> bool:
        loop.call_soon_threadsafe(opening.set)
        go_on.wait(5)
        return False

    async with nothing_left():
        task = asyncio.create_task(run(client, many(1), out, disk=FailingDisk(slow)))
        await opening.wait()
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert server.posts == 0
    assert (await run(client, many(1), out)).summary.done == 1


async def test_no_room_for_the_row_of_one_that_shares(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Where the row of an item that shares images does not fit, it fails, and the next run gives it the images."""
    written: list[str] = []

    def full(operation: str, path: Path) -> bool:
        written.extend([operation] if path.name == "journal.jsonl" and operation == "write" else [])
        return len(written) > 3

    items = items_of("an otter", "an otter")
    ran = await run(client, items, out, dedupe=True, disk=FailingDisk(full))
    assert (ran.done, list(ran.failed), ran.summary.reason) == (["00001"], ["00002"], "folder")
    again = await run(client, items, out, dedupe=True)
    assert (again.plan.done, server.posts) == (("00001", "00002"), 1)
