"""Ctrl-C, in a process of its own."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli_processes import started, wait_for

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("fault", "more", "until", "said"),
    [
        ("stall", [], "first byte", "may have been sent"),
        ("stall", ["--partial-images", "3"], "first byte", "may have been sent"),
        ("stall_after_headers", ["--partial-images", "3"], "first partial", "was sent and may be billed"),
        ("stall_between_events", ["--partial-images", "3"], "partial image 1", "was sent and may be billed"),
        ("stall_mid_event", [], "first byte", "may have been sent"),
    ],
)
def test_ctrl_c_says_what_it_cost_and_leaves_nothing(
    server: Any, empty_folder: Path, fault: str, more: list[str], until: str, said: str
) -> None:
    """Exit code 130, no file, no traceback, and the server sees the connection close."""
    server.always(fault)
    with started("generate", "a secret", "-o", "o.png", *more) as running:
        wait_for(running.stderr, until)
        if fault == "stall":
            while not server.posts:
                os.sched_yield()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, list(empty_folder.iterdir())) == (130, "", [])
    assert said in err
    assert "Traceback" not in err


def test_ctrl_c_keeps_the_partial_images_when_asked(server: Any, empty_folder: Path) -> None:
    """What was asked for and is whole stays; with --json stdout has a line too."""
    server.always("stall_between_events")
    argv = ["generate", "x", "-o", "o.png", "--partial-images", "3", "--keep-partials", "--json"]
    with started(*argv) as running:
        wait_for(running.stderr, "partial image 1 of 3")
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert [path.name for path in empty_folder.iterdir()] == ["o.partial-0.png"]
    assert json.loads(out)["error"]["type"] == "Interrupted"
    assert json.loads(out)["error"]["maybe_billed"] is True


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_every_ending_says_what_it_cost(server: Any, empty_folder: Path, name: str) -> None:
    """As `timeout`, a service manager or a closed terminal send it."""
    server.always("stall_between_events")
    with started("generate", "x", "-o", "o.png", "--partial-images", "3", "--json") as running:
        wait_for(running.stderr, "partial image 1 of 3")
        running.send_signal(getattr(signal, name))
        out, err = running.communicate(timeout=20)
    assert (running.returncode, list(empty_folder.iterdir())) == (130, [])
    assert json.loads(out)["error"]["maybe_billed"] is True
    assert "was sent and may be billed" in err


def test_ctrl_c_with_a_stand_in_costs_nothing(empty_folder: Path) -> None:
    """There is no bill to look at."""
    with started("generate", "x", "--local", "--partial-images", "3", "--json") as running:
        wait_for(running.stderr, "first partial image")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, list(empty_folder.iterdir())) == (130, [])
    assert json.loads(out)["error"]["maybe_billed"] is False
    assert err.splitlines()[-1] == "error: interrupted: the local placeholder image costs nothing"


def test_ctrl_c_stops_the_demo(empty_folder: Path) -> None:
    """It cost nothing, and says so by saying nothing of it."""
    with started("demo") as running:
        wait_for(running.stderr, "streaming")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "error: interrupted"
    assert not (empty_folder / "demo-output" / "index.html").exists()
