"""An image that is not what it was said to be is told of once, and named by what it is."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.clients import B64, PROMPT, client_of, event
from tests.helpers.raw_server import LAST_CHUNK, RawServer, chunked, reply


def answer(**fields: Any) -> bytes:
    """A JSON answer with a PNG."""
    return reply(json.dumps({"data": [{"b64_json": B64}], **fields}).encode())


async def test_told_once(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The server calls a PNG a JPEG, and another format was asked for; the file is a PNG's."""
    async with RawServer([answer(output_format="jpeg")]) as server, client_of(server) as client:
        for _ in range(2):
            result = await client.generate(PROMPT, output_format="webp", into=tmp_path / "otter")
        assert result.image.media_type == "image/png"
        assert result.image.path == tmp_path / "otter-2.png"
        assert result.output_format == "jpeg"
    assert [
        (record.levelname, record.getMessage()) for record in caplog.records if record.levelno > logging.INFO
    ] == [
        (
            "WARNING",
            (
                "an image is image/png (detected from its bytes), but output_format is webp and the server declares "
                "jpeg; media_type and file names follow the bytes"
            ),
        )
    ]


async def test_streams_too(caplog: pytest.LogCaptureFixture) -> None:
    """The completed event says what it should be."""
    body = chunked(event("completed", b64_json=B64, output_format="webp")), LAST_CHUNK
    async with RawServer(body) as server, client_of(server) as client, client.stream(PROMPT) as stream:
        assert len([one async for one in stream]) == 1
    assert "the server declares webp" in caplog.text


@pytest.mark.parametrize(
    "fields", [{}, {"output_format": "png"}, {"output_format": "PNG"}, {"output_format": None}]
)
async def test_nothing_to_tell(fields: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What is right, or not said, is no news."""
    async with RawServer([answer(**fields)]) as server, client_of(server) as client:
        await client.generate(PROMPT, output_format="png")
        await client.generate(PROMPT)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
