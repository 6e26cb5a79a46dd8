"""How a batch's progress looks: plain lines now and then, or a few lines that change on a terminal."""

import io
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from openai_images import Progress
from openai_images.cli.batch_progress import (
    BatchDisplay,
    LiveBatchDisplay,
    PlainDisplay,
    make_batch_display,
    rows,
    status_fields,
)
from openai_images.cli.console import Console
from tests.cli.conftest import Terminal
from tests.helpers.screen import Screen

FAR = Progress(
    total=1000,
    done=740,
    failed=16,
    blocked=3,
    unknown=1,
    in_flight=16,
    waiting=4,
    images=740,
    images_per_minute=118.2,
    eta=132.0,
    spent=Decimal("3.7123"),
    unpriced=2,
)


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        """It is zero."""
        self.seconds = 0.0

    def clock(self) -> Callable[[], float]:
        """As a display takes it; nothing sleeps on it."""
        return lambda: self.seconds


@pytest.fixture
def time() -> Time:
    """A clock that is set by hand."""
    return Time()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A console whose two streams are one terminal, 80 columns wide."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    both = Terminal()
    return Console(both, both)


def written(console: Console) -> str:
    """What went to stderr."""
    stream: Any = console.err.stream
    return str(stream.getvalue())


def test_which_display(terminal: Console) -> None:
    """A region on a terminal, lines elsewhere and beside a log, only failures when quiet."""
    assert type(make_batch_display(terminal)) is LiveBatchDisplay
    assert type(make_batch_display(Console(io.StringIO(), Terminal(), verbose=True))) is PlainDisplay
    assert type(make_batch_display(Console(io.StringIO(), io.StringIO()))) is PlainDisplay
    assert type(make_batch_display(Console(io.StringIO(), Terminal(), quiet=True))) is BatchDisplay


def test_what_is_worth_saying() -> None:
    """Failures are those that are neither blocked nor unknown; nothing is counted twice."""
    assert [fact.text for fact in status_fields(FAR)] == [
        "740 done",
        "12 failed",
        "3 blocked by moderation",
        "1 unknown, may be billed",
        "16 in flight",
        "4 waiting to be sent",
        "118 images/min",
        "$3.71 spent and 2 of unknown cost",
        "2 min 12 s left",
    ]


def test_what_is_nothing_is_not_said() -> None:
    """Neither a zero nor an unknown sum; a rate below ten has a decimal."""
    assert status_fields(Progress(total=3)) == []
    few = Progress(total=3, done=1, images=1, images_per_minute=4.26, eta=9.0)
    assert [fact.text for fact in status_fields(few)] == ["1 done", "4.3 images/min"]


def test_lines_now_and_then(time: Time) -> None:
    """One every ten seconds while something changes, one every minute while nothing does."""
    console = Console(io.StringIO(), io.StringIO())
    display = PlainDisplay(console, time.clock())
    display.tick()
    for second in range(10, 200, 10):
        time.seconds = float(second)
        if second <= 30:
            display.update(Progress(total=9, done=second // 10 - 1, in_flight=1))
        display.tick()
    assert written(console).splitlines() == [
        "        10 s  0 of 9 done, 1 in flight",
        "        20 s  1 of 9 done, 1 in flight",
        "        30 s  2 of 9 done, 1 in flight",
        "  1 min 30 s  2 of 9 done, 1 in flight",
        "  2 min 30 s  2 of 9 done, 1 in flight",
    ]


def test_a_wait_is_described_as_it_is_now(time: Time, terminal: Console) -> None:
    """Its seconds are those of the line, not of the last change; they alone are no reason for a line."""
    console = Console(io.StringIO(), io.StringIO())
    plain, live = PlainDisplay(console, time.clock()), LiveBatchDisplay(terminal, time.clock())
    for display in (plain, live):
        display.update(Progress(total=9, waiting=1, wait_reason="limited, 90 s from now"))
        display.wait_reason = lambda: f"limited, {90 - time.seconds:.0f} s from now"
    for second in range(10, 80, 10):
        time.seconds = float(second)
        plain.tick()
    assert written(console).splitlines() == [
        "        10 s  0 of 9 done, 1 waiting to be sent, limited, 80 s from now",
        "  1 min 10 s  0 of 9 done, 1 waiting to be sent, limited, 20 s from now",
    ]
    live.open()
    live.close()
    assert "limited, 20 s from now" in written(terminal)


def test_ten_thousand_pictures_are_a_few_lines(time: Time) -> None:
    """A line is due by the clock, however much happens."""
    console = Console(io.StringIO(), io.StringIO())
    display = PlainDisplay(console, time.clock())
    for number in range(10_000):
        time.seconds = number / 100
        display.update(Progress(total=10_000, done=number, in_flight=16))
        if number % 1000 == 999:
            display.tick()
    assert len(written(console).splitlines()) == 10


@pytest.mark.parametrize("make", [BatchDisplay, PlainDisplay])
def test_a_storm_of_failures_is_counted(time: Time, make: Callable[..., BatchDisplay]) -> None:
    """Ten are said at once, the others of the same ten seconds in one line; the next ones are said again."""
    console = Console(io.StringIO(), io.StringIO(), quiet=True)
    display = make(console, time.clock())
    for number in range(500):
        time.seconds = number / 100
        display.failure(f"no {number}")
    time.seconds = 10.0
    display.tick()
    display.failure("once more")
    display.close()
    assert written(console).splitlines() == [
        *(f"no {number}" for number in range(10)),
        "and 490 more failures",
        "once more",
    ]


def test_the_rest_of_a_storm_is_counted_at_the_end(time: Time) -> None:
    """None of them goes unmentioned."""
    console = Console(io.StringIO(), io.StringIO())
    display = PlainDisplay(console, time.clock())
    for number in range(11):
        display.failure(f"no {number}")
    display.close()
    assert written(console).splitlines()[-1] == "and 1 more failure"


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (
            40,
            [
                "━━━━━━━━━━━━━━━━━━━╍───── 756/1,000 75%",
                "740 done · 12 failed",
                "3 blocked by moderation",
                "1 unknown, may be billed · 16 in flight",
                "4 waiting to be sent · 118 images/min",
                "$3.71 spent and 2 of unknown cost",
                "2 min 12 s left · 6 min 40 s so far",
            ],
        ),
        (
            80,
            [
                "━" * 50 + "╍╍" + "─" * 13 + " 756/1,000 75%",
                "740 done · 12 failed · 3 blocked by moderation · 1 unknown, may be billed",
                "16 in flight · 4 waiting to be sent · 118 images/min",
                "$3.71 spent and 2 of unknown cost · 2 min 12 s left · 6 min 40 s so far",
            ],
        ),
        (
            120,
            [
                "━" * 76 + "╍╍" + "─" * 22 + " 756/1,000 75%",
                (
                    "740 done · 12 failed · 3 blocked by moderation · 1 unknown, may be billed · 16 in flight · "
                    "4 waiting to be sent"
                ),
                "118 images/min · $3.71 spent and 2 of unknown cost · 2 min 12 s left · 6 min 40 s so far",
            ],
        ),
    ],
)
def test_rows_fit_the_terminal(width: int, shown: list[str]) -> None:
    """Broken between facts, and narrower than the terminal, so that none wraps."""
    assert [row.plain for row in rows(FAR, 400.0, width)] == shown


@pytest.mark.parametrize("width", [1, 7, 15, 20])
def test_rows_fit_a_tiny_terminal(width: int) -> None:
    """A bar without room is left out, a fact without room is cut."""
    assert all(0 < row.cell_len <= max(1, width - 1) for row in rows(FAR, 400.0, width))


def test_a_failure_among_thousands_shows_in_the_bar() -> None:
    """However small its share; so does one that is in flight, and a full bar is as long as an empty one."""
    bar = rows(Progress(total=10_000, failed=1, in_flight=1), 0.0, 80)[0]
    assert {str(span.style): span.end - span.start for span in bar.spans}["red"] == 1
    assert "╍" in bar.plain
    full = rows(Progress(total=10_000, done=9_999, failed=1), 0.0, 80)[0]
    assert full.plain.count("━") == 80 - 1 - len(" 10,000/10,000 100%")


def test_rows_in_ascii() -> None:
    """Where the terminal can show no more."""
    assert all(row.plain.isascii() for row in rows(FAR, 400.0, 80, is_unicode=False))


def test_no_bar_where_nobody_knows_the_end() -> None:
    """A stream of requests has no total."""
    assert rows(evolve(FAR, total=None), 1.0, 120)[0].plain.startswith("740 done")


def test_the_region_is_drawn_in_place(terminal: Console, time: Time) -> None:
    """Each tick takes the place of the last; time goes on between two updates."""
    both: Any = terminal.out.stream
    display = LiveBatchDisplay(terminal, time.clock())
    terminal.print_note("a word before")
    display.open()
    display.update(FAR)
    display.tick()
    time.seconds = 30.0
    display.tick()
    screen = Screen(both.getvalue())
    assert screen.text.splitlines() == [
        "a word before",
        "━" * 50 + "╍╍" + "─" * 13 + " 756/1,000 75%",
        "740 done · 12 failed · 3 blocked by moderation · 1 unknown, may be billed",
        "16 in flight · 4 waiting to be sent · 118 images/min",
        "$3.71 spent and 2 of unknown cost · 1 min 42 s left · 30 s so far",
    ]
    assert not screen.is_cursor_visible


def test_everything_else_appears_above_the_region(terminal: Console, time: Time) -> None:
    """Paths on stdout, failures and warnings on stderr; nothing is left of the region in the end."""
    both: Any = terminal.out.stream
    display = LiveBatchDisplay(terminal, time.clock())
    display.open()
    display.update(Progress(total=2, in_flight=2))
    display.tick()
    terminal.print_result("out/images/00000.png")
    display.failure("00001: refused")
    shown = Screen(both.getvalue()).text.splitlines()
    assert shown[:2] == ["out/images/00000.png", "00001: refused"]
    assert shown[2].endswith(" 0/2 0%")
    assert shown[3:] == ["2 in flight · 0 s so far"]
    display.close()
    terminal.print_note("after")
    screen = Screen(both.getvalue())
    assert screen.text.splitlines() == ["out/images/00000.png", "00001: refused", "after"]
    assert screen.is_cursor_visible
    assert (terminal.out.stream, terminal.err.stream) == (both, both)


def test_a_line_that_is_not_finished_is_not_drawn_over(terminal: Console, time: Time) -> None:
    """The region waits for the end of the line."""
    both: Any = terminal.out.stream
    display = LiveBatchDisplay(terminal, time.clock())
    display.open()
    terminal.err.write("half a ")
    display.tick()
    terminal.err.write("line\n")
    assert Screen(both.getvalue()).text.splitlines() == ["half a line", "0 s so far"]


def test_a_terminal_made_narrower(terminal: Console, time: Time) -> None:
    """It has wrapped the rows that were drawn: all of their lines are erased."""
    both: Any = terminal.out.stream
    display = LiveBatchDisplay(terminal, time.clock())
    display.open()
    display.update(FAR)
    display.tick()
    before = len(both.getvalue())
    terminal.rich.width = 50
    display.region.erase()
    assert both.getvalue()[before:].count("\x1b[2K") == 8


def test_a_low_terminal(terminal: Console, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than it has could not be erased again: the last are left out."""
    monkeypatch.setenv("LINES", "3")
    both: Any = terminal.out.stream
    display = LiveBatchDisplay(terminal, time.clock())
    display.open()
    display.update(FAR)
    display.tick()
    assert len(Screen(both.getvalue()).lines) == 2


async def test_a_terminal_that_is_closed_stops_nothing(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images are paid for, and arrive although nobody watches."""

    class Closed(Terminal):
        """Nobody is there."""

        def write(self, text: str) -> int:
            """Cannot."""
            raise OSError(5, "Input/output error")

    monkeypatch.setenv("TERM", "xterm-256color")
    async with LiveBatchDisplay(Console(io.StringIO(), Closed()), time.clock()) as display:
        display.update(FAR)
        display.tick()
        display.failure("00001: refused")


async def test_ticks_come_by_themselves(terminal: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is entered, and no longer; an error of the batch clears the region as well."""
    ticks: list[float] = []

    async def sleep(seconds: float) -> None:
        ticks.append(seconds)
        if len(ticks) > 3:
            raise ZeroDivisionError

    monkeypatch.setattr("asyncio.sleep", sleep)
    display = LiveBatchDisplay(terminal, lambda: 0.0)

    async def fail() -> None:
        async with display:
            assert display._ticker is not None
            with pytest.raises(ZeroDivisionError):
                await display._ticker
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert ticks == [0.2] * 4
    screen = Screen(written(terminal))
    assert (screen.text, screen.is_cursor_visible) == ("", True)
