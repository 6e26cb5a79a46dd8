"""Each batch at the provider is created once: whatever its answer, its list, the key and the clock are like."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from openai_images import (
    BadRequestError,
    ImagesClient,
    NotFoundError,
    RateLimitError,
    RequestInvalidError,
)
from openai_images.batch.economy import submitter as economy_submit
from openai_images.batch.economy.submitter import SETTLE
from openai_images.batch.provider import files
from openai_images.models.options import Timing
from tests.helpers.batch_provider import BatchProvider, answer, replied
from tests.helpers.batch_runs import items_of, many, rows, run, states
from tests.helpers.clients import FakeTime, client_of


def forget_last_id(out: Path) -> None:
    """Leave the folder as a crash does before the id of the last batch is written."""
    lines = (out / "journal.jsonl").read_text().splitlines(keepends=True)
    end = max(number for number, row in enumerate(rows(out)) if row.get("step") == "created")
    (out / "journal.jsonl").write_text("".join(lines[:end]))
    for path in (out / "images").iterdir():
        path.unlink()


def error(message: str, status: int, **headers: str) -> web.Response:
    """A refusal, or whatever its status means."""
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


def wall_of(time: FakeTime, provider: BatchProvider) -> Timing:
    """A clock on which an upload takes five minutes."""

    def wall() -> float:
        return time.WALL + 300 * provider.calls.count("upload")

    return Timing(monotonic=time.monotonic, wall=wall, sleep=time.sleep, random=lambda: 0.0)


async def test_a_batch_that_the_list_shows_later(provider: BatchProvider, time: FakeTime, out: Path) -> None:
    """After a slow upload and a crash, on any clock: the list is read again two minutes later."""
    async with client_of(provider, timing=wall_of(time, provider)) as client:
        await run(client, many(3), out, economy=True)
        row = next(row for row in rows(out) if row.get("step") == "creating")
        assert (row["since"], row["input_file_id"]) == (time.WALL + 300, "file-0")
        forget_last_id(out)
        provider.page = lambda page: page if SETTLE in time.slept else page | {"data": []}
    ahead = Timing(
        monotonic=time.monotonic, wall=lambda: time.WALL + 3600, sleep=time.sleep, random=lambda: 0.0
    )
    async with client_of(provider, timing=ahead) as client:
        ran = await run(client, many(3), out, economy=True)
    assert ran.summary.done == 3
    assert provider.calls.count("create") == 1


@pytest.mark.parametrize("status", [301, 408, 409, 425, 500, 503])
@pytest.mark.parametrize("headers", [{}, {"x-should-retry": "true"}, {"Retry-After": "1"}])
async def test_a_gateway_answers_for_a_batch_that_exists(
    status: int, headers: dict[str, str], client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """Whatever it says of sending again, the list is read first."""
    answers = iter([error("Upstream.", status, **headers)])
    provider.lost = lambda: next(answers, None)
    ran = await run(client, many(3), out, economy=True)
    assert ran.error is None
    assert ran.summary.done == 3
    assert provider.calls.count("create") == 1


class Reset(web.Response):
    """No answer: the connection is reset."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        """Reset it."""
        assert request.transport is not None
        request.transport.abort()
        return await super().prepare(request)


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "7"}])
@pytest.mark.parametrize("after", ["an answer", "a reset", "a reset and a delay"])
async def test_a_creation_that_is_rate_limited(
    headers: dict[str, str],
    after: str,
    client: ImagesClient,
    provider: BatchProvider,
    time: FakeTime,
    out: Path,
) -> None:
    """A 429 creates nothing, and is sent again when its wait is over; once the outcome is unknown, nothing is."""
    refusals = [error("Slow down.", 429, **headers) for _ in range(3)]
    provider.creating = lambda: refusals.pop() if refusals else None
    if after != "an answer":
        provider.lost = Reset
    if after == "a reset and a delay":  # the list does not have it at once
        provider.page = lambda page: page if SETTLE in time.slept else page | {"data": []}
    ran = await run(client, many(3), out, economy=True)
    assert (ran.error, ran.summary.done) == (None, 3)
    assert len(provider.batches) == 1
    assert provider.calls.count("create") == 4
    assert provider.calls.count("upload") == 1
    assert provider.calls.count("list") == {"an answer": 0, "a reset": 1}.get(after, 2)
    if headers:
        assert [seconds for seconds in time.slept if seconds >= 7][:2] == [7, 7]
    assert len([row for row in rows(out) if row.get("step") == "creating"]) == 1


async def test_a_creation_that_is_rate_limited_for_too_long(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """There is no batch, nothing is unknown, and another run sends the items."""
    provider.creating = lambda: error("Slow down.", 429, **{"Retry-After": "9999"})
    ran = await run(client, many(3), out, economy=True)
    assert isinstance(ran.error, RateLimitError)
    assert (ran.summary.not_started, ran.summary.unknown, provider.batches) == (3, 0, {})
    provider.creating = lambda: None
    assert (await run(client, many(3), out, economy=True)).summary.done == 3
    assert len(provider.batches) == 1


async def test_a_list_without_metadata(client: ImagesClient, provider: BatchProvider, out: Path) -> None:
    """A batch is found by its input file, too."""
    answers = iter([error("Oh.", 500)])
    provider.lost = lambda: next(answers, None)
    provider.page = lambda page: page | {"data": [batch | {"metadata": None} for batch in page["data"]]}
    ran = await run(client, many(3), out, economy=True)
    assert ran.summary.done == 3
    assert provider.calls.count("create") == 1


async def test_another_project(client: ImagesClient, provider: BatchProvider, out: Path) -> None:
    """Its list says nothing: what was about to be created is not created there, and can be given up."""
    await run(client, many(3), out, economy=True)
    forget_last_id(out)
    async with BatchProvider() as other, client_of(other) as stranger:
        ran = await run(stranger, many(3), out, economy=True)
        assert isinstance(ran.error, NotFoundError)
        assert "use the key and project" in str(ran.error)
        assert (ran.summary.submitted, other.calls) == (3, ["list", "file"])
        ran = await run(stranger, many(3), out, economy=True, retry_unknown=True)
        assert (ran.error, ran.summary.unknown, other.batches) == (None, 3, {})
        assert len(ran.failed) == 3
        ran = await run(stranger, many(3), out, economy=True, retry_unknown=True)
        assert ran.summary.done == 3


async def test_one_that_cannot_be_found_does_not_keep_others(
    client: ImagesClient, provider: BatchProvider, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are collected; its error is raised at the end, and nothing new is sent."""
    monkeypatch.setattr(economy_submit, "MAX_ITEMS", 3)
    await run(client, many(6), out, economy=True)
    forget_last_id(out)
    del provider.files[str(provider.batches.pop("batch_1")["input_file_id"])]
    ran = await run(client, many(7), out, economy=True)
    assert isinstance(ran.error, NotFoundError)
    assert (ran.summary.done, ran.summary.submitted, ran.summary.not_started) == (3, 3, 1)
    assert provider.calls.count("create") == 2


@pytest.mark.parametrize("is_there", [True, False])
async def test_the_first_row_of_a_batch_is_lost(
    is_there: bool, client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """It is found by the rows of its items; if it is not there, nothing proves that it was not created."""
    await run(client, many(3), out, economy=True)
    forget_last_id(out)
    lines = (out / "journal.jsonl").read_text().splitlines(keepends=True)
    (out / "journal.jsonl").write_text("".join(line for line in lines if '"creating"' not in line))
    if not is_there:
        provider.batches.clear()
    ran = await run(client, many(3), out, economy=True)
    assert (ran.summary.done, ran.summary.submitted) == ((3, 0) if is_there else (0, 3))
    assert isinstance(ran.error, NotFoundError) is not is_there
    assert provider.calls.count("create") == 1


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
async def test_two_batches_of_one_tag(
    status: str, client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """The one with images counts, also if it is the newer one; one that has ended is not cancelled."""
    await run(client, many(3), out, economy=True)
    forget_last_id(out)
    counts = {"total": 3, "completed": 0, "failed": 0}
    older = {"id": "batch_9", "created_at": 1_699_999_999, "status": status, "output_file_id": None}
    provider.batches["batch_9"] = provider.batches["batch_0"] | older | {"request_counts": counts}
    ran = await run(client, many(3), out, economy=True)
    assert ran.summary.done == 3
    assert "cancel" not in provider.calls


async def test_two_batches_that_have_run(
    client: ImagesClient, provider: BatchProvider, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was paid twice is said."""
    await run(client, many(3), out, economy=True)
    forget_last_id(out)
    provider.batches["batch_9"] = provider.batches["batch_0"] | {"id": "batch_9"}
    ran = await run(client, many(3), out, economy=True)
    assert ran.summary.done == 3
    assert "the provider has batch batch_0 twice; batch_9 has run, too, and is billed" in caplog.text
    assert "cancel" not in provider.calls


@pytest.mark.parametrize("status", [409, 500])
async def test_the_second_batch_cannot_be_cancelled(
    status: int, client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """As it has just ended, or for another reason: the first one is collected."""
    await run(client, many(3), out, economy=True)
    forget_last_id(out)
    newer = {"id": "batch_9", "created_at": 1_700_000_001, "status": "in_progress"}
    provider.batches["batch_9"] = provider.batches["batch_0"] | newer
    provider.on_cancel = lambda _: error("Cannot cancel a batch with status 'completed'.", status)
    ran = await run(client, many(3), out, economy=True)
    assert ran.error is None
    assert ran.summary.done == 3


async def test_only_what_was_asked_for_is_sent_again(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """What `retry_unknown` was about to send, when the run was killed, is unknown again."""
    broken = {"error": {"message": "Oh.", "type": "server_error"}}
    provider.answer = lambda line: replied(line, broken, 500)
    assert (await run(client, many(3), out, economy=True)).summary.unknown == 3
    await run(client, many(3), out, economy=True, retry_unknown=True)
    forget_last_id(out)
    provider.batches.popitem()
    provider.answer = answer
    ran = await run(client, [*many(3), *items_of(*"abcd")[3:]], out, economy=True)
    assert (ran.done, ran.summary.unknown) == (["00004"], 3)
    assert states(out, "00001")[-1] == "refused"
    again = await run(client, many(3), out, economy=True, retry_unknown=True)
    assert again.summary.done == 3


async def test_cancelling_sends_nothing(
    client: ImagesClient, provider: BatchProvider, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that did not fit into the provider's queue is not sent again."""
    monkeypatch.setattr(economy_submit, "MAX_ITEMS", 3)
    await run(client, many(6), out, economy=True)
    forget_last_id(out)
    full = {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached."}]}
    counts = {"total": 3, "completed": 0, "failed": 0}
    provider.batches["batch_1"] |= {"status": "failed", "errors": full, "request_counts": counts}
    ran = await run(client, many(6), out, economy=True, cancel=True)
    assert ran.error is None
    assert (ran.summary.done, ran.summary.not_started) == (3, 3)
    assert provider.calls.count("create") == 2


async def test_a_request_that_is_too_large(
    client: ImagesClient, provider: BatchProvider, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Has no batch of its own, which would be empty."""
    monkeypatch.setattr(files, "MAX_BYTES", 150)
    ran = await run(client, items_of("x" * 500), out, economy=True)
    assert isinstance(ran.failed["00001"], RequestInvalidError)
    assert provider.calls == []


async def test_a_model_that_is_refused(
    client: ImagesClient, provider: BatchProvider, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other models' requests are sent; the error is raised at the end."""
    monkeypatch.setattr(economy_submit, "MAX_ITEMS", 2)

    def refuse() -> web.Response | None:
        is_refused = b"gpt-image-1.5" in list(provider.files.values())[-1]
        return error("This model is not available in batches.", 400) if is_refused else None

    provider.creating = refuse
    items: list[Any] = [*items_of(*"abc", model="gpt-image-1.5"), *items_of(*"---xyz")[3:]]
    for _ in range(2):
        ran = await run(client, items, out, economy=True)
        assert isinstance(ran.error, BadRequestError)
        assert (ran.summary.done, ran.summary.not_started) == (3, 3)
    assert provider.calls.count("create") == 1 + 2 + 1
    provider.creating = lambda: None
    assert (await run(client, items, out, economy=True)).summary.done == 6
