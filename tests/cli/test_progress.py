"""Progress: plain lines, and a line that changes on a terminal."""

import io
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from openai_images import Image
from openai_images.cli.console import Console
from openai_images.cli.preview import Preview, TerminalProtocol
from openai_images.cli.progress import (
    LiveProgress,
    PlainProgress,
    ProgressDisplay,
    ProgressStep,
    format_bytes,
    make_preview,
    make_progress_display,
)
from tests.cli.conftest import Terminal

Cli = Callable[..., Any]
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A console whose stderr is a terminal with 24-bit colours."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    return Console(io.StringIO(), Terminal())


def written(console: Console) -> str:
    """What went to stderr."""
    assert isinstance(console.err.stream, io.StringIO)
    return console.err.stream.getvalue()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (204_800, "205 kB"), (1_843_201, "1.8 MB")],
)
def test_sizes(number: int, text: str) -> None:
    """As people read them."""
    assert format_bytes(number) == text


def test_which_progress(terminal: Console) -> None:
    """Live on a terminal, plain elsewhere and beside a log, none when quiet."""
    assert type(make_progress_display(terminal, None)) is LiveProgress
    assert (
        type(make_progress_display(Console(io.StringIO(), Terminal(), verbose=True), None)) is PlainProgress
    )
    assert type(make_progress_display(Console(io.StringIO(), io.StringIO()), None)) is PlainProgress
    assert (
        type(make_progress_display(Console(io.StringIO(), Terminal(), quiet=True), None)) is ProgressDisplay
    )


def test_pictures_need_pillow(terminal: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it there are none; whoever asked for them hears so before anything is sent."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert make_preview(terminal, None) is None
    with pytest.raises(ModuleNotFoundError):
        make_preview(terminal, wish=True)


class NobodyReads(Terminal):
    """A terminal that has been closed."""

    def write(self, text: str) -> int:
        """Cannot."""
        raise BrokenPipeError


def test_a_broken_stderr_stops_nothing(cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image is paid for, and arrives although nobody watches."""
    monkeypatch.setenv("TERM", "xterm-256color")
    assert cli("generate", "x", "--partial-images", "1", err=NobodyReads()) == (0, "x.png\n", "")


def test_which_preview(terminal: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself only on a terminal; `--preview` shows blocks elsewhere too, `--no-preview` none."""
    file = Console(io.StringIO(), io.StringIO())
    preview = make_preview(terminal, None)
    assert preview is not None
    assert preview.protocol is TerminalProtocol.BLOCKS_24_BIT
    assert make_preview(terminal, wish=False) is None
    assert make_preview(file, None) is None
    assert make_preview(Console(io.StringIO(), Terminal(), quiet=True), wish=True) is None
    monkeypatch.setenv("TERM", "xterm-kitty")
    shown = make_preview(file, wish=True), make_preview(terminal, wish=True)
    assert [one and one.protocol for one in shown] == [TerminalProtocol.BLOCKS_24_BIT, TerminalProtocol.KITTY]


def test_ascii_terminals_get_no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor any other letter that they cannot show."""
    monkeypatch.setenv("TERM", "xterm-256color")

    class AsciiTerminal(Terminal):
        encoding = "ascii"

    console = Console(io.StringIO(), AsciiTerminal())
    assert make_preview(console, None) is None
    LiveProgress(console, None).advance(ProgressStep(stage="painting", received=1, expected=2))
    assert CODES.sub("", written(console)).startswith("| *. painting")


def test_a_line_says_why_the_call_waits(terminal: Console) -> None:
    """In place of a step that was interrupted."""
    progress = LiveProgress(terminal, None, clock=lambda: 7.0)
    progress.wait_reason = lambda: "attempt 1 failed (status 503)"
    progress.advance(ProgressStep(stage="waiting for the first byte"))
    assert CODES.sub("", written(terminal)).startswith("⠋ attempt 1 failed (status 503)  0.0 s")


async def test_a_line_that_changes(terminal: Console) -> None:
    """Each step takes the place of the last; the last one stays, and the cursor is back."""
    async with LiveProgress(terminal, None, clock=lambda: 7.0) as progress:
        progress.advance(ProgressStep(stage="partial image 1 of 3", received=1, expected=3, nbytes=2000))
        progress.advance(ProgressStep(stage="done", nbytes=5000, is_last=True))
    text = written(terminal)
    lines = [CODES.sub("", line) for line in text.split("\r\x1b[2K")]
    assert lines == [
        "⠋ starting  0.0 s",
        "⠋ ●○○ partial image 1 of 3, 2 kB  0.0 s",
        "⠋ done, 5 kB  0.0 s",
        "   0.0 s  done, 5 kB\n",
    ]
    assert text.index("\x1b[?25l") < text.index("\x1b[?25h")


async def test_a_failure_clears_the_line(terminal: Console) -> None:
    """The error that follows stands at the left edge, with the cursor visible."""
    with pytest.raises(ZeroDivisionError):
        async with LiveProgress(terminal, None):
            raise ZeroDivisionError
    assert written(terminal).endswith("\r\x1b[2K\x1b[?25h")


async def test_the_line_is_never_wider_than_the_terminal(
    terminal: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that wraps could not be cleared."""
    monkeypatch.setenv("COLUMNS", "20")
    LiveProgress(terminal, None).advance(ProgressStep(stage="a long story " * 9))
    assert len(CODES.sub("", written(terminal))) == 19


async def test_pictures_are_shown_in_place(terminal: Console, pictures: dict[str, bytes]) -> None:
    """Lines are made free for the first; the second is drawn over it; a new one comes below."""
    image = Image.from_bytes(pictures["png"])
    progress = LiveProgress(terminal, Preview(TerminalProtocol.BLOCKS_24_BIT, 6, 2))
    await progress.show(image)
    first = written(terminal)
    assert first.startswith("\n\n\x1b[2A\x1b[38;2;")
    assert first.count("▀") == 12
    await progress.show(image)
    second = written(terminal)[len(first) :]
    assert second.startswith("\x1b[2A\x1b[38;2;")
    await progress.show(image, anew=True)
    assert written(terminal)[len(first + second) :].startswith("\n\n")


async def test_what_cannot_be_shown_changes_nothing(terminal: Console, tmp_path: Any) -> None:
    """Neither a file that is gone, nor an image nobody understands, nor a terminal without images."""
    preview = Preview(TerminalProtocol.KITTY, 6, 2)
    gone = Image(path=tmp_path / "gone.png")
    for progress in (
        LiveProgress(terminal, preview),
        PlainProgress(terminal, preview),
        LiveProgress(terminal, None),
    ):
        await progress.show(gone)
        await progress.show(Image.from_bytes(b"<svg/>"))
    assert written(terminal) == ""


def test_preview_into_a_file(cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--preview` is obeyed where stderr is no terminal: colours, but no cursor moves."""
    monkeypatch.setenv("TERM", "xterm-256color")
    done = cli("generate", "x", "--partial-images", "1", "--preview")
    assert (done.code, done.out) == (0, "x.png\n")
    assert "▀" in done.err
    assert set(re.findall(r"\x1b\[[0-9;]*([A-Za-z])", done.err)) == {"m"}


def test_a_terminal_sees_the_picture_being_painted(
    cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partial images and the image, in the same place."""
    monkeypatch.setenv("TERM", "xterm-256color")
    done = cli("generate", "x", "--partial-images", "2", err=Terminal())
    rows = len(done.err.split("\n\r")[0].split("\n")) - 1
    assert (done.code, done.out) == (0, "x.png\n")
    assert done.err.count("\x1b[0m\n") >= 3
    assert len(set(re.findall(r"\x1b\[(\d+)A", done.err))) == 1, rows


def test_several_pictures_are_shown_one_below_the_other(
    cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that each of them stays in sight."""
    monkeypatch.setenv("TERM", "xterm-kitty")
    done = cli("generate", "x", "--n", "2", err=Terminal())
    assert done.code == 0
    assert done.err.count("\x1b_Ga=T") == 2
