"""Collecting what the provider has: one odd answer loses no image, and one bad batch keeps no other one waiting."""

import asyncio
import errno
import json
import logging
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from openai_images import (
    Batch,
    BatchItem,
    BatchOptions,
    ConfigurationError,
    EditRequest,
    ImagesClient,
    Limits,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ResponseTooLargeError,
)
from openai_images.batch.economy import submitter as economy_submit
from tests.helpers.batch_provider import (
    USAGE,
    Answer,
    BatchProvider,
    answer,
    as_it_should,
    replied,
    unanswered,
)
from tests.helpers.batch_runs import MODEL, many, pictures, rows, run, states
from tests.helpers.clients import B64, PNG, FakeTime, client_of
from tests.helpers.crashing_filesystem import HastyDisk

HOUR = 3600.0


@pytest.fixture
def three_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches have three items."""
    monkeypatch.setattr(economy_submit, "MAX_ITEMS", 3)


def status(code: int, message: str = "Oh.") -> web.Response:
    """An error."""
    return web.json_response({"error": {"message": message}}, status=code)


def once(response: Callable[[], web.StreamResponse]) -> Answer:
    """Answer so the first time."""
    left = [response]
    return lambda _: left.pop()() if left else None


def of(batch: str, response: Callable[[], web.StreamResponse]) -> Answer:
    """Answer so for this batch."""
    return lambda request: response() if request.match_info["id"] == batch else None


async def submit(client: ImagesClient, provider: BatchProvider, items: list[BatchItem], out: Path) -> None:
    """Leave them at the provider."""
    looks, provider.looks = provider.looks, 10**9
    async with Batch(client, items, out, options=BatchOptions(economy=True)) as batch:
        waiting = asyncio.ensure_future(anext(batch))
        while not 0 < len(provider.batches) <= provider.calls.count("retrieve"):
            await asyncio.sleep(0.01)
        batch.stop()
        with pytest.raises(StopAsyncIteration):
            await waiting
    provider.looks = looks


async def test_ids_that_come_back_changed_prove_nothing(
    client: ImagesClient, provider: BatchProvider, time: FakeTime, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Their images cannot be told apart: the items may have been billed, and are not sent again."""
    provider.answer = lambda line: {**answer(line), "custom_id": line["custom_id"].upper()}
    ran = await run(client, many(3), out, economy=True)
    assert (ran.error, ran.summary.unknown, ran.summary.not_started) == (None, 3, 0)
    assert "3 lines in the files of batch batch_0" in caplog.text
    assert max(time.slept) < 60
    await run(client, many(3), out, economy=True)
    assert provider.calls.count("create") == 1


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("fault", ["file 404", "file id", "empty file", "torn file"])
async def test_answers_that_come_late(
    fault: str, counts: bool, client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """The files are read again, although the batch has ended."""
    real_end = provider.end
    hidden: list[str] = []

    def end(batch: dict[str, Any], status: str) -> None:
        real_end(batch, status)
        if not counts:
            batch["request_counts"] = {"total": 0, "completed": 0, "failed": 0}
        if fault == "file id":
            hidden.append(batch["output_file_id"])
            batch["output_file_id"] = None

    def looking(request: web.Request) -> None:
        batch = provider.batches[request.match_info["id"]]
        if batch["status"] == "completed":
            batch["output_file_id"] = hidden[0]

    provider.end = end  # type: ignore[method-assign]
    if fault == "file id":
        provider.looking = looking
    elif fault == "empty file":
        provider.reading = once(lambda: web.Response(body=b""))
    elif fault == "torn file":
        provider.reading = once(lambda: web.Response(body=provider.files["file-1"][:-60]))
    else:
        provider.reading = once(lambda: status(404))
    ran = await run(client, many(3), out, economy=True)
    assert (ran.error, ran.summary.done) == (None, 3)
    assert states(out, "00001") == ["sent", "done"]


@pytest.mark.parametrize("first", [lambda line: replied(line, {}, 500), unanswered])
async def test_an_error_before_the_images(
    first: Callable[[dict[str, Any]], dict[str, Any]],
    client: ImagesClient,
    provider: BatchProvider,
    out: Path,
) -> None:
    """The images of a request count, whatever other lines say of it: they are paid for."""
    real_end = provider.end

    def end(batch: dict[str, Any], status: str) -> None:
        real_end(batch, status)
        lines = provider.files[batch["output_file_id"]].splitlines(keepends=True)
        errors = [json.dumps(first(json.loads(line))).encode() + b"\n" for line in lines[:2]]
        provider.files[batch["output_file_id"]] = b"".join((*errors, *lines))

    provider.end = end  # type: ignore[method-assign]
    ran = await run(client, many(3), out, economy=True)
    assert (ran.error, ran.failed, ran.summary.done) == (None, {}, 3)


async def test_answers_that_never_come(
    client: ImagesClient, provider: BatchProvider, time: FakeTime, out: Path
) -> None:
    """Are given up after an hour, which is said."""
    provider.reading = lambda _: status(404)
    reasons: set[str | None] = set()
    options = BatchOptions(economy=True)
    start = time.skipped
    async with Batch(
        client, many(3), out, options=options, progress=lambda seen: reasons.add(seen.wait_reason)
    ) as batch:
        async for _ in batch:
            pass
    assert batch.summary.unknown == 3
    assert HOUR <= time.skipped - start < HOUR + 60
    assert provider.calls.count("content") < 12
    assert any("lines are missing" in str(reason) for reason in reasons)


async def test_a_file_that_stays_torn(
    client: ImagesClient, provider: BatchProvider, time: FakeTime, out: Path
) -> None:
    """After an hour, the complete image of its last line is kept."""
    provider.reading = lambda _: web.Response(body=provider.files["file-1"][:-200])
    start = time.skipped
    ran = await run(client, many(2, n=2), out, economy=True)
    assert HOUR <= time.skipped - start < HOUR + 60
    assert (ran.error, ran.summary.done, ran.summary.unknown, ran.summary.incomplete) == (None, 1, 1, 1)
    assert pictures(out) == ["00001-0.png", "00002-0.png", "00002-1.png"]


@pytest.mark.usefixtures("three_each")
@pytest.mark.parametrize("fault", ["look 404", "file 403", "odd look"])
async def test_one_bad_batch_keeps_no_other_waiting(
    fault: str, client: ImagesClient, provider: BatchProvider, time: FakeTime, out: Path
) -> None:
    """Its error is raised at the end, and another run collects it."""
    await submit(client, provider, many(9), out)
    if fault == "look 404":
        provider.looking = of("batch_0", lambda: status(404))
    elif fault == "odd look":
        provider.looking = of("batch_0", lambda: web.json_response({"hello": "there"}))
    else:
        denied = "batch_0"
        provider.reading = lambda request: (
            status(403) if request.match_info["id"] == provider.batches[denied]["output_file_id"] else None
        )
    for _ in range(2):
        ran = await run(client, many(12), out, economy=True)
        assert (ran.summary.done, ran.summary.submitted) == (9, 3)
        if fault != "odd look":
            assert isinstance(ran.error, NotFoundError | PermissionDeniedError)
    provider.looking = provider.reading = as_it_should
    ran = await run(client, many(12), out, economy=True)
    assert (ran.error, ran.summary.done) == (None, 12)
    assert provider.calls.count("create") == 4


@pytest.mark.usefixtures("three_each")
async def test_one_batch_that_never_ends(
    client: ImagesClient, provider: BatchProvider, time: FakeTime, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are collected, two days later."""
    await submit(client, provider, many(9), out)
    monkeypatch.setattr(FakeTime, "WALL", FakeTime.WALL + 48 * HOUR)
    provider.looking = of("batch_0", lambda: web.json_response({"id": "batch_0", "status": "finalizing"}))
    async with client_of(provider, timing=time.timing) as later:
        ran = await run(later, many(9), out, economy=True)
    assert "should have ended hours ago" in str(ran.error)
    assert (ran.summary.done, ran.summary.submitted) == (6, 3)


@pytest.mark.parametrize("retry_unknown", [False, True])
async def test_a_batch_that_is_not_visible_at_once(
    retry_unknown: bool, client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """It is new: nobody gives it up."""
    provider.looking = once(lambda: status(404))
    ran = await run(client, many(3), out, economy=True, retry_unknown=retry_unknown)
    assert (ran.error, ran.summary.done) == (None, 3)
    assert provider.calls.count("create") == 1


async def test_a_new_batch_that_stays_invisible(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """Is left to another run, also with `retry_unknown`: that one gives it up."""
    provider.looking = lambda _: status(404)
    ran = await run(client, many(3), out, economy=True, retry_unknown=True)
    assert isinstance(ran.error, NotFoundError)
    assert (ran.summary.submitted, ran.summary.unknown) == (3, 0)
    ran = await run(client, many(3), out, economy=True, retry_unknown=True)
    assert ran.summary.unknown == 3


class _FullDisk(HastyDisk):
    """Neither the folder nor any other place has room."""

    def publish(self, part: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    def create(self, path: Path) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_images_that_fit_nowhere_stay_at_the_provider(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """Until there is room."""
    ran = await run(client, many(3), out, economy=True, disk=_FullDisk())
    assert ran.error is not None
    assert (ran.summary.submitted, ran.summary.unknown, ran.summary.done) == (3, 0, 0)
    ran = await run(client, many(3), out, economy=True)
    assert (ran.error, ran.summary.done) == (None, 3)
    assert len(pictures(out)) == 3
    assert provider.calls.count("create") == 1


async def test_lines_too_large_that_name_no_request(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """They concern nobody."""
    real_end = provider.end

    def end(batch: dict[str, Any], status: str) -> None:
        real_end(batch, status)
        provider.files[batch["output_file_id"]] += b"[" * 5_000_000 + b"\n"

    provider.end = end  # type: ignore[method-assign]
    ran = await run(client, many(3), out, economy=True)
    assert (ran.error, ran.summary.done, rows(out)[-1]["step"]) == (None, 3, "ended")


async def test_a_budget_and_unknown_costs_at_the_provider(
    client: ImagesClient, provider: BatchProvider, out: Path, tmp_path: Path
) -> None:
    """They are collected first; nothing is sent before their costs are known."""
    photo = tmp_path / "fox.png"
    photo.write_bytes(PNG)
    edits = [
        BatchItem(f"e{number}", EditRequest(f"{number} hats", image=photo, model=MODEL))
        for number in range(3)
    ]
    usage = {**USAGE, "input_tokens_details": {"text_tokens": 4, "image_tokens": 6}}
    provider.answer = lambda line: replied(line, {"created": 1, "data": [{"b64_json": B64}], "usage": usage})
    await submit(client, provider, edits, out)
    items = [*edits, *many(3)]
    with pytest.raises(ConfigurationError, match="3 requests at the provider"):
        await run(client, items, out, budget=Decimal(1))
    ran = await run(client, items, out, economy=True, budget=Decimal(1))
    assert (ran.error, ran.summary.reason, ran.summary.done) == (None, "budget", 3)
    ran = await run(client, items, out, economy=True, budget=Decimal(1))
    assert (ran.error, ran.summary.done) == (None, 6)


async def test_images_over_the_limit_stay_at_the_provider(
    client: ImagesClient, provider: BatchProvider, time: FakeTime, out: Path
) -> None:
    """Until the limit is higher, or they are given up."""
    for _ in range(2):
        async with client_of(provider, timing=time.timing, limits=Limits(max_picture_bytes=8)) as small:
            ran = await run(small, many(3), out, economy=True)
            assert isinstance(ran.error, ResponseTooLargeError)
            assert (ran.summary.submitted, ran.summary.unknown) == (3, 0)
    ran = await run(client, many(3), out, economy=True)
    assert (ran.error, ran.summary.done, provider.calls.count("create")) == (None, 3, 1)
    other = out.with_name("given up")
    async with client_of(provider, timing=time.timing, limits=Limits(max_picture_bytes=8)) as small:
        ran = await run(small, many(3), other, economy=True, retry_unknown=True)
        assert (ran.error, ran.summary.submitted, ran.summary.unknown) == (None, 0, 3)


class Unended(web.Response):
    """The whole body, and then the end of the connection in place of the last chunk."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send it."""
        assert isinstance(self.body, bytes)
        assert self._req is not None
        assert self._req.transport is not None
        await self.write(self.body)
        await asyncio.sleep(0.05)
        self._req.transport.close()


async def test_a_download_that_breaks_after_its_last_byte(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """It is resumed where there is still a byte: servers reject a range that begins at the end."""
    left = [True]

    def reading(request: web.Request) -> web.Response | None:
        data = provider.files[request.match_info["id"]]
        if left and left.pop():
            response = Unended(body=data)
            response.enable_chunked_encoding()
            return response
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        return status(416) if start >= len(data) else None

    provider.reading = reading
    ran = await run(client, many(3), out, economy=True)
    assert (ran.error, ran.summary.done, provider.calls.count("content")) == (None, 3, 2)


async def test_a_download_without_ranges_that_always_breaks(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """It ends, and what came before it broke is kept once."""

    def content(data: bytes, start: int) -> bytes:
        return data[: len(data) * 2 // 3]

    provider.content = content
    provider.has_ranges = False
    ran = await asyncio.wait_for(run(client, many(6), out, economy=True, max_outage=20.0), 30)
    assert type(ran.error).__name__ == "APIConnectionError"
    assert ran.summary.done == len(pictures(out)) == 6 - ran.summary.submitted
    assert 0 < ran.summary.submitted < 6
    provider.content = lambda data, _: data
    assert (await run(client, many(6), out, economy=True)).summary.done == 6


async def test_an_outage_during_a_download(
    client: ImagesClient, provider: BatchProvider, time: FakeTime, out: Path
) -> None:
    """It is waited for, as it is elsewhere."""
    left = iter(range(10))

    def reading(_: web.Request) -> web.Response | None:
        return None if next(left, None) is None else status(500)

    provider.reading = reading
    ran = await run(client, many(3), out, economy=True)
    assert (ran.error, ran.summary.done) == (None, 3)
    assert provider.calls.count("content") == 11


async def test_reasons_repeat_no_prompt(
    client: ImagesClient, provider: BatchProvider, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of any item: neither in a row, nor in an error, nor in a log."""
    provider.status = "failed"
    provider.answer = lambda _: None
    real_end = provider.end

    def end(batch: dict[str, Any], status: str) -> None:
        real_end(batch, status)
        said = f"Bad prompt 'otter number 2' for {provider.api_key}, otter number 3"
        batch["errors"] = {"data": [{"code": "invalid_prompt", "message": said, "line": 2}]}

    provider.end = end  # type: ignore[method-assign]
    with caplog.at_level(logging.DEBUG, "openai_images"):
        ran = await run(client, many(3), out, economy=True)
    assert "invalid_prompt (line 2)" in caplog.text
    said = json.dumps(rows(out)) + caplog.text + "".join(map(str, ran.failed.values()))
    assert "line 2: Bad prompt" in said
    assert "otter number" not in said
    assert provider.api_key not in said


@pytest.mark.usefixtures("three_each")
@pytest.mark.parametrize(("code", "is_raised"), [(429, True), (409, False), (400, False)])
async def test_a_cancellation_that_fails(
    code: int, is_raised: bool, client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """It is raised when the others were cancelled, unless the batch has ended."""
    await submit(client, provider, many(6), out)
    provider.on_cancel = of("batch_0", lambda: status(code))
    ran = await run(client, many(6), out, economy=True, cancel=True)
    assert provider.batches["batch_1"]["status"] in ("cancelling", "cancelled")
    assert isinstance(ran.error, RateLimitError) is is_raised
    assert ran.summary.submitted == (6 if is_raised else 0)
