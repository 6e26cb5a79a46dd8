"""Ctrl-C in a batch: the first one awaits what is paid for, the second one abandons it; nothing is lost either way."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from openai_images.server import LocalImagesServer
from tests.cli.conftest import names
from tests.helpers.leaks import until

pytestmark = pytest.mark.slow

Cli = Callable[..., Any]
FINISHING = "finishing 2 images that are paid for; press Ctrl-C again to abandon them\n"


@pytest.fixture
async def server(
    pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalImagesServer]:
    """In this loop, so that it can be told when to go on; the environment names it."""
    async with LocalImagesServer(pictures=pictures) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        yield server


@pytest.fixture(autouse=True)
def prompts(empty_folder: Path) -> None:
    """Five of them."""
    (empty_folder / "prompts.txt").write_text("".join(f"image {number}\n" for number in range(5)))


@asynccontextmanager
async def started(*argv: str, **streams: Any) -> AsyncIterator[Process]:
    """The batch of five, two at a time, in a process that is killed at the latest when the block ends."""
    command = ["-m", "openai_images", "batch", "prompts.txt", "--out", "out", "--concurrency", "2", *argv]
    # A shell starts its background jobs with SIGINT ignored, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, **{"stdout": PIPE, "stderr": PIPE, **streams}
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_with(stream: asyncio.StreamReader | None, words: str) -> str:
    """Read lines until one has these words."""
    assert stream is not None
    async for line in stream:
        if words in line.decode():
            return line.decode()
    raise AssertionError(f"never said {words!r}")


async def ended(process: Process) -> tuple[int | None, str, str]:
    """The exit code, and what is left of both streams."""
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, (out or b"").decode(), (err or b"").decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_first_awaits_what_is_paid_for(server: LocalImagesServer, number: signal.Signals) -> None:
    """It says so; two images arrive, nothing new is sent, and the next run sends the other three."""
    server.always("stall")
    async with started() as process:
        await until(lambda: server.posts == 2, 30)
        process.send_signal(number)
        assert await line_with(process.stderr, "Ctrl-C") == FINISHING
        server.always(None)
        server.release()
        code, out, err = await ended(process)
    assert (code, sorted(out.splitlines())) == (130, ["out/images/00001.png", "out/images/00002.png"])
    assert "2 of 5 requests done, 3 not started\n" in err
    assert "run the same command again to send the remaining requests\n" in err
    assert "Traceback" not in err
    assert server.posts == 2
    async with started("-q") as process:
        code, out, err = await ended(process)
    assert (code, len(out.splitlines()), err, server.posts) == (0, 3, "", 5)


async def test_the_second_abandons_it(server: LocalImagesServer) -> None:
    """The journal calls it unknown, and it is never sent again by itself."""
    server.always("stall")
    async with started("--json") as process:
        await until(lambda: server.posts == 2, 30)
        process.send_signal(signal.SIGINT)
        await line_with(process.stderr, "Ctrl-C")
        process.send_signal(signal.SIGINT)
        code, out, err = await ended(process)
    assert (code, json.loads(out.splitlines()[-1])["summary"]["unknown_keys"]) == (130, ["00001", "00002"])
    assert "0 of 5 requests done, 2 unknown, 3 not started\n" in err
    assert "unknown: 00001, 00002: they were sent and no image came back" in err
    assert "Traceback" not in err
    assert names(Path("out/images")) == []
    server.always(None)
    async with started() as process:
        code, out, err = await ended(process)
    assert (code, server.posts) == (1, 5)
    assert err.startswith(
        "resuming: 2 unknown (may have been billed; --retry-unknown sends them again), 3 to do"
    )


async def test_what_waits_for_a_limit_is_not_awaited(server: LocalImagesServer) -> None:
    """It did not run: nothing is unknown, and the end comes at once."""
    server.always("rate_limited:3600")
    async with started() as process:
        await until(lambda: server.posts == 2, 30)
        process.send_signal(signal.SIGINT)
        code, out, err = await ended(process)
    assert (code, out, server.posts) == (130, "", 2)
    assert "0 of 5 requests done, 5 not started\n" in err


async def test_ctrl_c_also_ends_the_reader(server: LocalImagesServer) -> None:
    """In `batch ... | tee list` Ctrl-C ends tee as well: the images arrive, and the exit code stays 130."""
    server.always("stall")
    reading, writing = os.pipe()
    async with started(stdout=writing) as process:
        os.close(writing)
        await until(lambda: server.posts == 2, 30)
        os.close(reading)
        process.send_signal(signal.SIGINT)
        await line_with(process.stderr, "Ctrl-C")
        server.always(None)
        server.release()
        code, _, err = await ended(process)
    assert (code, names(Path("out/images"))) == (130, ["00001.png", "00002.png"])
    assert err.endswith("contact sheet: out/index.html\n")


def test_before_the_first_request(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the prompts are still being typed there is nothing to finish."""

    class Interrupted:
        """A stdin at which someone presses Ctrl-C."""

        def read(self) -> str:
            """Never gives anything."""
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Interrupted())
    assert cli("batch", "-", "--out", "typed", "--local") == (130, "", "interrupted\n")
    assert not Path("typed").exists()
