"""A Dask scheduler and workers in processes of their own, to be killed.

The processes are ended by their ids when the block ends, however it ends.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from attrs import define, field

from benchmarks.processes import ROOT

_START_SECONDS = 60.0
_LOCAL = ("--host", "127.0.0.1", "--dashboard-address", ":0")


@define
class DaskProcesses:
    """The processes of a cluster: its scheduler, and workers in the order of their start; logs are in `folder`."""

    folder: Path
    environment: Mapping[str, str]
    threads: int
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(factory=list[subprocess.Popen[bytes]])

    @property
    def address(self) -> str:
        """Where the scheduler listens."""
        return _address(self.folder)

    def start_worker(self, *options: str) -> subprocess.Popen[bytes]:
        """Start one more worker, without waiting for it."""
        name = f"worker-{len(self.workers)}"
        command = ("worker", self.address, *_LOCAL, "--nworkers", "1", "--name", name, "--no-nanny", *options)
        worker = _start(self.folder, name, self.environment, *command)
        self.workers.append(worker)
        return worker

    def wait_for_workers(self, count: int) -> None:
        """Wait until so many workers are registered."""
        for number in range(count):
            _wait_for(self.folder / f"worker-{number}.log", b"Registered to")

    def restart(self) -> None:
        """Start a scheduler and as many workers again, after the scheduler's end; the old workers are awaited."""
        count, threads = len(self.workers), self.threads
        self.scheduler.wait(10)
        for worker in self.workers:
            worker.wait(60)
        for log in self.folder.glob("*.log"):
            log.unlink()
        self.workers.clear()
        self.scheduler = _start_scheduler(self.folder, self.environment)
        for _ in range(count):
            self.start_worker("--nthreads", str(threads))
        self.wait_for_workers(count)

    def log(self, name: str) -> str:
        """What a process has written."""
        return (self.folder / f"{name}.log").read_text()


@contextmanager
def dask_processes(
    folder: Path, environment: Mapping[str, str], workers: int = 2, threads: int = 32
) -> Generator[DaskProcesses]:
    """A scheduler and workers with so many `threads`, all of them running; `environment` is added to theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dask").mkdir(exist_ok=True)
    added = {
        "PYTHONPATH": str(ROOT),
        "DASK_TEMPORARY_DIRECTORY": str(folder / "dask"),
        "DASK_DISTRIBUTED__VERSION": "2",
    }
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"}
    env = inherited | added | dict(environment)
    with ExitStack() as ends:
        cluster = DaskProcesses(folder, env, threads, _start_scheduler(folder, env))
        ends.callback(_end, cluster)
        for _ in range(workers):
            cluster.start_worker("--nthreads", str(threads))
        cluster.wait_for_workers(workers)
        yield cluster


def _start_scheduler(folder: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    scheduler = _start(folder, "scheduler", env, "scheduler", *_LOCAL, "--port", "0")
    _wait_for(folder / "scheduler.log", b"Scheduler at:")
    return scheduler


def _start(folder: Path, name: str, env: Mapping[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], stdout=log, stderr=log, env=dict(env), cwd=ROOT
        )


def _end(cluster: DaskProcesses) -> None:
    processes = [cluster.scheduler, *cluster.workers]
    for process in processes:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)  # one that is suspended cannot end
            process.kill()
    for process in processes:
        process.wait(10)


def _wait_for(log: Path, words: bytes) -> None:
    end = time.monotonic() + _START_SECONDS
    while words not in log.read_bytes():
        if time.monotonic() > end:
            raise AssertionError(f"{log.name} never had {words!r}: {log.read_text()}")
        time.sleep(0.05)


def _address(folder: Path) -> str:
    for line in (folder / "scheduler.log").read_text().splitlines():
        if "Scheduler at:" in line:
            return line.split()[-1]
    raise AssertionError("the scheduler has no address")
