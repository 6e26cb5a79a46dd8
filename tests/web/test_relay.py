"""The relay without a framework: what it writes, when it writes, and what becomes of the call."""

import asyncio
import base64
import errno
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openai_images import ConfigurationError, Image, ImageResult, ImagesClient, RetryPolicy
from openai_images.server import LocalImagesServer
from openai_images.web import PictureStore, Relay, relay, run_call, wait_for_background
from tests.helpers.edit_images import encoded, house
from tests.helpers.leaks import until
from tests.helpers.tiny_images import png

PNG = png(bytes(range(256)) * 600)
PROMPT = "a sentinel prompt: zebra-7731"
KEY = "sk-test-sentinel-0123456789"


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server of one fixed image."""
    async with LocalImagesServer(pictures=PNG, api_key=KEY) as server:
        yield server


@pytest.fixture
async def client(server: LocalImagesServer) -> AsyncIterator[ImagesClient]:
    """Its client."""
    async with ImagesClient(
        base_url=server.base_url,
        api_key=KEY,
        retry=RetryPolicy(max_retries=0, max_rate_limit_wait=0),
        model="gpt-image-2",
    ) as client:
        yield client


def parse(body: bytes) -> list[dict[str, Any]]:
    """Return the JSON of each event; the event's name must be its type."""
    events: list[dict[str, Any]] = []
    for block in body.decode().split("\n\n"):
        if block and not block.startswith(":"):
            name, data = block.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {events[-1]['type']}"
    return events


async def read(source: Relay) -> bytes:
    """Read a relay to its end."""
    return b"".join([piece async for piece in source])


async def test_events_have_the_wire_format_of_the_api(client: ImagesClient) -> None:
    """Names, fields and bytes are those of the API, an image index is added, and the usage is whole."""
    partial, completed = parse(await read(relay(client.stream(PROMPT, partial_images=1))))
    assert partial["type"] == "image_generation.partial_image"
    assert partial["partial_image_index"] == 0
    assert completed["type"] == "image_generation.completed"
    assert completed["usage"]["total_tokens"] > 0
    for event in (partial, completed):
        assert base64.b64decode(event["b64_json"], validate=True) == PNG
        assert {"created_at", "size", "quality", "background", "output_format", "image_index"} <= set(event)


@pytest.mark.parametrize("iterates", [True, False])
async def test_a_stream_that_was_read_cannot_be_relayed(client: ImagesClient, iterates: bool) -> None:
    """Its events are over; an empty event stream would say nothing."""
    stream = client.stream(PROMPT)
    if iterates:
        async with stream:
            _ = [event async for event in stream]
    await stream.finish()
    with pytest.raises(RuntimeError, match="the stream was read before"):
        relay(stream)


async def test_edits_have_their_own_names(client: ImagesClient) -> None:
    """The stream of an edit is `image_edit.…`."""
    events = parse(await read(relay(client.stream_edit(PROMPT, image=encoded(house()), partial_images=1))))
    assert [event["type"] for event in events] == ["image_edit.partial_image", "image_edit.completed"]


async def test_urls_take_the_place_of_base64(client: ImagesClient) -> None:
    """With a store each event has a URL, behind which the store has the bytes."""
    store = PictureStore()
    events = parse(await read(relay(client.stream(PROMPT, partial_images=1), pictures=store)))
    assert len({event["url"] for event in events}) == store.image_count == 2
    for event in events:
        assert "b64_json" not in event
        assert (await store.get(event["url"].removeprefix("/images/"))).body == PNG


async def test_an_image_larger_than_the_store_is_sent_inline(client: ImagesClient) -> None:
    """What the store cannot keep is not lost."""
    (event,) = parse(await read(relay(client.stream(PROMPT), pictures=PictureStore(max_bytes=1000))))
    assert base64.b64decode(event["b64_json"]) == PNG


async def test_heartbeats_fill_a_silence(server: LocalImagesServer, client: ImagesClient) -> None:
    """The first bytes come before the answer, and comments while nothing comes."""
    server.script("stall")
    source = relay(client.stream(PROMPT), heartbeat=0.001)
    assert [await anext(source) for _ in range(5)] == [b": heartbeat\n\n"] * 5
    await source.aclose()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("moderation_400", "moderation_blocked"),
        ("moderation_mid_stream", "moderation_blocked"),
        ("rate_limited", "rate_limit_exceeded"),
        ("quota_429", "service_unavailable"),
        ("status:400", "invalid_request"),
        ("status:401", "service_unavailable"),
        ("status:404", "service_unavailable"),
        ("status:500", "server_error"),
        ("reset_after_body", "connection_error"),
        ("reset_mid_stream", "connection_error"),
        ("invalid_base64", "image_generation_failed"),
    ],
)
async def test_an_error_is_one_event_with_a_safe_text(
    server: LocalImagesServer, client: ImagesClient, fault: str, code: str
) -> None:
    """Whatever fails, the relay ends with an event whose text names no key, prompt or host."""
    server.script(fault)
    body = await read(relay(client.stream(PROMPT)))
    (event,) = parse(body)
    assert event["type"] == "error"
    assert event["error"]["code"] == code
    for secret in ("zebra", "sentinel", KEY, "127.0.0.1"):
        assert secret.encode() not in body


@pytest.mark.parametrize("on_disconnect", ["cancel", "finish"])
async def test_closing_ends_who_waits(
    server: LocalImagesServer, client: ImagesClient, on_disconnect: Any
) -> None:
    """Another task's `aclose` ends the iteration at once, long before the next heartbeat."""
    server.script("stall")
    source = relay(client.stream(PROMPT), on_disconnect=on_disconnect, heartbeat=600)
    reading = asyncio.create_task(read(source))
    await until(lambda: server.posts == 1)
    async with asyncio.timeout(60):
        await source.aclose()
        assert await reading == b": heartbeat\n\n"
        server.release()
        assert await wait_for_background() == 0
    assert server.disconnects == (on_disconnect == "cancel")


async def test_an_open_relay_that_is_to_be_finished_is_waited_for(
    server: LocalImagesServer, client: ImagesClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Also while it is read, and then in the background: the server may exit in between."""
    results: list[ImageResult] = []
    server.script("stall")
    source = relay(client.stream(PROMPT), on_disconnect="finish", on_result=results.append)
    reading = asyncio.create_task(read(source))
    await until(lambda: server.posts == 1)
    assert await wait_for_background(0.01) == 1
    assert "waiting for at most 0.01 s for calls in the background (1)" in caplog.text
    assert "calls in the background are not finished (1): if the process ends now" in caplog.text
    waiting = asyncio.create_task(wait_for_background())
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait({reading})
    assert await wait_for_background(0.01) == 1
    server.release()
    assert await waiting == 0
    assert [result.image.data for result in results] == [PNG]


async def test_leaving_does_not_disturb_who_gets_the_result(client: ImagesClient) -> None:
    """A browser that leaves while `on_result` runs leaves it running."""
    begun, saved, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def save(result: ImageResult) -> None:
        begun.set()
        await go_on.wait()
        saved.set()

    reading = asyncio.create_task(read(relay(client.stream(PROMPT), on_result=save)))
    await begun.wait()
    reading.cancel()
    await asyncio.wait({reading})
    go_on.set()
    assert await wait_for_background(5) == 0
    assert saved.is_set()


async def test_leaving_closes_the_call(server: LocalImagesServer, client: ImagesClient) -> None:
    """`cancel`: after `aclose` the call is closed, and nothing comes any more."""
    server.script("stall_between_events")
    source = relay(client.stream(PROMPT, partial_images=1))
    while b"partial" not in await anext(source):
        pass
    await source.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(source)
    await server.wait_disconnected()


async def test_a_cancelled_reader_closes_the_call(server: LocalImagesServer, client: ImagesClient) -> None:
    """The task that reads may be cancelled in the middle of a wait."""
    server.script("stall")
    task = asyncio.create_task(read(relay(client.stream(PROMPT))))
    await until(lambda: len(server.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_for_background()
    await server.wait_disconnected()


@pytest.mark.parametrize("on_disconnect", ["cancel", "finish"])
async def test_a_browser_that_takes_nothing_counts_as_disconnected(
    server: LocalImagesServer, client: ImagesClient, on_disconnect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It would hold the call's place under the client's limits, and with "finish" the paid image, for ever."""
    results: list[ImageResult] = []
    server.script("stall_between_events" if on_disconnect == "cancel" else "ok")
    source = relay(
        client.stream(PROMPT, partial_images=1),
        on_disconnect=on_disconnect,
        on_result=results.append,
        send_timeout=0.05,
    )
    while b"partial" not in await anext(source):
        pass
    await until(lambda: source.is_stalled)
    if on_disconnect == "cancel":
        await server.wait_disconnected()
    assert await wait_for_background(60) == 0
    assert [result.image.data for result in results] == [PNG] * (on_disconnect == "finish")
    assert [piece async for piece in source] == []
    assert "a browser has taken nothing for 0.05 s" in caplog.text


@pytest.mark.parametrize("send_timeout", [0.001, None])
async def test_a_browser_that_waits_is_not_stalled(
    server: LocalImagesServer, client: ImagesClient, send_timeout: float | None
) -> None:
    """Only the time between two pieces counts, in which the server writes."""
    server.script("stall")
    source = relay(client.stream(PROMPT), heartbeat=0.02, send_timeout=send_timeout)
    assert [await anext(source) for _ in range(5)] == [b": heartbeat\n\n"] * 5
    assert not source.is_stalled
    await source.aclose()


@pytest.mark.parametrize("read_pieces", [0, 1, 4])
async def test_finish_reads_the_paid_image_to_its_end(client: ImagesClient, read_pieces: int) -> None:
    """`finish`: the result comes although the browser has left, wherever it stopped reading."""
    results: list[ImageResult] = []
    source = relay(client.stream(PROMPT, partial_images=2), on_disconnect="finish", on_result=results.append)
    for _ in range(read_pieces):
        await anext(source)
    await source.aclose()
    await source.aclose()
    assert await wait_for_background() == 0
    assert [result.image.data for result in results] == [PNG]


@pytest.mark.parametrize("on_disconnect", ["cancel", "finish"])
async def test_a_result_is_given_once(client: ImagesClient, on_disconnect: Any) -> None:
    """Also where the browser stays to the end; an async function is awaited before the relay ends."""
    results: list[ImageResult] = []

    async def keep(result: ImageResult) -> None:
        await asyncio.sleep(0)
        results.append(result)

    source = relay(client.stream(PROMPT), on_disconnect=on_disconnect, on_result=keep)
    await read(source)
    await source.aclose()
    assert len(results) == 1


async def test_a_result_that_is_there_survives_a_cancel(client: ImagesClient) -> None:
    """A browser that leaves after the last image, before the end of the relay, loses nothing."""
    results: list[ImageResult] = []
    source = relay(client.stream(PROMPT), on_result=results.append)
    while b'"}\n\n' not in await anext(source):
        pass
    await source.aclose()
    assert len(results) == 1


async def test_the_good_images_of_a_partial_result_are_given(
    server: LocalImagesServer, client: ImagesClient
) -> None:
    """Of two streams one fails: the browser gets an image and an error, `on_result` the image."""
    results: list[ImageResult] = []
    server.script("moderation_400")
    events = parse(await read(relay(client.stream(PROMPT, n=2), on_result=results.append)))
    assert [event["type"] for event in events] == ["image_generation.completed", "error"]
    assert [len(result.images) for result in results] == [1]


async def test_an_image_that_cannot_be_stored_is_sent_inline(
    client: ImagesClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk of the store costs no image."""

    async def put(image: Image) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = PictureStore(folder=tmp_path)
    monkeypatch.setattr(store, "put", put)
    results: list[ImageResult] = []
    stream = client.stream(PROMPT, partial_images=1)
    events = parse(await read(relay(stream, pictures=store, on_result=results.append)))
    assert [base64.b64decode(event["b64_json"]) == PNG for event in events] == [True, True]
    assert len(results) == 1


@pytest.mark.parametrize("pictures", ["inline", PictureStore()])
async def test_an_image_that_cannot_be_shown_is_given(pictures: Any) -> None:
    """The server sends URLs: the browser gets an error, and `on_result` what was paid for, of all images."""
    results: list[ImageResult] = []
    async with (
        LocalImagesServer(pictures=PNG, picture_links="absolute") as server,
        ImagesClient(base_url=server.base_url, api_key=server.api_key, model="gpt-image-2") as client,
    ):
        source = relay(client.stream(PROMPT, n=2), pictures=pictures, on_result=results.append)
        assert [event["type"] for event in parse(await read(source))] == ["error"]
    assert [bool(image.url) for result in results for image in result.images] == [True, True]


async def test_an_exception_of_on_result_is_logged(
    client: ImagesClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The browser has its image all the same."""

    def fail(result: ImageResult) -> None:
        raise KeyError("my table")

    events = parse(await read(relay(client.stream(PROMPT), on_result=fail)))
    assert [event["type"] for event in events] == ["image_generation.completed"]
    assert "on_result raised" in caplog.text
    assert "zebra" not in caplog.text


async def test_the_log_says_why_a_relayed_call_failed(
    server: LocalImagesServer, client: ImagesClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The browser gets a safe text; the developer gets the reason, without the prompt."""
    server.script("status:500")
    assert parse(await read(relay(client.stream(PROMPT))))[-1]["type"] == "error"
    assert "a relayed call failed: ServerOutcomeUnknownError: the server answered 500" in caplog.text
    left = client.stream(PROMPT)
    async with left:
        pass
    assert parse(await read(relay(left)))[-1]["type"] == "error"
    assert "RuntimeError: " in caplog.text
    assert "zebra" not in caplog.text


async def test_calls_without_events_have_the_same_choice(
    server: LocalImagesServer, client: ImagesClient, caplog: pytest.LogCaptureFixture
) -> None:
    """`run_call`: a handler's cancellation closes the call, or leaves it to finish."""
    caplog.set_level(logging.DEBUG)
    results: list[ImageResult] = []
    assert (await run_call(client.generate(PROMPT), on_result=results.append)) is results[0]
    for on_disconnect in ("cancel", "finish"):
        server.script("slow_first_byte" if on_disconnect == "finish" else "stall")
        before = len(server.requests)
        task = asyncio.create_task(
            run_call(client.generate(PROMPT), on_disconnect=on_disconnect, on_result=results.append)
        )
        await until(lambda before=before: len(server.requests) > before)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await wait_for_background() == 0
        assert len(results) == (1 if on_disconnect == "cancel" else 2)
    assert "zebra" not in caplog.text


async def test_on_result_is_not_cancelled(client: ImagesClient) -> None:
    """`run_call`: the browser leaves while the paid image is saved."""
    is_saving, may_go_on = asyncio.Event(), asyncio.Event()
    results: list[ImageResult] = []

    async def save(result: ImageResult) -> None:
        is_saving.set()
        await may_go_on.wait()
        results.append(result)

    task = asyncio.create_task(run_call(client.generate(PROMPT), on_result=save))
    await is_saving.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_go_on.set()
    assert await wait_for_background() == 0
    assert len(results) == 1


async def test_settings_are_checked(client: ImagesClient) -> None:
    """Nothing is sent where a setting cannot work."""
    for settings in ({"heartbeat": 0}, {"send_timeout": 0}, {"on_disconnect": "stop"}):
        with pytest.raises(ConfigurationError):
            relay(client.stream(PROMPT), **settings)  # type: ignore[arg-type]
