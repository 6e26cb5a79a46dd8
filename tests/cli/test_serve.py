"""`openai-images serve`."""

import json
import shlex
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from openai_images.server import FAULTS
from tests.cli.test_interrupt import started, wait_for

Cli = Callable[..., Any]


def test_it_says_how_to_reach_it_and_stops_on_ctrl_c(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stdout can be evaluated by a shell; stderr has a line for each request, without its prompt."""
    argv = ["--api-key", "it's-a-key", "--fault", "status:404", "--always", "moderation_400"]
    with started("serve", *argv) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(6)]
        assert all("gpt-image-2" in line for line in lines[3:5])
        wait_for(running.stderr, "local placeholder image")
        for line in lines[:2]:
            name, _, value = shlex.split(line)[1].partition("=")
            monkeypatch.setenv(name, value)
        assert "the server answered 404" in cli("generate", "not to be read").err
        assert "moderation_blocked" in cli("generate", "not to be read").err
        with urllib.request.urlopen(lines[-1].split()[-1]) as page:
            assert "moderation_400" in page.read().decode()
        assert cli("models", "--check").code == 0
        err = wait_for(running.stderr, "GET /v1/models 200")
        running.send_signal(signal.SIGINT)
        out, rest = running.communicate(timeout=60)
    assert (running.returncode, out, rest) == (130, "", "error: stopped\n")
    assert "fault status:404" in err
    assert "POST /v1/images/generations 400  fault moderation_400" in err
    assert "GET / " not in err
    assert "not to be read" not in err
    assert all(line.startswith("# ") for line in lines[2:])
    assert '"model": "gpt-image-2"' in lines[3]
    assert "model='gpt-image-2'" in lines[4]


def test_a_port_in_use_is_said(cli: Cli) -> None:
    """Which one, and what to do, with exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cli("serve", "--port", str(port))
    assert (done.code, done.out) == (2, "")
    assert f"port {port} on 127.0.0.1 is already in use" in done.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--host", "0.0.0.0"], "host must be a loopback address"),
        (["--fault", "earthquake"], "unknown fault 'earthquake'"),
        (["--always", "status:abc"], "bad argument"),
        (["--images-per-minute", "0"], "0 is not in the range"),
        (["--burst", "0"], "0 is not in the range"),
        (["--burst", "5"], "--burst needs --images-per-minute"),
        (["--pace", "-1"], "-1.0 is not in the range"),
    ],
)
def test_what_it_refuses(cli: Cli, argv: list[str], said: str) -> None:
    """Usage errors, with exit code 2, before a port is taken."""
    done = cli("serve", *argv)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_limit_has_a_burst_and_can_be_hidden() -> None:
    """Two at once and no third, and no header that says so."""
    argv = ["--images-per-minute", "3", "--burst", "2", "--hide-limits", "--api-key", "a-key"]
    with started("serve", *argv) as running:
        assert running.stdout is not None
        url = shlex.split(running.stdout.readline())[1].partition("=")[2]
        assert [ask(url, n)[0] for n in (2, 1)] == [200, 429]
        status, headers = ask(url, 1)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=60)
    assert status == 429
    assert 0 < int(headers["retry-after"]) <= 20
    assert not [name for name in headers if "ratelimit" in name.lower()]


def ask(url: str, n: int) -> tuple[int, Any]:
    """Status and headers of the answer to a request for `n` images."""
    body = json.dumps({"prompt": "a fox", "n": n, "size": "1024x1024", "quality": "low"}).encode()
    headers = {"Authorization": "Bearer a-key", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/images/generations", body, headers)
    try:
        with urllib.request.urlopen(request) as response:
            response.read()
            return response.status, response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


def test_the_faults_are_listed(cli: Cli) -> None:
    """Each with what it does."""
    done = cli("serve", "--list-faults")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == sorted(FAULTS)
