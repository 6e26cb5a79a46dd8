"""Nothing that happens to stdout, stderr or stdin ends paid work or hides a path."""

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from openai_images.cli import main
from openai_images.cli.console import Console, ResilientStream, json_line, wait_writable
from tests.cli.conftest import names

pytestmark = pytest.mark.slow

Cli = Callable[..., Any]
COMMAND = [sys.executable, "-m", "openai_images"]
ROWS = '{"key": "\\u72d0", "prompt": "a red fox"}\n{"key": "\\u0436", "prompt": "a beetle"}\n'


def encoded_as(encoding: str, errors: str = "strict") -> tuple[io.BytesIO, ResilientStream]:
    """A stream of that encoding, and the bytes behind it."""
    data = io.BytesIO()
    text = io.TextIOWrapper(data, encoding=encoding, errors=errors, newline="\n", write_through=True)
    return data, ResilientStream(text)


class Failing(io.StringIO):
    """A stream whose writes fail in one way."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.failure = error

    def write(self, text: str) -> int:
        """Cannot."""
        raise self.failure


ERRORS = [
    BrokenPipeError(32, "Broken pipe"),
    OSError(28, "No space left on device"),
    OSError(9, "Bad file descriptor"),
    ValueError("I/O operation on closed file"),
]


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "é狐\\udcff\n"),
        ("cp1252", "é\\u72d0\\udcff\n"),
        ("ascii", "\\xe9\\u72d0\\udcff\n"),
        ("cp936", "é狐\\udcff\n"),
        ("utf-16-le", "é狐\\udcff\n"),
    ],
)
def test_what_an_encoding_lacks_is_escaped(encoding: str, shown: str) -> None:
    """The rest of the line is there as it is."""
    data, stream = encoded_as(encoding)
    assert stream.write("é狐\udcff\n") == 4
    assert data.getvalue().decode(encoding) == shown
    assert not stream.is_lost


@given(
    st.text(st.characters()), st.sampled_from(["ascii", "cp1252", "cp936", "shift_jis", "utf-8", "koi8-r"])
)
def test_every_text_is_taken(text: str, encoding: str) -> None:
    """Whatever the letters and the encoding: lone surrogates as well."""
    data, stream = encoded_as(encoding)
    stream.write(text)
    assert not stream.is_lost
    assert bool(data.getvalue()) == bool(text)


def test_an_encoding_that_is_not_what_it_says() -> None:
    """ASCII is taken by all."""

    class Odd(io.StringIO):
        encoding = "no such encoding"  # type: ignore[assignment]

        def write(self, text: str) -> int:
            text.encode("ascii")
            return super().write(text)

    odd = Odd()
    ResilientStream(odd).write("a狐")
    assert odd.getvalue() == "a\\u72d0"


@pytest.mark.parametrize("error", ERRORS)
def test_a_stream_that_fails_is_lost_quietly(error: Exception) -> None:
    """It remembers why, and nothing is tried again."""
    stream = ResilientStream(Failing(error))
    stream.write("a")
    stream.flush()
    assert (stream.is_lost, stream.error) == (True, error)
    assert not stream.isatty()


class Unbuffered(io.RawIOBase):
    """What `sys.stdout.buffer` is with PYTHONUNBUFFERED=1: a nearly full disk or a signal ends a write early."""

    def __init__(self, *counts: int | None) -> None:
        """Writes take so many bytes, and then all."""
        self._counts = list(counts)
        self.data = b""

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        """Take the beginning."""
        count = self._counts.pop(0) if self._counts else len(data)
        self.data += bytes(data[: count or 0])
        return count


@pytest.mark.parametrize(("counts", "taken"), [((2, 1), b"abcdef"), ((2, None), b"ab")])
def test_a_stream_without_a_buffer_gets_all_bytes(counts: tuple[int | None, ...], taken: bytes) -> None:
    """Or it is lost: the file of an image is removed when its bytes were written."""
    unbuffered = Unbuffered(*counts)
    stream = ResilientStream(io.TextIOWrapper(cast("Any", unbuffered), write_through=True))
    assert stream.write_bytes(b"abcdef") == (taken == b"abcdef")
    assert unbuffered.data == taken


def test_an_absent_stream() -> None:
    """Lost from the beginning, for no reason worth a word."""
    stream = ResilientStream(None)
    assert stream.write("a") == 1
    assert (stream.is_lost, stream.error, stream.isatty()) == (True, None, False)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("more", [[], ["--json"], ["-q"], ["--partial-images", "1"]])
def test_the_path_is_said_where_stdout_fails(server: Any, error: Exception, more: list[str]) -> None:
    """The image is there, stderr names it, and the exit code says that something failed."""
    err = io.StringIO()
    assert main(["generate", "x", "-o", "f.png", *more], Failing(error), err) == 1
    assert (Path("f.png").is_file(), server.posts) == (True, 1)
    assert "the image is 'f.png'" in err.getvalue()
    assert ("could not be written" in err.getvalue()) == (not isinstance(error, BrokenPipeError))


@pytest.mark.parametrize("error", ERRORS)
def test_both_streams_fail(server: Any, error: Exception) -> None:
    """The work is done all the same."""
    assert main(["generate", "x", "-o", "f.png"], Failing(error), Failing(error)) == 1
    assert (Path("f.png").is_file(), server.posts) == (True, 1)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("more", [[], ["-v"], ["--json"]])
def test_a_batch_whose_keys_cannot_be_printed(server: Any, encoding: str, more: list[str]) -> None:
    """All of it is done, and every path is told."""
    Path("p.jsonl").write_text(ROWS)
    data, out = encoded_as(encoding)
    _, err = encoded_as(encoding)
    assert out.stream is not None
    assert err.stream is not None
    assert main(["batch", "p.jsonl", "--out", "o", *more], out.stream, err.stream) == 0
    assert (names(Path("o/images")), server.posts) == (["ж.png", "狐.png"], 2)
    assert len(data.getvalue().splitlines()) == (4 if more == ["--json"] else 2)


@pytest.mark.parametrize("error", ERRORS)
def test_a_batch_whose_stdout_fails(server: Any, error: Exception) -> None:
    """It is said once where the images are."""
    Path("p.jsonl").write_text(ROWS)
    err = io.StringIO()
    assert main(["batch", "p.jsonl", "--out", "o", "-q"], Failing(error), err) == 1
    assert server.posts == 2
    assert err.getvalue().count("stdout is closed; finished images are in 'o'") == 1


def test_a_server_whose_stdout_fails_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could reach it otherwise."""

    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncio.Event.wait", interrupted)
    err = io.StringIO()
    assert main(["serve", "-q"], Failing(ERRORS[1]), err) == 130
    assert "export OPENAI_BASE_URL=http://127.0.0.1:" in err.getvalue()


def fill(pipe: int) -> None:
    """Until it takes nothing more."""
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 65536)


async def test_a_pipe_that_is_full_is_waited_for_without_blocking() -> None:
    """Until its reader goes on, or leaves."""
    for leave in (False, True):
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with os.fdopen(writing, "w") as pipe:
            fill(writing)
            waiting = asyncio.create_task(wait_writable(ResilientStream(pipe)))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not waiting.done()
            if leave:
                os.close(reading)
            else:
                os.read(reading, 1 << 20)
            await waiting
            if not leave:
                os.close(reading)


async def test_what_never_blocks_is_not_waited_for(tmp_path: Path) -> None:
    """A file, a stream without a descriptor, one that is absent."""
    with (tmp_path / "f").open("w") as file:
        await wait_writable(ResilientStream(file))
    await wait_writable(ResilientStream(io.StringIO()))
    await wait_writable(ResilientStream(None))


def test_a_json_line_is_json_whatever_is_in_it() -> None:
    """What JSON has no form for becomes text."""
    record = {"a": float("nan"), "b": [float("-inf"), 1], "c": Path("x"), "d": "狐\udcff"}
    assert json.loads(json_line(record)) == {"a": "NaN", "b": ["-Infinity", 1], "c": "x", "d": "狐\udcff"}


def test_a_log_line_that_cannot_be_made_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the console itself has a fault."""
    import logging

    from openai_images.cli.command_runner import ConsoleHandler

    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = ConsoleHandler(Console(io.StringIO(), io.StringIO()))
    handler.emit(logging.LogRecord("x", 30, "f", 1, "%d", ("text",), None))


def shell(words: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """A command line as a shell runs it; `CMD` is the command."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))
    }
    return subprocess.run(
        words.replace("CMD", " ".join(COMMAND)),
        check=False,
        shell=True,
        capture_output=True,
        timeout=60,
        env={**clean, "PYTHONWARNINGS": "error", **env},
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("CMD generate x --local -o f.png >/dev/full", 1),
        ("CMD generate x --local -o f.png >&-", 0),
        ("CMD generate x --local -o f.png 2>/dev/full", 0),
        ("CMD generate x --local -o f.png 2>&-", 0),
        ("CMD generate x --local -o f.png >&- 2>&- <&-", 0),
        ("CMD generate x --local -o f.png </dev/null >/dev/full 2>/dev/full", 1),
        ("CMD generate x --local -o f.png 1</dev/null", 1),
    ],
)
def test_streams_that_a_shell_takes_away(words: str, code: int) -> None:
    """The image is made and is an image, nothing is a traceback, the exit code is one of ours."""
    done = shell(words)
    assert (done.returncode, Path("f.png").read_bytes()[:8]) == (code, b"\x89PNG\r\n\x1a\n")
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    if "2>" not in words and code:
        assert b"the image is 'f.png'" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "argv", ["--help", "--version", "serve --list-faults", "batch p.txt --out o --local"]
)
def test_every_command_survives_a_full_disk(argv: str) -> None:
    """One line says so, and the exit code is 1."""
    Path("p.txt").write_text("a fox\n")
    done = shell(f"CMD {argv} >/dev/full")
    assert done.returncode == 1
    assert done.stderr.endswith(b"error: stdout could not be written: No space left on device\n")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["generate -", "edit - -p x", "edit a.png -p -", "batch - --out o"])
@pytest.mark.parametrize("taken", ["<&-", "0>/dev/null"])
def test_a_stdin_that_cannot_be_read(command: str, taken: str) -> None:
    """One line, exit code 2, nothing written."""
    Path("a.png").touch()
    done = shell(f"CMD {command} --local {taken}")
    assert (done.returncode, done.stdout, names(Path())) == (2, b"", ["a.png"])
    assert b"stdin" in done.stderr.splitlines()[-1]
    assert b"Traceback" not in done.stderr


def test_a_closed_stdin_in_this_process(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python says it with ValueError."""
    stdin = io.TextIOWrapper(io.BytesIO())
    stdin.close()
    monkeypatch.setattr("sys.stdin", stdin)
    for argv in (["generate", "-"], ["edit", "-", "-p", "x"], ["batch", "-", "--out", "o"]):
        assert cli(*argv, "--local").code == 2


@pytest.mark.parametrize(
    ("data", "encoding", "prompt"),
    [
        ("ein süßer Fuchs".encode(), "ascii", "ein süßer Fuchs"),
        ("ein süßer Fuchs".encode("utf-8-sig"), "cp1252", "ein süßer Fuchs"),
        ("ein süßer Fuchs".encode("utf-16"), "utf-8", "ein süßer Fuchs"),
        ("ein süßer Fuchs".encode("cp1252"), "cp1252", "ein süßer Fuchs"),
    ],
)
def test_the_prompt_is_utf_8_however_stdin_is_set(
    cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch, data: bytes, encoding: str, prompt: str
) -> None:
    """A mark says otherwise; where it is no UTF-8 the locale is asked."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding=encoding))
    assert cli("generate", "-", "-o", "f").code == 0
    assert server.requests[-1].json["prompt"] == prompt


def test_a_prompt_in_a_locale_that_has_no_letters_for_it(cli: Cli, server: Any) -> None:
    """Its bytes are UTF-8 all the same."""
    given_prompt = "狐 süß".encode().decode("ascii", "surrogateescape")
    assert cli("generate", given_prompt, "-o", "f").code == 0
    assert server.requests[-1].json["prompt"] == "狐 süß"


def test_a_prompt_that_is_no_text(cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From stdin or from the command line: it is said before anything is sent."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"f\xff"), encoding="utf-8"))
    for given_prompt in ("-", "f\udcff", "f\ud83d"):
        done = cli("generate", given_prompt)
        assert (done.code, server.posts) == (2, 0)
        assert "not UTF-8; convert it" in done.err
