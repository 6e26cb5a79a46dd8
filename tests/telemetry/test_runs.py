"""Many calls have a span of their own, whose children they are."""

import asyncio
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from openai_images import Batch, Failed, ImagesClient, QuotaExhaustedError
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, run
from tests.helpers.clients import FakeTime, client_of
from tests.helpers.telemetry import Recorded


def family(recorded: Recorded) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """The span of the run, and those of its calls."""
    *calls, parent = recorded.spans
    assert parent.context is not None
    for call in calls:
        assert call.parent is not None
        assert call.parent.span_id == parent.context.span_id
    return parent, calls


async def test_many(client: ImagesClient, server: LocalImagesServer, recorded: Recorded) -> None:
    """Its span has the counts, and ends behind its calls; a failed call does not fail it."""
    tracer = recorded.tracer_provider.get_tracer("test")
    server.script("ok", "moderation_400")
    with tracer.start_as_current_span("handler"):
        async with client.generate_many(["a", "b", "c"], concurrency=1) as outcomes:
            await asyncio.sleep(0)
            failed = [outcome async for outcome in outcomes if isinstance(outcome, Failed)]
    *spans, handler = recorded.spans
    assert len(failed) == 1
    parent = spans[-1]
    assert parent.context is not None
    assert handler.context is not None
    assert parent.parent is not None
    assert parent.parent.span_id == handler.context.span_id
    assert [span.parent and span.parent.span_id for span in spans[:-1]] == [parent.context.span_id] * 3
    assert (parent.name, parent.kind) == ("openai_images.generate_many", SpanKind.INTERNAL)
    assert parent.status.status_code is StatusCode.UNSET
    attributes = dict(parent.attributes or {})
    assert attributes.pop("openai_images.run.spent") == outcomes.progress.spent.__float__()  # type: ignore[union-attr]
    assert attributes == {
        "openai_images.run.total": 3,
        "openai_images.run.done": 2,
        "openai_images.run.failed": 1,
        "openai_images.run.blocked": 1,
        "openai_images.run.unknown": 0,
        "openai_images.run.images": 2,
    }
    assert recorded.points()["openai_images.client.images"][0][1] == 2


async def test_many_that_end_with_an_error(
    client: ImagesClient, server: LocalImagesServer, recorded: Recorded
) -> None:
    """What ends the whole run is its error."""
    server.script("quota_429")
    async with client.generate_many(["a", "b"], concurrency=1) as outcomes:
        assert isinstance(await anext(outcomes), Failed)
        with pytest.raises(QuotaExhaustedError):
            await anext(outcomes)
    parent, _ = family(recorded)
    assert parent.status.status_code is StatusCode.ERROR
    assert parent.status.description is None
    assert parent.attributes is not None
    assert parent.attributes["error.type"] == "QuotaExhaustedError"


async def test_many_that_are_left(
    client: ImagesClient, server: LocalImagesServer, recorded: Recorded
) -> None:
    """Leaving the block cancels calls in flight, and ends all spans."""
    server.script("ok", "stall", "stall")
    async with client.generate_many(iter("abc"), concurrency=3) as outcomes:
        async for _ in outcomes:
            break
    parent, calls = family(recorded)
    types = [(call.attributes or {}).get("error.type") for call in calls]
    assert sorted(map(str, types)) == ["CancelledError", "CancelledError", "None"]
    assert parent.attributes is not None
    assert parent.attributes["error.type"] == "CancelledError"
    assert "openai_images.run.total" not in parent.attributes


async def test_a_batch(server: LocalImagesServer, recorded: Recorded, tmp_path: Path) -> None:
    """The same for a batch; another run of it has a span of its own."""
    items = items_of("a", "b")
    async with client_of(server, telemetry=recorded.telemetry(), timing=FakeTime().timing) as client:
        await run(client, items, tmp_path)
        parent, calls = family(recorded)
        assert (parent.name, len(calls)) == ("openai_images.batch", 2)
        assert (parent.attributes or {})["openai_images.run.done"] == 2
        async with Batch(client, items, tmp_path) as batch:
            assert [outcome async for outcome in batch] == []
    assert [span.name for span in recorded.spans].count("openai_images.batch") == 2


async def test_a_retry_within_a_batch(server: LocalImagesServer, recorded: Recorded, tmp_path: Path) -> None:
    """Events reach the call's span through all observers."""
    server.script("rate_limited_then_ok")
    async with client_of(server, telemetry=recorded.telemetry()) as client:
        await run(client, items_of("a"), tmp_path)
    _, (call,) = family(recorded)
    assert [event.name for event in call.events] == ["openai_images.retry"]
