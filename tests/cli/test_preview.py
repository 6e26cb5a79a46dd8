"""Images in the terminal: which way, how they are encoded, how they are shrunk."""

import base64
import io
import re

import pytest
from PIL import Image

from openai_images.cli.preview import (
    Preview,
    TerminalProtocol,
    detect_protocol,
    encode_half_blocks,
    encode_iterm2,
    encode_kitty,
    fit_cells,
    nearest_256,
)

RED, BLUE, GREY = (255, 0, 0), (0, 0, 255), (128, 128, 128)


def xterm(**env: str) -> dict[str, str]:
    """An environment with the most common TERM."""
    return {"TERM": "xterm-256color", **env}


@pytest.mark.parametrize(
    ("env", "way"),
    [
        ({}, None),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, None),
        ({"TERM": "xterm"}, None),
        ({"TERM": "xterm-kitty"}, TerminalProtocol.KITTY),
        (xterm(KITTY_WINDOW_ID="1"), TerminalProtocol.KITTY),
        (xterm(TERM_PROGRAM="ghostty"), TerminalProtocol.KITTY),
        (xterm(TERM_PROGRAM="iTerm.app", COLORTERM="truecolor"), TerminalProtocol.ITERM2),
        (xterm(TERM_PROGRAM="WezTerm"), TerminalProtocol.ITERM2),
        (xterm(LC_TERMINAL="iTerm2"), TerminalProtocol.ITERM2),
        (xterm(TERM_PROGRAM="iTerm.app", TMUX="/tmp/tmux"), TerminalProtocol.BLOCKS_256),
        (xterm(KITTY_WINDOW_ID="1", STY="1.pts", COLORTERM="truecolor"), TerminalProtocol.BLOCKS_24_BIT),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, TerminalProtocol.BLOCKS_256),
        ({"TERM": "screen", "LC_TERMINAL": "iTerm2"}, None),
        (xterm(COLORTERM="24bit"), TerminalProtocol.BLOCKS_24_BIT),
        ({"TERM": "xterm-direct"}, TerminalProtocol.BLOCKS_24_BIT),
        (xterm(TERM_PROGRAM="vscode"), TerminalProtocol.BLOCKS_24_BIT),
        (xterm(), TerminalProtocol.BLOCKS_256),
        (xterm(COLORTERM="truecolor", NO_COLOR="1"), None),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, TerminalProtocol.KITTY),
        (xterm(NO_COLOR=""), TerminalProtocol.BLOCKS_256),
    ],
)
def test_the_environment_says_how(env: dict[str, str], way: TerminalProtocol | None) -> None:
    """The best way a terminal promises, half blocks inside tmux and screen, none where colours are unwanted."""
    assert detect_protocol(env) is way


def test_half_blocks_in_24_bit() -> None:
    """Upper pixels are the block's colour, lower ones lie behind it; a colour is named only where it changes."""
    text = encode_half_blocks([[RED, RED, BLUE], [BLUE, BLUE, BLUE]], in_24_bit=True)
    assert text == "\x1b[38;2;255;0;0;48;2;0;0;255m▀▀\x1b[38;2;0;0;255m▀\x1b[0m\n"


def test_half_blocks_in_256_colours() -> None:
    """The same with numbers."""
    assert encode_half_blocks([[RED], [GREY]], in_24_bit=False) == "\x1b[38;5;196;48;5;244m▀\x1b[0m\n"


@pytest.mark.parametrize(
    ("pixel", "number"),
    [((0, 0, 0), 16), ((255, 255, 255), 231), (RED, 196), (BLUE, 21), (GREY, 244), ((95, 135, 175), 67)],
)
def test_nearest_colour(pixel: tuple[int, int, int], number: int) -> None:
    """Out of the cube, or out of the greys."""
    assert nearest_256(pixel) == number


@pytest.mark.parametrize("size", [0, 1, 3072, 3073, 10_000])
def test_kitty_carries_the_bytes_in_chunks(size: int) -> None:
    """No chunk is longer than the protocol allows; only the last one says that it is the last."""
    text = encode_kitty(b"\xff" * size, 40, 12)
    chunks = re.findall(r"\x1b_G([^;\x1b]*);([^\x1b]*)\x1b\\", text)
    assert base64.b64decode("".join(data for _, data in chunks)) == b"\xff" * size
    assert max(len(data) for _, data in chunks) <= 4096
    assert [keys.rpartition("m=")[2] for keys, _ in chunks] == ["1"] * (len(chunks) - 1) + ["0"]
    assert chunks[0][0].startswith("a=T,f=100,q=2,c=40,r=12,C=1,")
    assert text.startswith("\x1b7")
    assert text.endswith("\x1b8" + "\n" * 12)


def test_iterm2_carries_the_bytes() -> None:
    """One code, with the size in cells; the cursor ends below the image."""
    assert encode_iterm2(b"abc", 40, 12) == (
        "\x1b7\x1b]1337;File=inline=1;size=3;width=40;height=12;preserveAspectRatio=0;doNotMoveCursor=1:YWJj\x07\x1b8"
        + "\n" * 12
    )


@pytest.mark.parametrize(
    ("picture", "room", "expected"),
    [
        ((1024, 1024), (79, 21), (42, 21)),
        ((1536, 1024), (79, 21), (63, 21)),
        ((1024, 1536), (79, 21), (28, 21)),
        ((3840, 1280), (60, 30), (60, 10)),
        ((10_000, 1), (60, 30), (60, 1)),
        ((1, 10_000), (60, 30), (1, 30)),
    ],
)
def test_cells_keep_proportions(
    picture: tuple[int, int], room: tuple[int, int], expected: tuple[int, int]
) -> None:
    """A cell counts as twice as tall as wide."""
    assert fit_cells(*picture, *room) == expected


def encoded(mode: str, colour: object, kind: str) -> bytes:
    """An image of one colour."""
    data = io.BytesIO()
    Image.new(mode, (64, 64), colour).save(data, kind)
    return data.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_of_any_format_is_drawn(kind: str) -> None:
    """So many lines of so many blocks."""
    drawing = Preview(TerminalProtocol.BLOCKS_24_BIT, 8, 4).draw(encoded("RGB", (0, 0, 0), kind))
    assert drawing is not None
    assert (drawing.rows, drawing.text) == (4, ("\x1b[38;2;0;0;0;48;2;0;0;0m" + "▀" * 8 + "\x1b[0m\n") * 4)


def test_what_is_transparent_lies_on_a_light_backdrop() -> None:
    """A sticker is not drawn on black."""
    drawing = Preview(TerminalProtocol.BLOCKS_256, 2, 1).draw(encoded("RGBA", (0, 0, 0, 0), "PNG"))
    assert drawing is not None
    assert drawing.text == "\x1b[38;5;254;48;5;254m▀▀\x1b[0m\n"


@pytest.mark.parametrize("way", [TerminalProtocol.KITTY, TerminalProtocol.ITERM2])
def test_real_pictures_are_sent_small(way: TerminalProtocol) -> None:
    """Never more pixels than the cells can show."""
    drawing = Preview(way, 4, 2).draw(encoded("RGB", RED, "PNG"))
    assert drawing is not None
    payload = "".join(re.findall(r"[;:]([A-Za-z0-9+/=]{8,})[\x1b\x07]", drawing.text))
    with Image.open(io.BytesIO(base64.b64decode(payload))) as sent:
        assert sent.size == (40, 40)


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\nnonsense", b"<svg/>", encoded("RGB", RED, "PNG")[:60]]
)
def test_what_cannot_be_decoded_is_not_drawn(data: bytes) -> None:
    """No exception either."""
    assert Preview(TerminalProtocol.KITTY, 8, 4).draw(data) is None


def test_a_bomb_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that would unpack to gigabytes."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    assert Preview(TerminalProtocol.KITTY, 8, 4).draw(encoded("RGB", RED, "PNG")) is None
