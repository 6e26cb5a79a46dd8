"""Log records, warnings and whatever else is written while a live display is on."""

import io
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any, cast

import pytest

from openai_images import Image
from openai_images.cli.command_runner import diagnostics_to
from openai_images.cli.console import Console
from openai_images.cli.preview import Preview, TerminalProtocol
from openai_images.cli.progress import LiveProgress, ProgressStep
from tests.cli.conftest import Terminal
from tests.helpers.screen import Screen

Cli = Callable[..., Any]
log = logging.getLogger("openai_images")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A console whose two streams are one terminal."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    both = Terminal()
    return Console(both, both)


def seen(console: Console, stream: Any) -> list[str]:
    """The lines that the terminal shows."""
    return Screen(stream.getvalue()).text.splitlines()


async def test_nothing_shares_a_line_with_the_spinner(terminal: Console) -> None:
    """Records of any library, warnings, `print` to stderr, a result on stdout: each above it, from any thread."""
    both: Any = terminal.err.stream
    with diagnostics_to(terminal), redirect_stderr(cast("Any", terminal.err)), warnings.catch_warnings():
        warnings.simplefilter("always")
        async with LiveProgress(terminal, None, clock=lambda: 7.0) as progress:
            progress.advance(ProgressStep(stage="waiting for the first byte"))
            log.warning("the server asks for a pause")
            logging.getLogger("aiohttp.client").error("something broke")
            warnings.warn("this will change", DeprecationWarning, stacklevel=1)
            thread = threading.Thread(target=log.warning, args=("the disk is full",))
            thread.start()
            thread.join()
            print("from elsewhere", file=sys.stderr)  # noqa: T201
            terminal.print_result("otter.png")
            assert seen(terminal, both) == [
                "warning: the server asks for a pause",
                "error: aiohttp.client: something broke",
                "warning: this will change (DeprecationWarning)",
                "warning: the disk is full",
                "from elsewhere",
                "otter.png",
                "⠋ waiting for the first byte  0.0 s",
            ]
    assert seen(terminal, both)[-1] == "otter.png"


async def test_no_picture_is_drawn_over_a_warning(terminal: Console, pictures: dict[str, bytes]) -> None:
    """What was said since the last one stays, and the next comes below it."""
    both: Any = terminal.err.stream
    image = Image.from_bytes(pictures["png"])
    preview = Preview(TerminalProtocol.BLOCKS_24_BIT, 6, 2)
    with diagnostics_to(terminal):
        async with LiveProgress(terminal, preview, clock=lambda: 7.0) as progress:
            await progress.show(image)
            log.warning("slow")
            await progress.show(image)
            await progress.show(image)
    assert seen(terminal, both) == ["▀" * 6] * 2 + ["warning: slow"] + ["▀" * 6] * 2


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "warning: careful\nerror: broken\n"),
        ({"quiet": True}, "error: broken\n"),
    ],
)
def test_how_a_record_begins(options: dict[str, Any], shown: str) -> None:
    """With its level; quiet leaves errors; what an error's traceback holds is not shown."""
    err = io.StringIO()
    with diagnostics_to(Console(io.StringIO(), err, **options)):
        log.info("attempt 1")
        log.warning("careful")
        try:
            raise ValueError("sk-secret")  # noqa: TRY301
        except ValueError:
            log.exception("broken")
    assert err.getvalue() == shown


def test_verbose_shows_all_of_it() -> None:
    """Also the traceback."""
    err = io.StringIO()
    with diagnostics_to(Console(io.StringIO(), err, verbose=True)):
        log.debug("attempt 1")
        try:
            raise ValueError("why")  # noqa: TRY301
        except ValueError:
            log.exception("broken")
    first, second, *more = err.getvalue().splitlines()
    assert (first, second, more[0]) == (
        "openai_images: attempt 1",
        "error: broken",
        "Traceback (most recent call last):",
    )


def test_everything_is_as_before_afterwards() -> None:
    """Handlers, the level and how warnings are shown."""
    before = list(logging.getLogger().handlers), log.level, warnings.showwarning
    with diagnostics_to(Console(io.StringIO(), io.StringIO(), verbose=True)):
        assert log.level == logging.DEBUG
    assert (list(logging.getLogger().handlers), log.level, warnings.showwarning) == before


def test_a_doubt_begins_with_warning(cli: Cli, server: Any) -> None:
    """With what was probably meant, on a line of its own, before the request is sent."""
    done = cli("generate", "x", "--quality", "hihg")
    assert done.code == 1
    (line,) = [line for line in done.err.splitlines() if "did you mean" in line]
    assert line.startswith(
        "warning: quality: 'hihg' is not known to this version; did you mean high? (accepted: "
    )
