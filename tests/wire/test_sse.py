"""The framer: the standard's cases, cut anywhere, with anything behind them, and at a cost linear in the input."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from openai_images.wire import sse
from openai_images.wire.sse import SSEEventEnd, SSEFramer
from tests.helpers.decoding import fed, pieces

Events = list[tuple[str, str, bytes]]


def decode(chunks: Iterable[bytes]) -> Events:
    """Each event's name, id and data."""
    framer, data, events = SSEFramer(), bytearray(), []
    for chunk in chunks:
        for token in framer.feed(chunk):
            if isinstance(token, SSEEventEnd):
                events.append((token.event, token.id, bytes(data)))
                data.clear()
            else:
                data += token
    return events


def plain(text: str) -> bytes:
    """The bytes behind Python's escapes."""
    return text.encode().decode("unicode_escape").encode("latin-1")


def cases() -> dict[str, tuple[bytes, Events]]:
    """Title, stream and events of each case in the file."""
    found: dict[str, tuple[bytes, Events]] = {}
    for line in (Path(__file__).parent / "sse_cases.txt").read_text().splitlines():
        mark, text = line[:1], line[2:]
        if mark == "=":
            title = text
        elif mark == "<":
            found[title] = (plain(text), [])
        elif mark == ">":
            event, name, data = ("" if part == "-" else part for part in text.split(" | "))
            found[title][1].append((plain(event).decode(), plain(name).decode(), plain(data)))
    return found


CASES = cases()


@pytest.mark.parametrize("title", CASES)
def test_a_case_of_the_standard(title: str) -> None:
    """Each stream gives its events, whole, byte by byte and cut anywhere."""
    stream, events = CASES[title]
    assert fed(decode, stream) == events


@pytest.mark.parametrize("title", [title for title, (stream, _) in CASES.items() if stream.endswith(b"\n\n")])
def test_what_follows_an_event_does_not_change_it(title: str) -> None:
    """An event that has ended stays as it is, whatever is begun behind it."""
    stream, events = CASES[title]
    assert fed(decode, stream, trailing=[b"data: more", b":", b"\n", b"event: e\ndata", b"\xff"]) == events


def test_every_pair_of_cuts() -> None:
    """A stream with every kind of line end gives the same events for any two cuts."""
    stream = b"\xef\xbb\xbfevent: e\r\ndata: x\rdata:y\n\r\n:c\rid: 1\n\ndata\r\r\ndata: z\n\n"
    whole = decode([stream])
    assert len(whole) == 3
    for first in range(len(stream)):
        for second in range(first, len(stream)):
            assert decode([stream[:first], stream[first:second], stream[second:]]) == whole


def test_the_end_of_line_waits_for_nothing() -> None:
    """A blank line ends the event at its CR: the LF that may follow is not waited for."""
    framer = SSEFramer()
    assert framer.feed(b"data: x\r\n\r") == [b"x", SSEEventEnd("", "")]
    assert framer.feed(b"\ndata: y\n\n") == [b"y", SSEEventEnd("", "")]


def test_data_is_handed_on_before_its_line_ends() -> None:
    """What follows `data:` comes out at once, and a chunk that is all data comes out as it is."""
    framer, chunk = SSEFramer(), b"A" * 100_000
    assert framer.feed(b"data: {") == [b"{"]
    assert framer.in_data
    [piece] = framer.feed(chunk)
    assert piece is chunk
    assert framer.feed(b"\n") == []
    assert not framer.in_data


def test_it_says_whether_an_event_is_open() -> None:
    """`has_data` and `event` tell what the end of the body would drop."""
    framer = SSEFramer()
    framer.feed(b"event: e\n")
    assert (framer.has_data, framer.event) == (False, "e")
    framer.feed(b"data:")
    assert (framer.has_data, framer.event) == (True, "e")
    framer.feed(b"\n\n")
    assert (framer.has_data, framer.event) == (False, "")


def test_a_long_name_or_comment_is_not_kept() -> None:
    """A megabyte of name, id, comment or unknown field leaves no more than a few kilobytes behind."""
    framer = SSEFramer()
    for field in (b"event: ", b"id: ", b": ", b"unknown: ", b""):
        for piece in pieces(field + b"x" * 1_000_000, 1000):
            assert framer.feed(piece) == []
        assert len(framer._value) + len(framer._name) < 5000
        framer.feed(b"\n")
    [data, end] = framer.feed(b"data: x\n\n")
    assert data == b"x"
    assert isinstance(end, SSEEventEnd)
    assert (len(end.event), len(end.id)) == (4096, 4096)


class Counted(bytes):
    """Bytes that count how many of them were searched or sliced."""

    work = 0

    def find(self, wanted: bytes, start: int = 0, end: int | None = None) -> int:
        """Search, and add up what was looked at."""
        end = len(self) if end is None else end
        found = super().find(wanted, start, end)
        Counted.work += (end if found < 0 else found + 1) - start
        return found

    def __getitem__(self, key: object) -> object:
        """Slice, and add up what was copied."""
        got = super().__getitem__(key)
        Counted.work += len(got) if isinstance(got, bytes) else 1
        return got


def work(data: bytes, size: int) -> int:
    """How many bytes the framer looks at or copies."""
    Counted.work = 0
    framer = SSEFramer()
    framer.feed(b"data: begun\n\n")
    for piece in pieces(data, size):
        framer.feed(Counted(piece))
    return Counted.work


@pytest.mark.parametrize("size", [1, 7, 1000, 10**9])
@pytest.mark.parametrize(
    "line",
    [b"data: x\n\n", b":\n", b"\n", b"\r", b"\r\n", b"data:\r", b"foo\n", b"data: " + b"x" * 2000 + b"\n\n"],
)
def test_the_work_is_linear(line: bytes, size: int) -> None:
    """Four times the input is four times the work, for long lines, tiny events and any size of piece."""
    data = line * (6000 // len(line))
    once, fourfold = work(data, size), work(data * 4, size)
    assert once > 0
    assert fourfold <= 6 * once
    assert fourfold <= 8 * len(data * 4) + 8


def test_the_limits_are_named() -> None:
    """A name of the API fits into what is kept of one."""
    assert len("image_generation.partial_image") < sse._MAX_VALUE
