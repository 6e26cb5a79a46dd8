"""The local server runs batches: their objects and states, their files, what fails on command, and what is counted."""

import asyncio
import base64
import gc
import json
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import aiohttp
import openai
import pytest
from openai.types import Batch

from openai_images.server import BatchPace, LocalImagesServer, RecordedBatch, RecordedBatchRequest
from openai_images.server.batches import batch as one_batch, runner, service
from tests.helpers.edit_images import encoded, house
from tests.helpers.server_thread import NOW, Clock

GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
MODEL = "gpt-image-2"


@pytest.fixture
def clock() -> Clock:
    """The server's wall clock."""
    return Clock()


@pytest.fixture
async def server(clock: Clock, picture: bytes) -> AsyncIterator[LocalImagesServer]:
    """A server that paints nothing."""
    async with LocalImagesServer(pictures=picture, now=clock) as server:
        yield server


@pytest.fixture
async def official(server: LocalImagesServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, without retries."""
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
        yield client


def line(custom_id: Any, url: str = GENERATIONS, **body: Any) -> dict[str, Any]:
    """One request of an input file."""
    body = {"model": MODEL, "prompt": f"image {custom_id}", "size": "1024x1024"} | body
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def lines(count: int) -> list[dict[str, Any]]:
    """So many requests."""
    return [line(f"item-{number}") for number in range(count)]


Start = Callable[..., Awaitable[Batch]]


@pytest.fixture
def start(official: openai.AsyncOpenAI) -> Start:
    """Uploads requests (or bytes) and creates their batch."""

    async def create(requests: Any, **options: Any) -> Batch:
        data = (
            requests
            if isinstance(requests, bytes)
            else b"".join(json.dumps(r).encode() + b"\n" for r in requests)
        )
        file = await official.files.create(file=("in.jsonl", data), purpose="batch")
        options = {"endpoint": GENERATIONS} | options
        return await official.batches.create(input_file_id=file.id, completion_window="24h", **options)

    return create


async def reach(official: openai.AsyncOpenAI, batch: Batch, status: str) -> Batch:
    """Polls until the batch has this state."""
    async with asyncio.timeout(60):
        while (batch := await official.batches.retrieve(batch.id)).status != status:
            assert batch.status not in {"completed", "failed", "expired", "cancelled"}, batch
            await asyncio.sleep(0.005)
    return batch


async def rows(official: openai.AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of an output file."""
    assert file_id is not None
    content = (await official.files.content(file_id)).content
    return [json.loads(text) for text in content.splitlines()]


async def test_a_batch_from_end_to_end(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer, picture: bytes
) -> None:
    """The official client creates, polls and reads it; each request is run once, in any order."""
    created = await start(lines(20), metadata={"run": "7"})
    assert created.to_dict(exclude_unset=False) == {
        "id": created.id,
        "object": "batch",
        "endpoint": GENERATIONS,
        "model": None,
        "errors": None,
        "input_file_id": created.input_file_id,
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": int(NOW),
        "in_progress_at": None,
        "expires_at": int(NOW) + 86_400,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
        },
        "metadata": {"run": "7"},
    }
    done = await reach(official, created, "completed")
    Batch.model_validate(done.model_dump())
    assert (done.model, done.error_file_id, done.metadata) == (MODEL, None, {"run": "7"})
    assert done.in_progress_at == done.finalizing_at == done.completed_at == int(NOW)
    output = await rows(official, done.output_file_id)
    names = [row["custom_id"] for row in output]
    assert names != sorted(names), "the order is arbitrary"
    assert set(names) == {f"item-{number}" for number in range(20)}
    row = output[0]
    assert list(row) == ["id", "custom_id", "response", "error"]
    assert (row["error"], row["response"]["status_code"]) == (None, 200)
    assert row["response"]["request_id"].startswith("req_")
    body = row["response"]["body"]
    assert base64.b64decode(body["data"][0]["b64_json"]) == picture
    assert done.usage is not None
    assert done.usage.total_tokens == 20 * body["usage"]["total_tokens"] > 0
    file = await official.files.retrieve(str(done.output_file_id))
    assert (file.purpose, file.filename) == ("batch_output", f"{done.id}_output.jsonl")
    assert file.expires_at == int(NOW) + 2_592_000
    assert server.posts == 0
    assert server.batches == [
        RecordedBatch(
            id=done.id,
            status="completed",
            endpoint=GENERATIONS,
            input_file_id=done.input_file_id,
            metadata={"run": "7"},
            total=20,
            completed=20,
            failed=0,
        )
    ]
    assert Counter(request.custom_id for request in server.batch_requests) == dict.fromkeys(names, 1)
    ran = server.batch_requests[0]
    assert isinstance(ran, RecordedBatchRequest)
    assert ran.billed
    assert ran.json == line(ran.custom_id)["body"]


async def test_states_one_after_another(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer, clock: Clock
) -> None:
    """With `hold` each lasts until `release`."""
    server.reset(batch_pace=BatchPace(hold=True))
    batch = await start(lines(2), output_expires_after={"anchor": "created_at", "seconds": 3600})
    for status in ("validating", "in_progress", "finalizing", "completed"):
        batch = await reach(official, batch, status)
        clock.now += 60
        server.release()
    times = batch.in_progress_at, batch.finalizing_at, batch.completed_at
    assert times == (int(NOW) + 60, int(NOW) + 120, int(NOW) + 180)
    file = await official.files.retrieve(str(batch.output_file_id))
    assert file.expires_at == int(NOW) + 180 + 3600


async def test_a_pace(official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer) -> None:
    """Seconds for each state, and requests per second, by the server's clock."""
    slept: list[float] = []
    time = [0.0]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        time[0] += seconds
        await asyncio.sleep(0)

    pace = BatchPace(seconds_per_state=5, requests_per_second=2)
    server.reset(batch_pace=pace, sleep=sleep, clock=lambda: time[0])
    await reach(official, await start(lines(3)), "completed")
    assert slept == [5, 0.5, 0.5, 0.5, 5]


async def test_errors_of_an_input_file(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer
) -> None:
    """It fails, with the lines and what is wrong with them; nothing is run."""
    data = [
        line("a"),
        line("a"),
        line("b", url=EDITS),
        line("c", model="gpt-image-1.5"),
        line("d", model="gpt-image-0"),
        line("e") | {"method": "GET"},
        {"custom_id": "f", "method": "POST", "url": GENERATIONS},
        line(None),
    ]
    text = b"".join(json.dumps(row).encode() + b"\n" for row in data) + b"\nnot json\n[]\n"
    batch = await reach(official, await start(text), "failed")
    assert batch.failed_at == int(NOW)
    assert batch.errors is not None
    assert [(error.line, error.code, error.param) for error in batch.errors.data or ()] == [
        (2, "duplicate_custom_id", "custom_id"),
        (3, "invalid_url", "url"),
        (4, "mismatched_model", "body.model"),
        (5, "model_not_found", "body.model"),
        (6, "invalid_method", "method"),
        (7, "missing_required_parameter", "body"),
        (8, "missing_required_parameter", "custom_id"),
        (10, "invalid_json_line", None),
        (11, "invalid_json_line", None),
    ]
    empty = await reach(official, await start(b"\n"), "failed")
    assert empty.errors is not None
    assert [error.code for error in empty.errors.data or ()] == ["empty_file"]
    assert server.batch_requests == []


async def test_an_input_file_is_bounded(
    official: openai.AsyncOpenAI, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More requests than the API takes are one error, and so many errors are listed."""
    monkeypatch.setattr(one_batch, "MAX_REQUESTS", 3)
    batch = await reach(official, await start(lines(4)), "failed")
    assert [error.code for error in batch.errors.data] == ["too_many_tasks"]  # type: ignore[union-attr]
    monkeypatch.setattr(one_batch, "MAX_ERRORS", 2)
    batch = await reach(official, await start(b"x\n" * 3), "failed")
    assert [error.line for error in batch.errors.data] == [1, 2]  # type: ignore[union-attr]


async def test_requests_that_fail(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer
) -> None:
    """What the API refuses is in the error file, as its answer; the batch is completed all the same."""
    requests = [line("good"), line("size", size="1x1"), line("stream", stream=True), line("n", n=2)]
    requests += [line("bad", prompt="trigger moderation"), line("both", prompt="x", partial_images=1)]
    batch = await reach(official, await start(requests), "completed")
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (6, 2, 4)
    output = {row["custom_id"]: row["response"]["body"] for row in await rows(official, batch.output_file_id)}
    assert {name: len(body["data"]) for name, body in output.items()} == {"good": 1, "n": 2}
    errors = {row["custom_id"]: row for row in await rows(official, batch.error_file_id)}
    assert {row["response"]["status_code"] for row in errors.values()} == {400}
    assert [row["error"] for row in errors.values()] == [None] * 4
    assert errors["bad"]["response"]["body"]["error"]["code"] == "moderation_blocked"
    assert errors["size"]["response"]["body"]["error"]["param"] == "size"
    assert {r.custom_id: r.billed for r in server.batch_requests} == {
        name: name in output for name in output | errors
    }


async def test_shares_that_fail_and_expire(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer
) -> None:
    """So many requests fail with the chosen error, so many are not run in time."""
    server.reset(batch_pace=BatchPace(failed=0.03, expired=0.01, failure="status:500"))
    batch = await reach(official, await start(lines(100)), "expired")
    assert (batch.expired_at, batch.completed_at) == (int(NOW), None)
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 100, "completed": 96, "failed": 4}
    errors = await rows(official, batch.error_file_id)
    responses = [row["response"] for row in errors if row["response"] is not None]
    assert [response["status_code"] for response in responses] == [500] * 3
    [late] = [row for row in errors if row["response"] is None]
    assert late["error"]["code"] == "batch_expired"
    assert len(await rows(official, batch.output_file_id)) == 96
    assert len(server.batch_requests) == 99


async def test_a_window_that_is_over(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer, clock: Clock
) -> None:
    """What was not run by then expires, whatever the batch waits for; what was run is in the output."""
    server.reset(
        batch_pace=BatchPace(requests_per_second=1, window=60), sleep=lambda _: asyncio.Event().wait()
    )
    batch = await start(lines(2))
    clock.now += 60
    batch = await reach(official, batch, "expired")
    assert batch.output_file_id is None
    assert len(await rows(official, batch.error_file_id)) == 2


async def test_cancelling(official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer) -> None:
    """What was run is in the output, the rest was cancelled; an ended batch cannot be cancelled."""
    waits = asyncio.Event()
    calls = iter(range(9))

    async def sleep(_: float) -> None:
        if next(calls) == 1:
            await waits.wait()

    server.reset(batch_pace=BatchPace(requests_per_second=1), sleep=sleep)
    batch = await start(lines(3))
    while len(server.batch_requests) < 1:
        await asyncio.sleep(0.001)
    server.script("batch_cancel:429", "batch_cancel:500_after")
    with pytest.raises(openai.RateLimitError):
        await official.batches.cancel(batch.id)
    with pytest.raises(openai.InternalServerError):
        await official.batches.cancel(batch.id)
    assert (await official.batches.cancel(batch.id)).status in {"cancelling", "cancelled"}
    batch = await reach(official, batch, "cancelled")
    assert (batch.cancelling_at, batch.cancelled_at) == (int(NOW), int(NOW))
    assert len(await rows(official, batch.output_file_id)) == 1
    errors = await rows(official, batch.error_file_id)
    assert [row["error"]["code"] for row in errors] == ["batch_cancelled"] * 2
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'cancelled'"):
        await official.batches.cancel(batch.id)


async def test_edits(official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer) -> None:
    """In their JSON form, with files and URLs; a request without an image, or with one that is none, fails alone."""
    image = await official.files.create(file=("a.png", encoded(house((640, 480)))), purpose="vision")
    text = await official.files.create(file=("a.png", b"no image"), purpose="vision")
    requests = [
        line("file", EDITS, images=[{"file_id": image.id}]),
        line("url", EDITS, images=[{"image_url": "https://pictures.example/a.png"}]),
        line("text", EDITS, images=[{"file_id": text.id}]),
        line("none", EDITS),
    ]
    batch = await reach(official, await start(requests, endpoint=EDITS), "completed")
    output = {row["custom_id"]: row["response"]["body"] for row in await rows(official, batch.output_file_id)}
    assert set(output) == {"file", "url"}
    tokens = {name: body["usage"]["input_tokens_details"]["image_tokens"] for name, body in output.items()}
    assert tokens["file"] < tokens["url"], "of the file's own size"
    errors = {row["custom_id"]: row["response"]["body"] for row in await rows(official, batch.error_file_id)}
    assert {name: body["error"]["param"] for name, body in errors.items()} == {
        "none": "images",
        "text": "images[0].file_id",
    }
    body = {"model": MODEL, "prompt": "night", "images": [{"file_id": image.id}]}
    answer: Any = await official.post("/images/edits", body=body, cast_to=object)
    assert answer["usage"]["input_tokens_details"]["image_tokens"] == tokens["file"]
    ran = next(request for request in server.batch_requests if request.custom_id == "file")
    assert ran.json["images"] == [{"file_id": image.id}]


async def test_the_list(official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer) -> None:
    """The newest first, page by page; a page may fail; a batch may be missing from it for a while."""
    made = [(await start(lines(1))).id for _ in range(3)]
    server.script("batch_unlisted")
    hidden = await start(lines(1))
    page = await official.batches.list(limit=2)
    assert ([batch.id for batch in page.data], page.has_more) == (made[:0:-1], True)
    server.script("batch_list:500")
    with pytest.raises(openai.InternalServerError):
        await page.get_next_page()
    assert [batch.id async for batch in official.batches.list(limit=1)] == made[::-1]
    server.release()
    await asyncio.sleep(0)
    assert [batch.id async for batch in official.batches.list()] == [hidden.id, *made[::-1]]
    for bad in ({"limit": 0}, {"limit": 101}, {"after": "batch_none"}):
        with pytest.raises(openai.BadRequestError):
            await official.batches.list(**bad)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"input_file_id": None}, "input_file_id"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"k" * 65: ""}}, "metadata"),
        ({"metadata": {"a": "v" * 513}}, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"output_expires_after": {"anchor": "now", "seconds": 3600}}, "output_expires_after.anchor"),
        ({"other": 1}, "other"),
    ],
)
async def test_what_is_no_batch(
    server: LocalImagesServer,
    official: openai.AsyncOpenAI,
    http: aiohttp.ClientSession,
    options: Any,
    param: str,
) -> None:
    """It is refused at once, and no batch is made of it."""
    file = await official.files.create(file=b"x", purpose="batch")
    body = {"input_file_id": file.id, "endpoint": GENERATIONS, "completion_window": "24h"} | options
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with http.post(f"{server.base_url}/batches", json=body, headers=headers) as response:
        assert (response.status, (await response.json())["error"]["param"]) == (400, param)
    async with http.post(f"{server.base_url}/batches", data=b"{", headers=headers) as response:
        assert response.status == 400
    headers["Content-Type"] = "application/json"
    async with http.post(f"{server.base_url}/batches", data=b"{", headers=headers) as response:
        assert response.status == 400
    assert server.batches == []


async def test_files_that_do_not_fit(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input file of another purpose, one that is deleted meanwhile, too many batches, and a full disk."""
    file = await official.files.create(file=b"x", purpose="vision")
    options: Any = {"endpoint": GENERATIONS, "completion_window": "24h"}
    with pytest.raises(openai.BadRequestError, match="its purpose must be 'batch'"):
        await official.batches.create(input_file_id=file.id, **options)
    server.script("batch_stuck")
    batch = await start(lines(1))
    await official.files.delete(batch.input_file_id)
    server.release()
    batch = await reach(official, batch, "failed")
    assert [error.code for error in batch.errors.data] == ["file_not_found"]  # type: ignore[union-attr]
    monkeypatch.setattr(runner, "MAX_STORED_BYTES", 10)
    batch = await reach(official, await start(lines(1)), "failed")
    assert [error.code for error in batch.errors.data] == ["server_error"]  # type: ignore[union-attr]
    monkeypatch.setattr(service, "MAX_BATCHES", 2)
    with pytest.raises(openai.RateLimitError):
        await start(lines(1))
    with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_none'"):
        await official.batches.retrieve("batch_none")


async def test_creating_fails_on_command(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer
) -> None:
    """A client that sees an error may have created a batch: with `_after` and `lost` it has."""
    server.script("batch_create:500", "batch_create:500_after", "batch_create:lost", "batch_create:reset")
    server.script("batch_create:stall", "batch_create:stall_after")
    errors = openai.InternalServerError, openai.APIConnectionError, openai.APITimeoutError
    for error in errors:
        for _ in range(2):
            with pytest.raises(error):
                await start(lines(1), metadata={"run": "1"}, timeout=0.2)
    assert [batch.metadata for batch in server.batches] == [{"run": "1"}] * 3
    assert len([batch async for batch in official.batches.list()]) == 3


async def test_polling_fails_on_command(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer
) -> None:
    """Statuses, a reset, and an answer that does not come; `always` counts too."""
    batch = await start(lines(1))
    server.script("batch_retrieve:500", "batch_retrieve:429", "batch_retrieve:reset", "batch_retrieve:stall")
    for error in (openai.InternalServerError, openai.RateLimitError, openai.APIConnectionError):
        with pytest.raises(error):
            await official.batches.retrieve(batch.id)
    with pytest.raises(openai.APITimeoutError):
        await official.with_options(timeout=0.05).batches.retrieve(batch.id)
    server.always("batch_retrieve:503")
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            await official.batches.retrieve(batch.id)
    server.always(None)
    await reach(official, batch, "completed")


@pytest.mark.parametrize(
    ("fault", "code"), [("batch_invalid", "invalid_json_line"), ("batch_token_limit", "token_limit_exceeded")]
)
async def test_validation_fails_on_command(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer, fault: str, code: str
) -> None:
    """Nothing is run; the next batch is a normal one again."""
    server.script(fault, "batch_ok")
    batch = await reach(official, await start(lines(1)), "failed")
    assert [error.code for error in batch.errors.data] == [code]  # type: ignore[union-attr]
    assert server.batch_requests == []
    await reach(official, await start(lines(1)), "completed")


async def test_a_batch_that_is_stuck(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer
) -> None:
    """It stays in validating until it is released, or cancelled."""
    server.script("batch_stuck", "batch_stuck")
    released, cancelled = await start(lines(1)), await start(lines(1))
    await asyncio.sleep(0.02)
    assert {batch.status for batch in server.batches} == {"validating"}
    await official.batches.cancel(cancelled.id)
    await reach(official, cancelled, "cancelled")
    await reach(official, released, "validating")
    server.release()
    await reach(official, released, "completed")


async def test_a_cancellation_that_takes_long(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer
) -> None:
    """It stays in cancelling until it is released."""
    server.reset(batch_pace=BatchPace(hold=True), faults=["batch_slow_cancel"])
    batch = await start(lines(1))
    assert (await official.batches.cancel(batch.id)).status == "cancelling"
    for _ in range(2):  # for the fault, and for the state
        await asyncio.sleep(0.02)
        assert (await official.batches.cancel(batch.id)).status == "cancelling"
        server.release()
    await reach(official, batch, "cancelled")


async def test_a_whole_batch_expires(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer
) -> None:
    """No request is run, and none is paid."""
    server.script("batch_expired")
    batch = await reach(official, await start(lines(3)), "expired")
    assert batch.output_file_id is None
    assert [row["error"]["code"] for row in await rows(official, batch.error_file_id)] == [
        "batch_expired"
    ] * 3
    assert server.batch_requests == []


async def test_output_with_flaws(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer
) -> None:
    """Files that are missing, a line that is not JSON, lines that come twice."""
    requests = [line("a"), line("b"), line("bad", prompt="trigger moderation")]
    server.script("batch_no_output", "batch_no_errors", "batch_garbage_line", "batch_duplicate_lines")
    server.script("batch_missing_line")
    batches = [await reach(official, await start(requests), "completed") for _ in range(5)]
    first, second, third, fourth, fifth = batches
    assert first.output_file_id is None
    assert first.error_file_id is not None
    assert len([request for request in server.batch_requests if request.batch_id == first.id]) == 3
    assert second.error_file_id is None
    assert second.output_file_id is not None
    with pytest.raises(json.JSONDecodeError):
        await rows(official, third.output_file_id)
    assert len((await official.files.content(str(third.output_file_id))).content.splitlines()) == 3
    names = Counter(row["custom_id"] for row in await rows(official, fourth.output_file_id))
    assert names == {"a": 2, "b": 2}
    assert len(await rows(official, fifth.output_file_id)) == 1
    assert fifth.request_counts is not None
    assert fifth.request_counts.completed == 2


async def test_a_fault_by_header(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer
) -> None:
    """One of the call, or one of the batch that it creates."""
    with pytest.raises(openai.InternalServerError):
        await start(lines(1), extra_headers={"X-Local-Fault": "batch_create:503"})
    batch = await start(lines(1), extra_headers={"X-Local-Fault": "batch_expired"})
    await reach(official, batch, "expired")
    with pytest.raises(openai.BadRequestError, match="is not one of the step batch_create"):
        await start(lines(1), extra_headers={"X-Local-Fault": "status:500"})
    assert len(server.batches) == 1


async def test_what_is_told_of_a_call(start: Start, server: LocalImagesServer) -> None:
    """`on_answer` has each call, with its fault or that of the batch it created."""
    answered: list[tuple[str, str, str]] = []
    server.reset(on_answer=lambda one: answered.append((one.method, one.path, one.fault)))
    server.script("batch_expired", "file_upload:ok")
    await start(lines(1))
    assert answered == [("POST", "/v1/files", "file_upload:ok"), ("POST", "/v1/batches", "batch_expired")]


async def test_it_forgets(official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer) -> None:
    """`reset` ends batches where they are, and brings back the constructor's pace."""
    server.reset(batch_pace=BatchPace(hold=True))
    batch = await start(lines(1))
    server.reset()
    assert (server.batches, server.batch_requests, server.batch_pace) == ([], [], BatchPace())
    with pytest.raises(openai.NotFoundError):
        await official.batches.retrieve(batch.id)
    server.reset(keep_requests=1)
    await reach(official, await start(lines(3)), "completed")
    assert len(server.batch_requests) == 1


async def test_it_ends_with_its_server(picture: bytes, http: aiohttp.ClientSession) -> None:
    """A batch that runs holds nobody up; what was seen stays, and a new start knows nothing."""
    server = LocalImagesServer(pictures=picture, batch_pace=BatchPace(hold=True))
    async with server, openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key) as client:
        file = await client.files.create(file=("in", json.dumps(line("a")).encode()), purpose="batch")
        await client.batches.create(input_file_id=file.id, endpoint=GENERATIONS, completion_window="24h")
    assert [batch.status for batch in server.batches] == ["validating"]
    async with (
        server,
        http.get(
            f"{server.base_url}/batches", headers={"Authorization": f"Bearer {server.api_key}"}
        ) as response,
    ):
        assert (await response.json())["data"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seconds_per_state": -1}, "seconds_per_state must not be negative"),
        ({"requests_per_second": 0}, "requests_per_second must be above 0"),
        ({"window": 0}, "window must be above 0"),
        ({"failed": 1.1}, "failed must be a share"),
        ({"expired": -0.1}, "expired must be a share"),
        ({"failure": "stall"}, "failure must be a fault with a status"),
        ({"failure": "nonsense"}, "unknown fault"),
    ],
)
def test_a_pace_that_makes_no_sense(options: dict[str, Any], said: str) -> None:
    """It is a ValueError that says what does."""
    with pytest.raises(ValueError, match=said):
        BatchPace(**options)


async def test_memory_is_constant(
    official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer
) -> None:
    """Output of 64 MB is made and sent with a few of them in memory."""
    server.reset(pictures=b"\x89PNG" + bytes(1_000_000))
    gc.collect()
    tracemalloc.start()
    try:
        batch = await reach(official, await start(lines(48)), "completed")
        size = 0
        async with official.files.with_streaming_response.content(str(batch.output_file_id)) as response:
            async for piece in response.iter_bytes():
                size += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 64_000_000
    assert peak < 16_000_000


async def test_small_pictures(official: openai.AsyncOpenAI, start: Start, server: LocalImagesServer) -> None:
    """Without fixed images they have the format and size of their request."""
    requests = [line("a", output_format="jpeg", size="1536x1024"), line("b", output_format="webp")]
    server.reset(pictures="small")
    batch = await reach(official, await start(requests), "completed")
    output = {row["custom_id"]: row["response"]["body"] for row in await rows(official, batch.output_file_id)}
    assert output["a"]["size"] == "1536x1024"
    assert base64.b64decode(output["a"]["data"][0]["b64_json"]).startswith(b"\xff\xd8\xff")
    assert base64.b64decode(output["b"]["data"][0]["b64_json"]).startswith(b"RIFF")
