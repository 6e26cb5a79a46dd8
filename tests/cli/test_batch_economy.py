"""`openai-images batch --economy`: the command waits at the provider, leaves it on Ctrl-C, and comes back."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images.server import BatchPace, LocalImagesServer
from tests.cli.test_batch_ctrl_c import ended, started

Cli = Callable[..., Any]
CHEAP = ("--quality", "low", "--size", "1024x1024")


@pytest.fixture
def prompts(empty_folder: Path) -> str:
    """A file of three prompts."""
    (empty_folder / "prompts.txt").write_text("a red fox\na blue heron\na green frog\n")
    return "prompts.txt"


def test_half_the_price(cli: Cli, server: Any, prompts: str) -> None:
    """The same folder, at half of what the same prompts cost otherwise."""
    done = cli("batch", prompts, "--out", "out", "--economy", *CHEAP)
    assert (done.code, sorted(done.out.splitlines())) == (0, [f"out/images/0000{n}.png" for n in (1, 2, 3)])
    assert done.err.splitlines()[1].startswith("estimated cost: at most $0.0091")
    assert "$0.0088 spent" in done.err
    assert server.requests == []
    again = cli("batch", prompts, "--out", "out", "--economy", *CHEAP)
    assert "resuming: 3 done, nothing to do" in again.err


def test_cancel_alone(cli: Cli, prompts: str) -> None:
    """Is refused."""
    done = cli("batch", prompts, "--out", "out", "--cancel", "--base-url", "http://localhost:9", *CHEAP)
    assert done.code == 2
    assert "--economy" in done.err


@pytest.fixture
async def slow_server(
    pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalImagesServer]:
    """A server whose batches wait."""
    async with LocalImagesServer(pictures=pictures, batch_pace=BatchPace(hold=True)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        yield server


async def soon(is_so: Callable[[], bool]) -> None:
    """Wait until something is so. Raises TimeoutError."""
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_ctrl_c_leaves_it_at_the_provider(slow_server: LocalImagesServer, prompts: str) -> None:
    """It says how to come back; a run without --economy sends nothing, and one with --cancel ends it."""
    async with started("--economy", *CHEAP) as process:
        await soon(lambda: bool(slow_server.batches))
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGINT)
        code, _, said = await ended(process)
    assert code == 130
    assert "stopping; batches at the provider continue there" in said
    assert "0 of 3 requests done, 3 at the provider" in said
    assert "run the same command again to collect them" in said
    assert "unknown" not in said
    async with started(*CHEAP) as process:
        code, _, said = await ended(process)
    assert "3 at the provider (--economy collects them)" in said
    assert slow_server.requests == []
    slow_server.release()
    async with started("--economy", "--cancel", *CHEAP) as process:
        await soon(lambda: slow_server.batches[0].status in ("cancelling", "cancelled", "completed"))
        slow_server.release()
        code, _, said = await ended(process)
    assert "3 at the provider (collected now)" in said
    assert len(slow_server.batches) == 1
