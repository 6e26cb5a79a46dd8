"""Heads that aiohttp refuses, and heads that are merely long."""

import re
import sys

import pytest

from openai_images import ImagesError, OutcomeUnknownError
from openai_images.errors import ConnectionOutcomeUnknownError
from tests.helpers.clients import BOTH, JSON_ANSWER, Call, client_of, generate
from tests.helpers.raw_server import CLOSE, RawServer, reply

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
REFUSED = {
    "chunked beside a length": (
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Content-Length",
    ),
    "two lengths": (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", "Duplicate Content-Length"),
    "a length in words": (OK + b"Content-Length: sentinel\r\n\r\n", "Content-Length"),
    "no colon": (OK + b"sentinel\r\n\r\n", "Invalid header"),
    "a space in a name": (OK + b"X sentinel: 1\r\n\r\n", "Invalid header"),
    "a control character": (OK + b"X: sentinel\0\r\n\r\n", "Invalid"),
    "too long a line": (OK + b"X: " + b"sentinel" * 10_000 + b"\r\n\r\n", "more than 65536 bytes"),
    "no status": (b"HTTP/1.1 sentinel OK\r\n\r\n", "status"),
    "another protocol": (b"SSH-2.0-sentinel\r\n\r\n", "Bad status line|Expected HTTP/"),
}


@BOTH
@pytest.mark.parametrize("case", REFUSED)
async def test_malformed(call: Call, case: str) -> None:
    """The message says that the head is malformed, and how, without the answer's bytes or a status nobody sent."""
    if case == "a control character" and not sys.flags.dev_mode:
        pytest.skip("aiohttp before 3.14 accepts it outside of development mode")
    head, reason = REFUSED[case]
    async with RawServer([head, CLOSE]) as server, client_of(server) as client:
        with pytest.raises(ImagesError) as caught:
            await call(client)
        assert server.posts == 1
    text = str(caught.value)
    assert isinstance(caught.value, OutcomeUnknownError)
    assert text.startswith("the response's headers are malformed: ")
    assert re.search(reason, text)
    assert "may have been billed" in text
    assert not any(word in text for word in ("sentinel", "connection broke", "400"))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("size", [9_000, 60_000])
async def test_long_lines(size: int) -> None:
    """A policy, or a prompt that is echoed in a header, costs no image."""
    answer = reply(JSON_ANSWER, f"Content-Security-Policy: {'a' * size}")
    async with RawServer([answer]) as server, client_of(server) as client:
        assert (await generate(client)).attempts == 1


async def test_broken_connection_is_still_told_as_one() -> None:
    """A head that only ends too early is the connection's fault."""
    async with RawServer([OK, CLOSE]) as server, client_of(server) as client:
        with pytest.raises(
            ConnectionOutcomeUnknownError, match="the connection broke before the response came"
        ):
            await generate(client)
