"""Every attribute of a span and of the metrics, of calls that succeed and of calls that fail."""

import asyncio
import contextvars
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from openai_images import (
    ConfigurationError,
    DownloadError,
    ImagesClient,
    ModerationBlockedError,
    OutcomeUnknownError,
    PartialResultError,
    QuotaExhaustedError,
    RequestInvalidError,
    StreamInterruptedError,
    __version__,
)
from openai_images.server import LocalImagesServer
from openai_images.telemetry.telemetry import Instruments
from tests.helpers.clients import B64, COMPLETED, PNG, PROMPT, FakeTime, client_of, event, partial
from tests.helpers.leaks import until
from tests.helpers.raw_server import CLOSE, LAST_CHUNK, STALL, RawServer, Script, chunked, reply
from tests.helpers.telemetry import Recorded

INFERENCE = "gen_ai.client.inference"


def shared(base_url: str, **more: Any) -> dict[str, Any]:
    """The attributes of every span and metric of a call."""
    return {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-image-2",
        "server.address": "127.0.0.1",
        "server.port": urlsplit(base_url).port,
        **more,
    }


@asynccontextmanager
async def raw(recorded: Recorded, script: Script) -> AsyncIterator[tuple[RawServer, ImagesClient]]:
    """A server that answers so, and a client of it that reports."""
    async with (
        RawServer(script) as server,
        client_of(server, telemetry=recorded.telemetry(), model="gpt-image-2") as client,
    ):
        yield server, client


async def test_a_generation(client: ImagesClient, server: LocalImagesServer, recorded: Recorded) -> None:
    """One client span with all that is known, and each metric once."""
    result = await client.generate(PROMPT, size="1024x1024", quality="low")
    usage = result.usage
    assert usage is not None
    assert usage.output_tokens_details is not None
    span, points, cost = recorded.span, recorded.points(), result.cost()
    assert cost is not None
    assert (span.name, span.kind, span.parent) == ("generate_content gpt-image-2", SpanKind.CLIENT, None)
    assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())
    assert span.instrumentation_scope is not None
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == (
        "openai_images",
        __version__,
    )
    same = shared(server.base_url)
    assert recorded.attributes == {
        **same,
        "gen_ai.output.type": "image",
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.text.input_tokens": usage.input_tokens,
        "gen_ai.usage.image.input_tokens": 0,
        "gen_ai.usage.text.output_tokens": 0,
        "gen_ai.usage.image.output_tokens": usage.output_tokens,
        "openai_images.edited": False,
        "openai_images.request.size": "1024x1024",
        "openai_images.request.quality": "low",
        "openai_images.attempts": 1,
        "openai_images.images": 1,
        "openai_images.cost": float(cost),
        "openai_images.request_id": result.request_id,
    }
    ((attributes, duration),) = points.pop(f"{INFERENCE}.duration")
    assert attributes == same
    assert span.end_time is not None
    assert span.start_time is not None
    assert duration == pytest.approx((span.end_time - span.start_time) / 1e9, abs=0.5)
    assert points == {
        f"{INFERENCE}.operation.input_tokens": [(same, usage.input_tokens)],
        f"{INFERENCE}.operation.output_tokens": [(same, usage.output_tokens)],
        f"{INFERENCE}.usage.input_tokens": [
            ({**same, "gen_ai.token.modality": "text"}, usage.input_tokens),
        ],
        f"{INFERENCE}.usage.output_tokens": [
            ({**same, "gen_ai.token.modality": "image"}, usage.output_tokens),
        ],
        "openai_images.client.images": [(same, 1)],
        "openai_images.client.cost": [(same, float(cost))],
    }


async def test_a_stream(client: ImagesClient, server: LocalImagesServer, recorded: Recorded) -> None:
    """The time to the first image, an event for each partial image, tokens of an unknown kind."""
    async with client.stream(PROMPT, partial_images=2) as stream:
        await stream.finish()
    attributes, points, same = recorded.attributes, recorded.points(), shared(server.base_url)
    ((first_attributes, first),) = points[f"{INFERENCE}.time_to_first_chunk"]
    assert first_attributes == same
    assert 0 < first < points[f"{INFERENCE}.duration"][0][1]
    assert attributes["gen_ai.response.time_to_first_chunk"] == first
    assert attributes["gen_ai.request.stream"] is True
    assert [(event.name, dict(event.attributes or {})) for event in recorded.span.events] == [
        (
            "openai_images.partial_image",
            {
                "openai_images.image_index": 0,
                "openai_images.partial_image_index": number,
                "openai_images.bytes": len(PNG),
            },
        )
        for number in range(2)
    ]
    assert stream.result.usage is not None
    unknown = {**same, "gen_ai.token.modality": "unknown"}
    assert points[f"{INFERENCE}.usage.output_tokens"] == [(unknown, stream.result.usage.output_tokens)]


def test_units_and_buckets(recorded: Recorded) -> None:
    """Units are those of the conventions, and so are the bucket boundaries."""
    instruments = Instruments(recorded.telemetry())
    for histogram in (
        instruments.duration,
        instruments.time_to_first_chunk,
        *instruments.tokens_of_call.values(),
    ):
        histogram.record(1)
    for counter in (
        instruments.images,
        instruments.cost,
        instruments.refusals,
        instruments.unknown_outcomes,
        *instruments.tokens.values(),
    ):
        counter.add(1)
    metrics = recorded.metrics()
    assert {name: metric["unit"] for name, metric in metrics.items()} == {
        f"{INFERENCE}.duration": "s",
        f"{INFERENCE}.time_to_first_chunk": "s",
        f"{INFERENCE}.operation.input_tokens": "{token}",
        f"{INFERENCE}.operation.output_tokens": "{token}",
        f"{INFERENCE}.usage.input_tokens": "{token}",
        f"{INFERENCE}.usage.output_tokens": "{token}",
        "openai_images.client.images": "{image}",
        "openai_images.client.cost": "{USD}",
        "openai_images.client.refusals": "{request}",
        "openai_images.client.unknown_outcomes": "{call}",
    }
    bounds = {
        name: point["explicit_bounds"]
        for name, metric in metrics.items()
        for point in metric["data"]["data_points"]
        if "explicit_bounds" in point
    }
    seconds = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
    tokens = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864]
    assert bounds == {
        f"{INFERENCE}.duration": seconds,
        f"{INFERENCE}.time_to_first_chunk": seconds,
        f"{INFERENCE}.operation.input_tokens": tokens,
        f"{INFERENCE}.operation.output_tokens": tokens,
    }


async def test_an_edit(client: ImagesClient, recorded: Recorded) -> None:
    """It says so, and its input tokens are of two kinds."""
    result = await client.edit(PROMPT, image=PNG)
    assert result.usage is not None
    assert result.usage.input_tokens_details is not None
    assert recorded.attributes["openai_images.edited"] is True
    points = recorded.points()[f"{INFERENCE}.usage.input_tokens"]
    assert {attributes["gen_ai.token.modality"]: value for attributes, value in points} == {
        "text": result.usage.input_tokens_details.text_tokens,
        "image": result.usage.input_tokens_details.image_tokens,
    }


async def test_a_split_call(client: ImagesClient, server: LocalImagesServer, recorded: Recorded) -> None:
    """One span of three requests, with the sums of their tokens and attempts."""
    server.script("overloaded_503_retry_after")
    result = await client.generate(PROMPT, n=23)
    assert result.usage is not None
    attributes, points = recorded.attributes, recorded.points()
    assert attributes["gen_ai.request.choice.count"] == attributes["openai_images.images"] == 23
    assert attributes["openai_images.requests"] == 3
    assert attributes["openai_images.attempts"] == 4
    assert attributes["gen_ai.usage.output_tokens"] == result.usage.output_tokens
    assert attributes["openai_images.cost"] == float(result.cost() or 0)
    assert points["openai_images.client.images"][0][1] == 23
    assert [value for _, value in points[f"{INFERENCE}.operation.output_tokens"]] == [
        result.usage.output_tokens
    ]
    assert [event.name for event in recorded.span.events] == ["openai_images.retry"]


async def test_a_retry(client: ImagesClient, server: LocalImagesServer, recorded: Recorded) -> None:
    """An event for each, with its reason and its wait."""
    server.script("rate_limited_then_ok", "overloaded_503_retry_after")
    await client.generate(PROMPT)
    events = [(event.name, dict(event.attributes or {})) for event in recorded.span.events]
    assert [name for name, _ in events] == ["openai_images.retry"] * (len(server.requests) - 1)
    _name, attributes = events[0]
    assert attributes.pop("openai_images.retry.delay") > 0
    assert attributes == {
        "openai_images.attempt": 1,
        "error.type": "RateLimitError",
        "http.response.status_code": 429,
    }
    assert recorded.attributes["openai_images.attempts"] == len(server.requests)


async def test_events_are_bounded(recorded: Recorded) -> None:
    """A server that sends partial images for ever fills no span."""
    body = [*(partial(number) for number in range(200)), COMPLETED]
    async with raw(recorded, [chunked(*body), LAST_CHUNK, CLOSE]) as (_, client):
        await client.stream(PROMPT, partial_images=3).finish()
    assert len(recorded.span.events) == 50


async def failing(client: ImagesClient, server: LocalImagesServer, *faults: str, **params: Any) -> Exception:
    """The error of a call that meets these faults."""
    server.script(*faults)
    with pytest.raises(Exception) as caught:  # noqa: PT011  any
        await client.generate(PROMPT, **params)
    return caught.value


async def test_a_refusal(client: ImagesClient, server: LocalImagesServer, recorded: Recorded) -> None:
    """The safety system's no is an error of its own, and counted."""
    error = await failing(client, server, "moderation_400")
    assert isinstance(error, ModerationBlockedError)
    same = shared(server.base_url)
    assert recorded.span.status.status_code is StatusCode.ERROR
    assert recorded.span.status.description is None
    attributes, points = recorded.attributes, recorded.points()
    stage = {"openai_images.moderation.stage": error.stage}
    failed = {"error.type": "ModerationBlockedError"}
    assert attributes == {
        **same,
        **stage,
        **failed,
        "gen_ai.output.type": "image",
        "http.response.status_code": 400,
        "openai_images.edited": False,
        "openai_images.attempts": 1,
        "openai_images.images": 0,
        "openai_images.maybe_billed": False,
        "openai_images.request_id": error.request_id,
    }
    assert points[f"{INFERENCE}.duration"][0][0] == {**same, **failed}
    assert points[f"{INFERENCE}.operation.input_tokens"] == [({**same, **failed}, 0)]
    assert points[f"{INFERENCE}.usage.input_tokens"] == [({**same, "gen_ai.token.modality": "unknown"}, 0)]
    assert points["openai_images.client.refusals"] == [({**same, **stage}, 1)]
    assert "openai_images.client.unknown_outcomes" not in points
    assert "openai_images.client.images" not in points


async def test_an_unknown_outcome(
    client: ImagesClient, server: LocalImagesServer, recorded: Recorded
) -> None:
    """What may have been billed is counted by its error."""
    error = await failing(client, server, "reset_after_body")
    assert isinstance(error, OutcomeUnknownError)
    failed = {"error.type": type(error).__name__}
    assert recorded.attributes["openai_images.maybe_billed"] is True
    assert recorded.points()["openai_images.client.unknown_outcomes"] == [
        (shared(server.base_url, **failed), 1)
    ]


async def test_a_quota(client: ImagesClient, server: LocalImagesServer, recorded: Recorded) -> None:
    """An error that cost nothing is no unknown outcome."""
    error = await failing(client, server, "quota_429")
    assert isinstance(error, QuotaExhaustedError)
    assert recorded.attributes["error.type"] == "QuotaExhaustedError"
    assert recorded.attributes["openai_images.maybe_billed"] is False
    assert "openai_images.client.unknown_outcomes" not in recorded.points()


async def test_a_cut_stream(client: ImagesClient, server: LocalImagesServer, recorded: Recorded) -> None:
    """The partials that came are events; the outcome is unknown."""
    server.script("eof_without_completed")
    async with client.stream(PROMPT, partial_images=2) as stream:
        with pytest.raises(StreamInterruptedError):
            await stream.finish()
    assert len(recorded.span.events) == 2
    assert recorded.attributes["error.type"] == "StreamInterruptedError"
    assert len(recorded.points()["openai_images.client.unknown_outcomes"]) == 1


async def test_some_images_of_a_split_call(
    client: ImagesClient, server: LocalImagesServer, recorded: Recorded
) -> None:
    """Those that came are counted with their cost; the refusal as well."""
    error = await failing(client, server, "moderation_400", n=20)
    assert isinstance(error, PartialResultError)
    points = recorded.points()
    assert recorded.attributes["error.type"] == "PartialResultError"
    assert recorded.attributes["openai_images.images"] == 10
    assert points["openai_images.client.images"][0][1] == 10
    assert points["openai_images.client.cost"][0][1] == float(error.result.cost())
    assert points["openai_images.client.refusals"][0][1] == 1
    assert "openai_images.client.unknown_outcomes" not in points


async def test_a_failed_download(recorded: Recorded, tmp_path: Path) -> None:
    """The image is paid for, and known: its cost counts, and the outcome is not unknown."""
    async with (
        LocalImagesServer(pictures=PNG, picture_links="absolute", now=lambda: FakeTime.WALL) as server,
        client_of(server, telemetry=recorded.telemetry(), model="gpt-image-2") as client,
    ):
        server.script("download_404")
        with pytest.raises(DownloadError):
            await client.generate(PROMPT, into=tmp_path / "image")
    points = recorded.points()
    assert recorded.attributes["error.type"] == "DownloadError"
    assert points["openai_images.client.cost"][0][1] > 0
    assert "openai_images.client.unknown_outcomes" not in points


async def test_a_download(recorded: Recorded, tmp_path: Path) -> None:
    """It belongs to the call that needs it; `download` has no span."""
    async with (
        LocalImagesServer(pictures=PNG, picture_links="absolute", now=lambda: FakeTime.WALL) as server,
        client_of(server, telemetry=recorded.telemetry(), model="gpt-image-2") as client,
    ):
        result = await client.generate(PROMPT)
        assert (await client.download(result)).image.data == PNG
        await client.generate(PROMPT, into=tmp_path / "image")
    assert len(recorded.spans) == 2


async def test_nothing_is_sent_nothing_is_recorded(client: ImagesClient, recorded: Recorded) -> None:
    """A call without a key, and a stream that is never entered, are none."""
    with pytest.raises(ConfigurationError):
        await ImagesClient(telemetry=recorded.telemetry()).generate(PROMPT)
    client.stream(PROMPT)
    async with client.generate_many([]) as outcomes:
        assert [outcome async for outcome in outcomes] == []
    assert [span.name for span in recorded.spans] == ["openai_images.generate_many"]
    assert recorded.metrics() == {}


async def test_an_image_that_cannot_be_read(client: ImagesClient, recorded: Recorded) -> None:
    """It is found when the call has begun: a call without attempts, and without tokens."""
    with pytest.raises(RequestInvalidError):
        await client.edit(PROMPT, image="missing.png")
    assert recorded.attributes["openai_images.attempts"] == 0
    assert [*recorded.points()] == [f"{INFERENCE}.duration"]


async def test_a_stream_that_is_left(recorded: Recorded) -> None:
    """`break` is no exception; the outcome is unknown."""
    async with raw(recorded, [chunked(partial()), STALL]) as (server, client):
        async with client.stream(PROMPT, partial_images=2) as stream:
            async for _ in stream:
                break
        assert recorded.attributes["error.type"] == "closed_early"
        assert recorded.attributes["openai_images.maybe_billed"] is True
        failed = shared(server.base_url, **{"error.type": "closed_early"})
        assert recorded.points()["openai_images.client.unknown_outcomes"] == [(failed, 1)]


async def test_an_error_of_the_callers_code(recorded: Recorded) -> None:
    """An exception in the caller's block is not the call's."""
    async with raw(recorded, [chunked(partial()), STALL]) as (_, client):

        async def call() -> None:
            async with client.stream(PROMPT, partial_images=2) as stream:
                async for _ in stream:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await call()
    assert recorded.attributes["error.type"] == "closed_early"


async def test_a_stream_that_is_left_with_its_image(client: ImagesClient, recorded: Recorded) -> None:
    """Whoever leaves with the complete image has succeeded."""
    async with client.stream(PROMPT, partial_images=0) as stream:
        async for _ in stream:
            break
    assert "error.type" not in recorded.attributes
    assert recorded.points()["openai_images.client.images"][0][1] == 1


@pytest.mark.parametrize("verb", ["generate", "stream"])
async def test_a_cancellation(recorded: Recorded, verb: str) -> None:
    """A call that is cancelled from outside ends its span; it may have been billed."""
    async with raw(recorded, [STALL]) as (server, client):

        async def call() -> None:
            if verb == "generate":
                await client.generate(PROMPT)
            else:
                async with client.stream(PROMPT) as stream:
                    await stream.finish()

        task = asyncio.create_task(call())
        await until(lambda: server.posts == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert recorded.attributes["error.type"] == "CancelledError"
    assert recorded.attributes["openai_images.maybe_billed"] is True
    assert len(recorded.points()["openai_images.client.unknown_outcomes"]) == 1


async def test_a_cancellation_of_the_callers_code(recorded: Recorded) -> None:
    """Also one that comes while the caller has an event."""
    async with raw(recorded, [chunked(partial()), STALL]) as (_, client):

        async def call() -> None:
            async with client.stream(PROMPT, partial_images=2) as stream:
                async for _ in stream:
                    await asyncio.sleep(60)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call(), 0.1)
    assert recorded.attributes["error.type"] == "CancelledError"


async def test_the_current_span(server: LocalImagesServer, recorded: Recorded) -> None:
    """It is the parent; the call's own span is current while it sends, and not while the caller has an event."""
    tracer = recorded.tracer_provider.get_tracer("test")
    seen = []

    async def key() -> str:
        seen.append(trace.get_current_span())
        return server.api_key

    async with ImagesClient(
        base_url=server.base_url, api_key=key, telemetry=recorded.telemetry(), model="gpt-image-2"
    ) as client:
        with tracer.start_as_current_span("handler") as handler:
            async with client.stream(PROMPT, partial_images=1) as stream:
                async for _ in stream:
                    assert trace.get_current_span() is handler
    call, parent = recorded.spans
    assert isinstance(seen[0], ReadableSpan)
    assert seen[0].name == call.name == "generate_content gpt-image-2"
    assert call.parent is not None
    assert parent.context is not None
    assert call.parent.span_id == parent.context.span_id


async def test_azure(recorded: Recorded) -> None:
    """Azure is a provider of its own."""
    async with RawServer([reply(json.dumps({"created": 1, "data": [{"b64_json": B64}]}).encode())]) as server:
        client = ImagesClient.azure(
            server.base_url.removesuffix("/v1"),
            deployment="d",
            api_key="k",
            api_version="2025-04-01-preview",
            telemetry=recorded.telemetry(),
        )
        async with client:
            await client.generate(PROMPT)
    assert recorded.attributes["gen_ai.provider.name"] == "azure.ai.openai"


@pytest.mark.parametrize(
    ("address", "seen"),
    [("https://host.example/v1", ("host.example", 443)), ("http://host.example:99/v1", ("host.example", 99))],
)
async def test_the_address(recorded: Recorded, address: str, seen: tuple[str, int]) -> None:
    """The port is that of the scheme, unless it is given."""
    client = ImagesClient(
        api_key="k",
        base_url=address,
        telemetry=recorded.telemetry(),
        proxy="http://127.0.0.1:9",
        max_retries=0,
    )
    async with client:
        with pytest.raises(Exception):  # noqa: B017, PT011  there is no such proxy
            await client.generate(PROMPT)
    attributes = recorded.attributes
    assert (attributes["server.address"], attributes["server.port"]) == seen
    assert "gen_ai.request.model" not in attributes
    assert recorded.span.name == "generate_content"


async def test_counts_that_cannot_be_exported(recorded: Recorded) -> None:
    """A server's absurd numbers, and its names, are left out; what it says correctly is kept."""
    usage = {"input_tokens": 2**70, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 3}}
    answer = {"created": 1, "data": [{"b64_json": B64}], "usage": usage, "model": "gpt-image-2"}
    async with raw(recorded, [reply(json.dumps(answer).encode())]) as (_, client):
        await client.generate(PROMPT, model="m")
    attributes = recorded.attributes
    assert "gen_ai.usage.input_tokens" not in attributes
    assert attributes["gen_ai.usage.output_tokens"] == 5
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 3
    assert attributes["gen_ai.response.model"] == "gpt-image-2"
    ((attributes, _),) = recorded.points()[f"{INFERENCE}.duration"]
    assert attributes["gen_ai.response.model"] == "gpt-image-2"


async def test_an_event_that_is_unknown(recorded: Recorded) -> None:
    """It is no image: the time to the first image goes on."""
    body = [event("ping"), COMPLETED]
    async with raw(recorded, [chunked(*body), LAST_CHUNK, CLOSE]) as (_, client):
        await client.stream(PROMPT).finish()
    assert recorded.span.events == ()
    assert recorded.attributes["gen_ai.response.time_to_first_chunk"] > 0


async def test_a_coroutine_that_is_closed_elsewhere(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """As the garbage collector does it, in another context: the span ends, and nothing is complained about."""
    async with raw(recorded, [STALL]) as (_, client):
        call = client.generate(PROMPT)
        contextvars.copy_context().run(call.send, None)
        call.close()
    assert recorded.attributes["error.type"] == "GeneratorExit"
    assert caplog.records == []
