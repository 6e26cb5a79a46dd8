"""`--shared-limit` and `--limit-name`: the same limits for every process that names them."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from benchmarks.redis_server import RedisServer

PASSWORD = "hunter2-never-shown"
_NUMBERS = count()


def keys(server: RedisServer) -> str:
    """The names that the server knows."""
    return str(server.ask("KEYS", "*"))


@pytest.mark.parametrize(
    "argv",
    [
        ("generate", "an otter", "-o", "otter.png"),
        ("batch", "--prompt", "an otter", "--out", "otters", "--images-per-minute", "600"),
    ],
)
def test_requests_take_their_places_there(
    cli: Callable[..., Any], server: Any, redis_server: RedisServer, argv: tuple[str, ...]
) -> None:
    """Under the name that was given."""
    name = f"cli-{next(_NUMBERS)}"
    done = cli(*argv, "--shared-limit", redis_server.url, "--limit-name", name)
    assert (done.code, server.posts) == (0, 1), done.err
    assert f"openai-images:limits:{name}" in keys(redis_server)


def test_the_environment_names_it_too(
    cli: Callable[..., Any], server: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There other users of the machine do not see a password; the local server shares nothing."""
    name = f"cli-{next(_NUMBERS)}"
    monkeypatch.setenv("OPENAI_IMAGES_SHARED_LIMIT", redis_server.url)
    assert cli("generate", "an otter", "-o", "a.png", "--limit-name", name).code == 0
    assert name in keys(redis_server)
    monkeypatch.setenv("OPENAI_IMAGES_SHARED_LIMIT", "redis://127.0.0.1:1")
    assert cli("generate", "an otter", "-o", "b.png", "--local", "--size", "1024x640").code == 0
    assert Path("b.png").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--limit-name", "team"), "--limit-name needs --shared-limit URL, or OPENAI_IMAGES_SHARED_LIMIT."),
        (
            ("--local", "--shared-limit", "redis://host"),
            "--local starts its own server; leave --shared-limit out.",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    cli: Callable[..., Any], server: Any, argv: tuple[str, ...], message: str
) -> None:
    """Before anything is sent."""
    done = cli("generate", "an otter", *argv)
    assert (done.code, server.posts) == (2, 0)
    assert message in done.err


@pytest.mark.parametrize("command", [("generate", "x"), ("batch", "--prompt", "x", "--out", "o")])
def test_a_bad_url_is_an_error_that_does_not_show_it(
    cli: Callable[..., Any], server: Any, command: tuple[str, ...]
) -> None:
    """It may hold a password."""
    done = cli(*command, "--shared-limit", f"http://:{PASSWORD}@host")
    assert (done.code, server.posts) == (2, 0)
    assert "must be a URL such as redis://host:6379/0" in done.err
    assert PASSWORD not in done.err + done.out
