"""What is said when something fails."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from openai_images import APITimeoutError, BadRequestError, ImageResult, ImagesClient, RateLimitError
from openai_images.cli.error_report import report_from
from tests.cli.conftest import Terminal

PROMPT = "a prompt that nobody else may read"
Cli = Callable[..., Any]


@pytest.mark.parametrize(
    ("fault", "said", "to_do"),
    [
        ("moderation_400", "the server answered 400 (moderation_blocked)", "change the prompt"),
        ("quota_429", "insufficient_quota", "add credit"),
        ("status:401", "the server answered 401", "OPENAI_API_KEY"),
        ("status:500", "the server answered 500", "may have been billed"),
        ("html_502", "an HTML page", "may have been billed"),
        ("reset_after_body", "the connection broke before the response came", "may have been billed"),
        ("html_200", "HTML", "may have been billed"),
        ("echo_secrets", "Upstream refused the request", ""),
    ],
)
def test_a_failure_is_one_block(cli: Cli, server: Any, fault: str, said: str, to_do: str) -> None:
    """What happened and what to do; never the key, the prompt or a traceback."""
    server.always(fault)
    done = cli("generate", PROMPT, "-q", "-o", "o.png")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert said in done.err
    assert to_do in done.err
    assert "1 attempt, " in done.err
    assert all(secret not in done.err for secret in (server.api_key, PROMPT, "Traceback"))
    assert done.err.count("billed") == ("billed" in to_do)


def test_a_wrong_size_says_which_option(cli: Cli, server: Any) -> None:
    """The server's own sentence, the option to change, and the request's name once."""
    done = cli("generate", PROMPT, "--size", "10x10", "-q")
    first, second, third = done.err.splitlines()
    assert (done.code, done.out) == (1, "")
    assert "Invalid size '10x10'. Width and height must both be divisible by 16" in first
    assert second.strip() == "Change --size (WIDTHxHEIGHT such as 1536x1024, or auto)."
    assert third.strip().startswith("request req_")
    assert done.err.count("req_") == 1


UNKNOWN = "the parameter `output_format` is not supported"
SUFFIX = "-o ends in .png, which requests that format; a name without a suffix requests none."


@pytest.mark.parametrize(
    ("argv", "message", "param", "hint"),
    [
        (["-o", "f.png"], UNKNOWN, "output_format", SUFFIX),
        (["-o", "f.png"], UNKNOWN, None, SUFFIX),
        (["-o", "f", "--format", "png"], UNKNOWN, None, "Change --format."),
        (["-o", "f.png", "--format", "png"], UNKNOWN, None, "Change --format and the suffix .png of -o."),
        (["-o", "f"], UNKNOWN, "output_format", "Set it with --format."),
        (["-o", "f.png"], "no such thing", "quality", "Set it with --quality."),
        (["--quality", "low"], "no such thing", "quality", "Change --quality."),
        (["--compression", "9"], "output_compression must go", None, "Change --compression."),
        ([], "no such model", "model", "Set it with --model."),
        (["--model", "m"], "no such model", "model", "Change --model."),
        ([], "a size for every taste", None, ""),
    ],
)
def test_a_hint_speaks_of_what_was_typed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, argv: list[str], message: str, param: str | None, hint: str
) -> None:
    """Not of an option that nobody gave."""
    error = BadRequestError(message, status_code=400, param=param)

    async def fail(*_: object, **__: object) -> ImageResult:
        raise error

    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setattr(ImagesClient, "generate", fail)
    done = cli("generate", PROMPT, "-q", *argv)
    assert done.code == 1
    assert done.err.splitlines()[1:] == ([f"       {hint}"] if hint else [])


def test_a_failure_as_json(cli: Cli, server: Any) -> None:
    """One line on stdout, the block on stderr as always."""
    server.always("status:500")
    done = cli("generate", PROMPT, "--json", "-q")
    line = json.loads(done.out)
    assert done.code == 1
    assert (line["error"]["type"], line["error"]["status_code"]) == ("ServerOutcomeUnknownError", 500)
    assert (line["error"]["maybe_billed"], line["attempts"]) == (True, 1)
    assert line["request_id"].startswith("req_")
    assert done.err.startswith("error: ")


def test_a_failure_in_mid_stream_leaves_no_file(cli: Cli, server: Any, empty_folder: Any) -> None:
    """Neither the partial images nor half an image."""
    server.always("eof_after_partials:2")
    done = cli("generate", PROMPT, "--partial-images", "3", "-o", "o.png")
    assert (done.code, done.out, list(empty_folder.iterdir())) == (1, "", [])
    assert "partial image 2 of 3" in done.err
    assert "billed" in done.err


def test_a_failure_keeps_the_partial_images_when_asked(cli: Cli, server: Any, empty_folder: Any) -> None:
    """They are all there is to show for the money."""
    server.always("eof_after_partials:1")
    done = cli("generate", PROMPT, "--partial-images", "3", "--keep-partials", "-o", "o.png", "-q")
    assert (done.code, done.out) == (1, "")
    assert [path.name for path in empty_folder.iterdir()] == ["o.partial-0.png"]


def test_a_failure_is_red_on_a_terminal(cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only there, and not with NO_COLOR."""
    monkeypatch.setenv("TERM", "xterm-256color")
    server.always("status:404")
    assert "\x1b[1;31merror: " in cli("generate", PROMPT, "-q", err=Terminal()).err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[1;31m" not in cli("generate", PROMPT, "-q", err=Terminal()).err


def test_control_characters_of_a_server_are_not_obeyed(
    cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error message may not move the cursor nor write to the clipboard."""

    async def refuse(*_: Any, **__: Any) -> ImageResult:
        raise RateLimitError("wait\x1b]52;c;aGk=\x07 or\rnot", status_code=429)

    monkeypatch.setattr(ImagesClient, "generate", refuse)
    done = cli("generate", PROMPT, "-q")
    assert done.code == 1
    mark = "\N{REPLACEMENT CHARACTER}"
    assert done.err.splitlines()[0] == f"error: wait{mark}]52;c;aGk={mark} or{mark}not"


def fail_with(error: Exception) -> Callable[..., Coroutine[Any, Any, ImageResult]]:
    """A `generate` that raises."""

    async def generate(*_: Any, **__: Any) -> ImageResult:
        raise error

    return generate


def test_a_mistake_of_ours_is_a_sentence(cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text may hold anything, so only its name is shown; --verbose shows the traceback."""
    monkeypatch.setattr(ImagesClient, "generate", fail_with(ZeroDivisionError(PROMPT)))
    done = cli("generate", PROMPT, "-q")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: an unexpected error happened (ZeroDivisionError)\n")
    assert PROMPT not in done.err
    assert "Traceback" in cli("generate", PROMPT, "-v").err


def test_hints_for_waiting() -> None:
    """How long, where the server said; and which option gives more time."""
    limit = RateLimitError("slow down", status_code=429)
    assert report_from(limit).advice == "Wait a minute."
    limit.retry_after = 12.0
    assert report_from(limit).advice == "Wait 12 seconds."
    assert "--timeout" in report_from(APITimeoutError("too long", timer="total", seconds=600)).advice
    assert report_from(APITimeoutError("too long", timer="idle", seconds=600)).advice == ""


def test_a_wait_that_is_too_long(cli: Cli, server: Any) -> None:
    """The message is the server's; the setting of the client that bounds the wait is no option of a command."""
    server.always("rate_limited:300")
    done = cli("generate", PROMPT, "-q")
    assert (done.code, "RetryPolicy" in done.err, done.err.count("req_")) == (1, False, 1)
    assert "Wait 300 seconds." in done.err


def test_a_timeout_is_the_users_to_set(cli: Cli, server: Any) -> None:
    """`--timeout` bounds one attempt, and says that it did."""
    server.always("stall")
    done = cli("generate", PROMPT, "--timeout", "0.2", "-q")
    assert (done.code, done.out, server.posts) == (1, "", 1)
    assert "within 0.2 s" in done.err
    assert "--timeout SECONDS" in done.err


@pytest.mark.usefixtures("server")
def test_a_server_that_is_not_there(cli: Cli) -> None:
    """The attempts after the first one do not wait for a response: they connect again."""
    done = cli("generate", PROMPT, "--base-url", "http://127.0.0.1:1/v1")
    stages = [line.partition(" s  ")[2] for line in done.err.splitlines()[:4]]
    assert stages[2:] == ["retrying (attempt 2)", "retrying (attempt 3)"]
    assert (done.code, "Nothing was sent." in done.err) == (1, True)
