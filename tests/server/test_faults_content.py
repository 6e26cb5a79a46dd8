"""Faults of what an answer says."""

import base64
import json
from typing import Any

import pytest

from openai_images.server import LocalImagesServer

STREAM = {"stream": True, "partial_images": 2}
COMPLETED = "image_generation.completed"


def texts(body: bytes) -> list[bytes]:
    """The b64_json strings of a body as they are on the wire."""
    return [part.partition(b'"')[0] for part in body.split(b'"b64_json":"')[1:]]


@pytest.mark.parametrize("body", [{}, STREAM])
@pytest.mark.parametrize(
    ("fault", "spelled"),
    [
        (
            "escaped_base64",
            lambda text: text.replace("/", r"\/").replace("+", r"\u002B").replace("=", r"\u003d"),
        ),
        ("data_url_base64", lambda text: f"data:image/png;base64,{text}"),
        ("urlsafe_base64", lambda text: text.replace("+", "-").replace("/", "_")),
        ("unpadded_base64", lambda text: text.rstrip("=")),
        ("wrapped_base64", lambda text: r"\n".join(text[at : at + 76] for at in range(0, len(text), 76))),
        ("empty_b64", lambda _: ""),
    ],
)
async def test_spellings_of_base64(
    ask: Any, server: LocalImagesServer, picture: bytes, *, body: dict[str, Any], fault: str, spelled: Any
) -> None:
    """Base64 is spelled in each of the ways that occur, in JSON answers and in every event."""
    server.script(fault)
    found = texts((await ask(**body)).body)
    assert found == [spelled(base64.b64encode(picture).decode()).encode()] * (3 if body else 1)


async def test_unpadded_base64_always_lacks_padding(ask: Any) -> None:
    """An image that needs no padding gets a byte more, so that there is something to lack."""
    async with LocalImagesServer(pictures=b"\x89PNG12", faults=["unpadded_base64"]) as server:
        (text,) = texts((await ask(of=server)).body)
    assert base64.b64decode(text + b"==") == b"\x89PNG12\0"


async def test_data_urls_name_the_format(ask: Any) -> None:
    """The prefix says what the image is."""
    pictures = {"jpeg": b"\xff\xd8\xff" * 9, "webp": b"RIFF1234WEBPVP8 "}
    async with LocalImagesServer(pictures=pictures, always="data_url_base64") as server:
        for name in pictures:
            reply = await ask(of=server, output_format=name)
            assert reply.json["data"][0]["b64_json"].startswith(f"data:image/{name};base64,")


@pytest.mark.parametrize("body", [{}, STREAM])
async def test_invalid_base64(ask: Any, server: LocalImagesServer, body: dict[str, Any]) -> None:
    """Characters that are not base64 stand in the middle of it."""
    server.script("invalid_base64")
    assert all(b"!*?" in text for text in texts((await ask(**body)).body))


async def test_null_b64(ask: Any, server: LocalImagesServer) -> None:
    """The image is null."""
    server.script("null_b64", "null_b64")
    assert (await ask()).json["data"][0]["b64_json"] is None
    assert [event["b64_json"] for event in (await ask(**STREAM)).events] == [None] * 3


async def test_missing_fields(ask: Any, server: LocalImagesServer) -> None:
    """All but the image is missing or null."""
    server.script("missing_fields", "missing_fields")
    plain = (await ask()).json
    assert (plain["created"], plain["usage"], list(plain["data"][0])) == (None, None, ["b64_json"])
    first, _, last = (await ask(**STREAM)).events
    assert list(first) == ["created_at", "type", "b64_json"]
    assert (last["created_at"], last["usage"]) == (None, None)


async def test_empty_data(ask: Any, server: LocalImagesServer) -> None:
    """A successful answer without an image."""
    server.script("empty_data")
    assert (await ask()).json["data"] == []


async def test_huge_picture(ask: Any, server: LocalImagesServer) -> None:
    """The final image has the size asked for and begins as a PNG of the requested dimensions."""
    server.script("huge_picture:1.5")
    last = (await ask(size="1536x1024", **STREAM)).events[-1]
    data = base64.b64decode(last["b64_json"])
    assert len(data) == 1_500_000
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (1536, 1024)


async def test_json_instead_of_sse(ask: Any, server: LocalImagesServer) -> None:
    """A stream was asked for and a JSON body comes."""
    server.script("json_instead_of_sse")
    reply = await ask(**STREAM)
    assert reply.headers["content-type"] == "application/json"
    assert len(reply.json["data"]) == 1


async def test_sse_instead_of_json(ask: Any, server: LocalImagesServer) -> None:
    """A JSON body was asked for and a stream comes."""
    server.script("sse_instead_of_json")
    reply = await ask()
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert [event["type"] for event in reply.events] == [COMPLETED]


@pytest.mark.parametrize(
    ("fault", "nested", "code"),
    [
        ("moderation_mid_stream", True, "moderation_blocked"),
        ("error_event_nested", True, "server_error"),
        ("error_event_bare", True, "server_error"),
        ("error_event_flat", False, "server_error"),
        ("error_event_server", True, "image_generation_failed"),
    ],
)
async def test_errors_in_mid_stream(
    ask: Any, server: LocalImagesServer, fault: str, nested: bool, code: str
) -> None:
    """After one partial image an error event ends the stream; a JSON answer stays as it is."""
    server.script(fault, fault)
    reply = await ask(**STREAM)
    partial, error = reply.events
    assert partial["partial_image_index"] == 0
    assert b"\n\nevent: error\ndata: {" in reply.body
    assert ("type" in error) == (fault != "error_event_bare")
    assert (error["error"] if nested else error)["code"] == code
    assert error.get("sequence_number", 1) == 1
    assert len((await ask()).json["data"]) == 1


@pytest.mark.parametrize(
    ("fault", "start", "end"),
    [
        (
            "unknown_event",
            b'event: image_generation.queued\ndata: {"type":"image_generation.queued"',
            b"}\n\n",
        ),
        ("ping_event", b"event: ping\ndata: {}\n\n", b"}\n\n"),
        ("done_marker", b"event: image_generation.partial_image\n", b"}\n\ndata: [DONE]\n\n"),
        ("keepalive_comments", b": keepalive\n\nevent: image_generation.partial_image\n", b"}\n\n"),
        ("crlf", b"event: image_generation.partial_image\r\ndata: {", b"}\r\n\r\n"),
        ("cr", b"event: image_generation.partial_image\rdata: {", b"}\r\r"),
        ("bom", b"\xef\xbb\xbfevent: image_generation.partial_image\n", b"}\n\n"),
        ("no_event_line", b'data: {"created_at":', b"}\n\n"),
    ],
)
async def test_dialects_of_the_stream(
    ask: Any, server: LocalImagesServer, fault: str, start: bytes, end: bytes
) -> None:
    """Streams are framed in each of the ways that occur, and all of them complete."""
    server.script(fault)
    body = (await ask(**STREAM)).body
    assert body.startswith(start)
    assert body.endswith(end)
    assert body.count(b'"type":"image_generation.completed"') == 1


async def test_sequence_numbers_count_every_event(ask: Any, server: LocalImagesServer) -> None:
    """An event of an unknown type is numbered with the others."""
    server.script("unknown_event")
    assert [event["sequence_number"] for event in (await ask(**STREAM)).events] == [0, 1, 2, 3]


async def test_done_without_completed(ask: Any, server: LocalImagesServer) -> None:
    """The marker of the end comes without an image."""
    server.script("done_without_completed")
    reply = await ask(**STREAM)
    assert reply.body.endswith(b"}\n\ndata: [DONE]\n\n")
    assert COMPLETED not in json.dumps(reply.events)
