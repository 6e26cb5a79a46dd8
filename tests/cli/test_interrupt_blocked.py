"""Ctrl-C in a command of which a thread never ends, as on a dead network file system: it ends all the same."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli_processes import started, wait_for

pytestmark = pytest.mark.slow

AGAIN = "press Ctrl-C again"


def blocked(module: str, function: str) -> str:
    """Code that makes a function say that it is called, and never return."""
    call = "lambda *_, **__: print('blocked', file=sys.stderr, flush=True) or threading.Event().wait()"
    return f"import threading\nimport {module}\n{module}.{function} = {call}"


def interrupted_twice(running: subprocess.Popen[str]) -> tuple[str, str]:
    """What a command prints that is blocked, and gets a second Ctrl-C when it asks for it."""
    wait_for(running.stderr, "blocked")
    running.send_signal(signal.SIGINT)
    wait_for(running.stderr, AGAIN)
    running.send_signal(signal.SIGINT)
    return running.communicate(timeout=30)


def test_an_image_that_cannot_be_read(server: Any, empty_folder: Path) -> None:
    """The first one is explained after two seconds; nothing was sent."""
    (empty_folder / "f.png").touch()
    code = blocked("openai_images.client.open_sources", "_open_path")
    with started("edit", "f.png", "-p", "x", before=code) as running:
        out, err = interrupted_twice(running)
    assert (running.returncode, out, server.posts) == (130, "", 0)
    assert err == "error: interrupted: nothing was sent\n"


@pytest.mark.usefixtures("server", "empty_folder")
def test_an_image_that_cannot_be_written() -> None:
    """It is paid for, and the command says so."""
    code = blocked("openai_images.client.files", "FileSink.publish")
    with started("generate", "x", before=code) as running:
        out, err = interrupted_twice(running)
    assert (running.returncode, out) == (130, "")
    assert "may be billed" in err
    assert "Traceback" not in err


def test_a_batch_that_cannot_be_opened(server: Any, empty_folder: Path) -> None:
    """The first one ends it."""
    (empty_folder / "p.txt").write_text("a fox\n")
    code = blocked("openai_images.batch.batch", "open_batch")
    with started("batch", "p.txt", "--out", "out", before=code) as running:
        wait_for(running.stderr, "blocked")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out, server.posts) == (130, "", 0)
    assert err == "error: interrupted: nothing was sent\n"


@pytest.mark.usefixtures("server")
def test_a_batch_that_cannot_write_its_images(empty_folder: Path) -> None:
    """The second one ends it, with the summary; the next run knows what may be billed."""
    (empty_folder / "p.txt").write_text("a fox\nan otter\n")
    code = blocked("openai_images.batch.folder.image_files", "write_file")
    with started("batch", "p.txt", "--out", "out", "--concurrency", "1", before=code) as running:
        out, err = interrupted_twice(running)
    assert (running.returncode, out) == (130, "")
    assert "0 of 2 requests done, 1 unknown, 1 not started\n" in err
    assert err.endswith("error: interrupted: requests that were sent may be billed\n")
    assert "Traceback" not in err
    with started("batch", "p.txt", "--out", "out") as running:
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (1, "out/images/00002.png\n")
    assert err.startswith("resuming: 1 unknown")


SLOW_DISK = """
import threading
from openai_images.batch.folder import image_files
from openai_images.cli import command_runner
go, write, step = threading.Event(), image_files.write_file, command_runner.InterruptHandler._step
def write_slowly(*arguments):
    print("blocked", file=sys.stderr, flush=True)
    go.wait()
    return write(*arguments)
def step_and_go_on(self, count):
    step(self, count)
    if count == 2:
        go.set()
image_files.write_file = write_slowly
command_runner.InterruptHandler._step = step_and_go_on
command_runner._GRACE = 60
"""


@pytest.mark.usefixtures("server")
def test_an_image_that_is_written_after_the_second(empty_folder: Path) -> None:
    """Its path is printed."""
    (empty_folder / "p.txt").write_text("a fox\nan otter\n")
    with started("batch", "p.txt", "--out", "out", "--concurrency", "1", before=SLOW_DISK) as running:
        wait_for(running.stderr, "blocked")
        running.send_signal(signal.SIGINT)
        wait_for(running.stderr, AGAIN)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "out/images/00001.png\n")
    assert err.startswith("1 of 2 requests done, 1 not started\n")


BLOCKED_CLIENT = """
import asyncio
from openai_images import ImagesClient
async def exit(*_):
    print("blocked", file=sys.stderr, flush=True)
    await asyncio.Event().wait()
ImagesClient.__aexit__ = exit
"""


@pytest.mark.usefixtures("server")
def test_a_batch_whose_client_cannot_be_closed(empty_folder: Path) -> None:
    """Its summary is printed once."""
    (empty_folder / "p.txt").write_text("a fox\n")
    with started("batch", "p.txt", "--out", "out", "--json", before=BLOCKED_CLIENT) as running:
        wait_for(running.stderr, "blocked")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (130, "error: interrupted\n")
    assert [next(iter(json.loads(line))) for line in out.splitlines()] == ["plan", "key", "summary", "error"]
