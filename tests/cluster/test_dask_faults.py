"""Real scheduler, worker and driver processes that die or are suspended: nothing is paid for twice, nothing is lost."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from benchmarks.dask_case import Case, dask_processes
from benchmarks.dask_faults import run_case
from openai_images.server import LocalImagesServer
from tests.helpers.cli_processes import started

pytestmark = pytest.mark.slow


async def test_faults(tmp_path: Path) -> None:
    """After each, after another run, and after one with retry_unknown, no guarantee is violated.

    All at once, as most of their time is waiting; each has its own cluster and server.
    """
    faults = ("worker", "driver", "scheduler", "zombie")
    cases = [Case(fault=fault, items=150, pace=0.3, in_flight=16) for fault in faults]
    stories = await asyncio.gather(*(run_case(case, tmp_path / case.fault) for case in cases))
    assert {story.case.fault: story.wrong for story in stories} == {fault: [] for fault in faults}


def test_the_command_line(
    tmp_path: Path, server_thread: LocalImagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first Ctrl-C awaits what is in flight, and withdraws the rest; the same command again sends that."""
    server_thread.reset(pace=0.2)
    for name, value in server_thread.environment.items():
        monkeypatch.setenv(name, value)
    source, out = tmp_path / "prompts.txt", tmp_path / "out"
    source.write_text("".join(f"otter number {number}\n" for number in range(200)))
    command = ["batch", str(source), "--out", str(out), "--concurrency", "8", "--json"]
    with dask_processes(tmp_path / "dask", server_thread.environment, workers=1) as cluster:
        with started(*command, "--dask", cluster.address) as running:
            assert running.stdout is not None
            lines = [json.loads(running.stdout.readline()) for _ in range(20)]
            running.send_signal(signal.SIGINT)
            rest, said = running.communicate(timeout=60)
        assert running.returncode == 130, said
        *_, summary = [*lines, *map(json.loads, rest.splitlines())]
        sent = len(server_thread.requests)
        assert summary["summary"]["done"] == sent < 150
        with started(*command, "--dask", cluster.address) as running:
            said = "".join(running.communicate(timeout=60))
        assert running.returncode == 0, said
    assert len(server_thread.requests) == len(list((out / "images").iterdir())) == 200
