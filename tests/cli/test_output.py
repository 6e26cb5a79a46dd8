"""Names of files and formats."""

import unicodedata
from pathlib import Path

import click
import pytest
from hypothesis import given, strategies as st

from openai_images._util.filenames import RESERVED
from openai_images.cli.files import output_format, output_path, slugify


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a cute baby sea otter", "a-cute-baby-sea-otter"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "image"),
        ("  -o --force  ", "o-force"),
        ("C:\\Windows\\con", "c-windows-con"),
        ("CON", "image-con"),
        ("", "image"),
        ("\x1b[31m\x00\n", "31m"),
        ("ein Fuchs im Schnee, süß", "ein-fuchs-im-schnee-süß"),
        ("猫が寝ている", "猫が寝ている"),
        ("🦦", "image"),
        ("one two three four five six seven eight nine", "one-two-three-four-five-six-seven-eight"),
        ("x" * 90, "x" * 40),
        ("short " + "x" * 90, "short"),
        ("हिन्दी में लिखा", "हिन्दी-में-लिखा"),
        ("สวัสดีครับ น้ำ", "สวัสดีครับ-น้ำ"),
        ("\u0645\u06cc\u200c\u0645\u0645", "\u0645\u06cc\u200c\u0645\u0645"),
        ("❤️ fox 👨‍👩‍👧 1", "fox-1"),
        ("İstanbul", "i\u0307stanbul"),
        ("न" + "ि" * 90, "न" + "ि" * 39),
        ("हि" * 60, "हि" * 20),
        ("x" * 39 + "é\u0332" * 3, "x" * 39),
        ("𒀀" * 60, "𒀀" * 30),
        ("COM¹", "image-com¹"),
        ("half \udcff pair", "half-pair"),
        ("fox\U000e0041\U000e0042", "fox"),
    ],
)
def test_a_prompt_becomes_a_safe_name(prompt: str, name: str) -> None:
    """It stays in its folder, is short, and hides nothing."""
    assert slugify(prompt) == name


@given(
    st.one_of(
        st.text(st.characters(), max_size=300),
        st.text("aA.- _con\u0301\u200dक狐ß\N{FOX FACE}\U000e0041", max_size=300),
        st.sampled_from(sorted(RESERVED)),
    )
)
def test_any_prompt_becomes_a_name_for_every_file_system(prompt: str) -> None:
    """One component, no letter that one of them forbids, no device of Windows, and room for suffixes and part files."""
    name = slugify(prompt)
    assert not set(name) & set('<>:"/\\|?*. \0')
    assert name.replace("\u200c", "").replace("\u200d", "").isprintable()
    assert name == name.strip("-") != ""
    assert name.lower() not in RESERVED
    assert unicodedata.normalize("NFC", name) == name
    assert len(f".{name}-1000.partial-3.webp.01234567.part".encode()) <= 255
    assert slugify(name) == name


@pytest.mark.parametrize(
    ("output", "wanted", "format_"),
    [
        (None, None, None),
        ("otter", None, None),
        ("otter.png", None, "png"),
        ("otter.JPG", None, "jpeg"),
        ("out/otter.jpeg", "jpg", "jpeg"),
        ("otter.webp", "WEBP", "webp"),
        ("otter", "webp", "webp"),
        ("version-1.2", None, None),
        (None, "svg", "svg"),
    ],
)
def test_the_suffix_asks_for_a_format(output: str | None, wanted: str | None, format_: str | None) -> None:
    """What `-o` ends in is what is sent, where `--format` says nothing."""
    assert output_format(output, wanted) == format_


@pytest.mark.parametrize(
    ("output", "wanted"), [("otter.jpg", "png"), ("otter.tiff", None), ("otter.bmp", "png")]
)
def test_a_contradiction_is_a_usage_error(output: str, wanted: str | None) -> None:
    """A suffix and a format that cannot both be."""
    with pytest.raises(click.UsageError):
        output_format(output, wanted)


def test_where_a_picture_goes(empty_folder: Path) -> None:
    """A file, a folder that is there, one that is not yet, or the current one."""
    (empty_folder / "there").mkdir()
    assert output_path("otter.png", "p") == Path("otter.png")
    assert output_path("there", "a prompt") == Path("there/a-prompt")
    assert output_path("later/", "a prompt") == Path("later/a-prompt")
    assert output_path(None, "a prompt") == Path("a-prompt")


def test_a_letter_that_the_file_system_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no part of a name there."""
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert [slugify("a 狐 fox"), slugify("狐")] == ["a-fox", "image"]


def test_a_name_that_is_empty() -> None:
    """It names nothing."""
    with pytest.raises(click.UsageError):
        output_path("", "p")
