"""Batches in economy: sent through the provider's Batch API, waited for, collected; each batch is created once."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from openai_images import (
    APIConnectionError,
    Batch,
    BatchInputError,
    BatchOptions,
    ConfigurationError,
    ImagesClient,
    ModerationBlockedError,
    Succeeded,
)
from openai_images.batch.economy.submitter import SETTLE
from tests.helpers.batch_provider import BatchProvider, answer, replied, unanswered
from tests.helpers.batch_runs import items_of, many, pictures, rows, run, states
from tests.helpers.clients import PNG, FakeTime


def test_cancel_needs_economy() -> None:
    """It is for batches at the provider."""
    with pytest.raises(ConfigurationError, match="economy=True"):
        BatchOptions(cancel=True)


async def test_a_batch_from_beginning_to_end(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """One file, one batch; each image has its name, its row and half its price."""
    ran = await run(client, many(20), out, economy=True)
    assert ran.error is None
    assert sorted(outcome.key for outcome in ran.outcomes if isinstance(outcome, Succeeded)) == ran.done
    assert len(ran.done) == ran.summary.done == 20
    assert pictures(out) == [f"{number:05d}.png" for number in range(1, 21)]
    assert (out / "images/00007.png").read_bytes() == PNG
    assert provider.calls == ["upload", "create", "retrieve", "retrieve", "content"]
    (lines,) = provider.sent
    assert lines[0]["body"] == {
        "prompt": "otter number 1", "model": "gpt-image-2", "quality": "low", "size": "1024x1024"
    }  # fmt: skip
    assert states(out, "00001") == ["sent", "done"]
    steps = [row["step"] for row in rows(out) if row["state"] == "provider_batch"]
    assert steps == ["creating", "created", "ended"]
    sent = next(row for row in rows(out) if row["state"] == "sent")
    created = next(row for row in rows(out) if row.get("step") == "created")
    assert (sent["batch"], created["id"]) == (created["tag"], "batch_0")
    assert ran.summary.spent == 20 * (10 * Decimal("2.5") + 196 * Decimal(15)) / 1_000_000
    assert not (out / "downloads").exists()
    assert (out / "index.html").exists()


async def test_nothing_is_sent_twice(client: ImagesClient, provider: BatchProvider, out: Path) -> None:
    """Another run has nothing to do."""
    await run(client, many(3), out, economy=True)
    again = await run(client, many(3), out, economy=True)
    assert (again.outcomes, len(again.plan.done)) == ([], 3)
    assert provider.calls.count("create") == 1


async def test_failures_are_those_of_any_batch(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """Failed, not executed, unknown: by the same rules."""
    blocked = {
        "error": {"message": "No.", "type": "image_generation_user_error", "code": "moderation_blocked"}
    }
    broken = {"error": {"message": "Oh.", "type": "server_error", "code": None}}

    def answers(line: dict[str, object]) -> dict[str, object] | None:
        number = int(str(line["body"]["prompt"]).rpartition(" ")[2])  # type: ignore[index]
        match number:
            case 1:
                return replied(line, blocked, 400)
            case 2:
                return unanswered(line)
            case 3:
                return replied(line, broken, 500)
            case 4:
                return replied(line, {"created": 1, "data": [{"b64_json": "aGVsbG8gd29ybGQ="}]})
            case _:
                return answer(line)

    provider.answer = answers
    ran = await run(client, many(6), out, economy=True)
    assert ran.error is None
    assert ran.done == ["00005", "00006"]
    assert isinstance(ran.failed["00001"], ModerationBlockedError)
    ends = {f"{number:05d}": states(out, f"{number:05d}")[-1] for number in range(1, 7)}
    assert ends == {
        "00001": "failed", "00002": "refused", "00003": "unknown", "00004": "unknown", "00005": "done", "00006": "done"
    }  # fmt: skip
    summary = ran.summary
    assert (summary.failed, summary.unknown, summary.not_started, summary.submitted) == (1, 2, 1, 0)
    provider.answer = answer
    again = await run(client, many(6), out, economy=True)
    assert again.done == ["00002"]
    assert len(provider.sent[1]) == 1


@pytest.mark.parametrize("status", ["expired", "failed", "cancelled"])
async def test_a_whole_batch_that_did_not_run(
    status: str, client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """Without any file: nothing is billed, and all can be sent again."""
    provider.answer = lambda _: None
    provider.status = status
    ran = await run(client, many(5), out, economy=True)
    assert ran.summary.not_started == 5
    assert all(error.safe_to_resend for error in ran.failed.values())  # type: ignore[attr-defined]
    provider.answer, provider.status = answer, "completed"
    assert len((await run(client, many(5), out, economy=True)).done) == 5


async def test_lines_that_are_missing_may_have_been_billed(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """Where the provider counts more than its files have."""
    provider.answer = lambda line: answer(line) if "1" in line["body"]["prompt"] else unanswered(line)
    ran = await run(client, many(3), out, economy=True)
    assert ran.summary.not_started == 2
    provider.answer = answer
    provider.end = _without_file(provider)  # type: ignore[method-assign]
    ran = await run(client, many(3), out, economy=True)
    assert (ran.summary.unknown, ran.summary.done) == (2, 1)


def _without_file(provider: BatchProvider) -> Callable[[dict[str, Any], str], None]:
    end = provider.end

    def ended(batch: dict[str, Any], status: str) -> None:
        end(batch, status)
        del provider.files[str(batch["output_file_id"])]

    return ended


async def stop_at_the_provider(batch: Batch, provider: BatchProvider) -> None:
    """Stop the batch as soon as it has looked for what it sent."""
    waiting = asyncio.ensure_future(anext(batch))
    while "retrieve" not in provider.calls:
        await asyncio.sleep(0.01)
    batch.stop()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_stopping_leaves_it_at_the_provider(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """Another run collects it, and a run without economy sends nothing of it."""
    provider.looks = 10**9
    async with Batch(client, many(4), out, options=BatchOptions(economy=True)) as batch:
        await stop_at_the_provider(batch, provider)
    summary = batch.summary
    assert (summary.submitted, summary.unknown, summary.not_started, summary.reason) == (4, 0, 0, "stopped")
    plain = await run(client, many(4), out)
    assert (plain.outcomes, len(plain.plan.submitted)) == ([], 4)
    provider.looks = 1
    again = await run(client, many(4), out, economy=True)
    assert len(again.done) == 4
    assert provider.calls.count("create") == 1


async def test_an_abandoned_run_leaves_it_too(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """As does leaving the block."""
    provider.looks = 10**9
    async with Batch(client, many(2), out, options=BatchOptions(economy=True)) as batch:
        waiting = asyncio.ensure_future(anext(batch))
        while "retrieve" not in provider.calls:
            await asyncio.sleep(0.01)
        waiting.cancel()
    assert (batch.summary.submitted, batch.summary.unknown) == (2, 0)


async def test_cancel_collects_what_is_there(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """Nothing new is sent."""
    provider.looks = 10**9
    async with Batch(client, many(4), out, options=BatchOptions(economy=True)) as batch:
        await stop_at_the_provider(batch, provider)
    provider.looks = 1
    provider.answer = lambda line: (
        answer(line) if line["body"]["prompt"] == "otter number 2" else unanswered(line, "batch_cancelled")
    )
    ran = await run(client, many(6), out, economy=True, cancel=True)
    assert ran.error is None
    assert (ran.done, ran.summary.not_started) == (["00002"], 5)
    assert provider.calls.count("create") == 1


async def test_a_creation_whose_answer_is_lost_is_found(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """By the provider's list: it is not created again."""
    provider.lost = lambda: web.json_response({"error": {"message": "Oh."}}, status=500)
    ran = await run(client, many(3), out, economy=True)
    assert len(ran.done) == 3
    assert (provider.calls.count("create"), provider.calls.count("list")) == (1, 1)


async def test_a_creation_that_did_not_happen_is_repeated(
    client: ImagesClient, provider: BatchProvider, time: FakeTime, out: Path
) -> None:
    """When the list shows that, some time later."""
    failures = iter([web.json_response({"error": {"message": "Oh."}}, status=500), None])
    provider.creating = lambda: next(failures)
    ran = await run(client, many(3), out, economy=True)
    assert len(ran.done) == 3
    assert provider.calls[:6] == ["upload", "create", "list", "file", "list", "create"]
    assert SETTLE in time.slept
    assert len(provider.batches) == 1


async def test_a_creation_that_is_refused(client: ImagesClient, provider: BatchProvider, out: Path) -> None:
    """Its items are to be sent another time; the error is raised."""
    body = {
        "error": {"message": "Billing hard limit has been reached.", "code": "billing_hard_limit_reached"}
    }
    provider.creating = lambda: web.json_response(body, status=400)
    ran = await run(client, many(3), out, economy=True)
    assert type(ran.error).__name__ == "QuotaExhaustedError"
    assert (ran.summary.not_started, ran.summary.reason, ran.outcomes) == (3, "quota", [])
    provider.creating = lambda: None
    assert len((await run(client, many(3), out, economy=True)).done) == 3


async def test_a_creation_that_never_happens(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """Is given up; nothing was billed, and another run sends the items."""
    provider.creating = lambda: web.json_response({"error": {"message": "Oh."}}, status=500)
    ran = await run(client, many(3), out, economy=True)
    assert isinstance(ran.error, APIConnectionError)
    assert not ran.error.maybe_billed
    assert (ran.summary.not_started, ran.summary.unknown) == (3, 0)
    assert provider.calls.count("create") == 3
    provider.creating = lambda: None
    assert len((await run(client, many(3), out, economy=True)).done) == 3


@pytest.mark.parametrize("created", [True, False])
async def test_a_crash_before_the_id_is_known(
    created: bool, client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """The next run finds the batch by its tag, or sends the items once it is certain that there is none."""
    await run(client, many(3), out, economy=True)
    lines = (out / "journal.jsonl").read_text().splitlines(keepends=True)
    end = next(number for number, line in enumerate(lines) if '"created"' in line)
    (out / "journal.jsonl").write_text("".join(lines[:end]))
    for path in (out / "images").iterdir():
        path.unlink()
    if not created:
        provider.batches.clear()
    ran = await run(client, many(3), out, economy=True)
    assert len(ran.plan.submitted) == 3
    assert len(ran.done) == ran.summary.done == 3
    assert provider.calls.count("create") == (1 if created else 2)


async def test_a_crash_between_an_image_and_its_row(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """The image is not there twice."""
    await run(client, many(2), out, economy=True)
    lines = (out / "journal.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"done"' not in line and '"ended"' not in line]
    (out / "journal.jsonl").write_text("".join(kept))
    ran = await run(client, many(2), out, economy=True)
    assert len(ran.done) == 2
    assert pictures(out) == ["00001.png", "00002.png"]


async def test_a_broken_download_goes_on(client: ImagesClient, provider: BatchProvider, out: Path) -> None:
    """After the last whole line."""
    provider.content = lambda data, start: data[: len(data) // 2] if not start else data
    ran = await run(client, many(10), out, economy=True)
    assert len(ran.done) == 10
    assert provider.calls.count("content") == 2


async def test_a_download_that_breaks_for_good(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """Ends the run; another one collects the rest."""
    provider.content = lambda data, _: data[:10]
    ran = await run(client, many(2), out, economy=True)
    assert type(ran.error).__name__ == "APIConnectionError"
    assert ran.summary.submitted == 2
    provider.content = lambda data, _: data
    assert len((await run(client, many(2), out, economy=True)).done) == 2


async def test_a_budget(client: ImagesClient, provider: BatchProvider, out: Path) -> None:
    """Only what fits is sent; when costs are known there is room for more."""
    ran = await run(client, many(10), out, economy=True, budget=Decimal("0.012"))
    assert ran.error is None
    assert ran.summary.reason == "budget"
    assert ran.summary.spent is not None
    assert ran.summary.spent <= Decimal("0.012")
    assert 2 <= len(ran.done) < 10


async def test_a_budget_of_a_run_that_goes_on(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """What an earlier run has sent is reserved until its costs are known; then there is room for more."""
    items, options = many(10, size="auto", quality="auto"), {"economy": True, "budget": Decimal(1)}
    provider.looks = 10**9
    async with Batch(client, items, out, options=BatchOptions(**options)) as batch:
        await stop_at_the_provider(batch, provider)
    assert 0 < batch.summary.submitted < 10
    await run(client, items, out, budget=Decimal(1))  # nothing fits while they are at the provider
    assert provider.calls.count("create") == 1
    provider.looks = 1
    ran = await run(client, items, out, **options)
    assert (ran.error, ran.summary.reason, ran.summary.done) == (None, "", 10)


async def test_items_that_left_the_input(client: ImagesClient, provider: BatchProvider, out: Path) -> None:
    """They are paid for, so they are collected."""
    provider.looks = 10**9
    async with Batch(client, many(3), out, options=BatchOptions(economy=True)) as batch:
        await stop_at_the_provider(batch, provider)
    provider.looks = 1
    ran = await run(client, many(2), out, economy=True)
    assert ran.done == ["00001", "00002", "00003"]
    assert pictures(out) == ["00001.png", "00002.png", "00003.png"]


async def test_several_images_and_models(client: ImagesClient, provider: BatchProvider, out: Path) -> None:
    """One batch for each model."""
    items = [*many(2, n=2), *items_of("x", "y", "z", model="gpt-image-1.5")[2:]]
    ran = await run(client, items, out, economy=True)
    assert len(ran.done) == 3
    assert pictures(out) == ["00001-0.png", "00001-1.png", "00002-0.png", "00002-1.png", "00003.png"]
    assert sorted(len(lines) for lines in provider.sent) == [1, 2]


@pytest.mark.parametrize("params", [{"n": 23}, {"extra_body": {"stream": True}}])
async def test_what_economy_does_not_take(params: dict[str, object], client: ImagesClient, out: Path) -> None:
    """Is said before anything is sent."""
    with pytest.raises(BatchInputError, match="nothing was sent"):
        await run(client, many(2, **params), out, economy=True)
