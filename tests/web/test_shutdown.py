"""Real servers that are told to stop while relays are open: they end soon, and log no traceback."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from openai_images.server import LocalImagesServer
from tests.helpers.leaks import until
from tests.helpers.tiny_images import png

GOAL = 2.0  # seconds; a busy machine may need more: one of three servers counts
PATIENCE = 30  # seconds after which a server cuts what is open
UVICORN_PATIENCE = (
    2  # where a browser does not read: uvicorn waits until it has taken what was written before
)
LARGE = png(bytes(16_000_000))  # more than the sockets of a browser that does not read take
BODY = json.dumps({"prompt": "an otter"}).encode()
REQUEST = (
    b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)

pytestmark = pytest.mark.parametrize("framework", ["fastapi", "aiohttp", "django"])


@asynccontextmanager
async def served(
    framework: str, upstream: LocalImagesServer, patience: int
) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """Yield the process of an app and its address."""
    command = ("tests.helpers.web_process", framework, upstream.base_url, upstream.api_key, str(patience))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def stop(process: asyncio.subprocess.Process) -> tuple[float, str]:
    """Tell it to stop; return the seconds that it took, and its log."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        _, log = await process.communicate()
    return time.monotonic() - began, log.decode()


@pytest.mark.parametrize("browser", ["waits", "does not read"])
async def test_open_relays_end(framework: str, browser: str) -> None:
    """Long before the server would cut them; the call to the API is closed."""
    is_cut = browser == "does not read" and framework != "aiohttp"
    goal, patience = (UVICORN_PATIENCE + 1, UVICORN_PATIENCE) if is_cut else (GOAL, PATIENCE)
    took: list[float] = []
    while not took or (min(took) > goal and len(took) < 3):
        async with (
            LocalImagesServer(pictures=LARGE) as upstream,
            served(framework, upstream, patience) as (process, url),
        ):
            upstream.script("stall" if browser == "waits" else "ok")
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
                connection.connect(("127.0.0.1", urlsplit(url).port))
                reader, writer = await asyncio.open_connection(sock=connection.dup(), limit=1024)
                writer.write(REQUEST)
                await reader.readuntil(b": heartbeat")
                await until(lambda upstream=upstream: upstream.posts == 1)
                if browser == "does not read":
                    await reader.readuntil(b"b64_json")
                seconds, log = await stop(process)
                writer.close()
            took.append(seconds)
            assert "Traceback" not in log
            assert "Cancel 1 running task" not in log  # as uvicorn says before it cuts
            if browser == "waits":
                await upstream.wait_disconnected()
    assert min(took) <= goal
