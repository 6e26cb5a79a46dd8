"""Names of files from keys: safe whatever the key, and no two of a run alike."""

import asyncio
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from openai_images._util.filenames import NameClaims, default_key, safe_file_name, shorten
from openai_images.catalog.models import MAX_IMAGES_PER_CALL
from openai_images.client.files import Output, OutputFiles
from tests.helpers.clients import PNG
from tests.helpers.leaks import parts


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("otter", "otter"),
        ("Ünder dem Mond", "Ünder dem Mond"),
        ("水獺", "水獺"),
        ("v1.2", "v1.2"),
        ("cat.png", "cat.png"),
        ("a/b\\c", "a-b-c"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", ""),
        ("/", ""),
        (".", ""),
        ("  ", ""),
        ("-_-", ""),
        (".hidden", "hidden"),
        ("trailing. ", "trailing"),
        ("-5", "-5"),
        ("a\nb\0c\u202ed", "a-b-c-d"),
        ('what? "this": <that>|*', "what- -this- -that"),
        ("half \ud800 pair", "half - pair"),
        ("CON", "_CON"),
        ("CONIN$", "_CONIN$"),
        ("conout$.png", "_conout$.png"),
        ("nul.txt", "_nul.txt"),
        ("lpt1", "_lpt1"),
        ("console", "console"),
    ],
)
def test_a_name_from_a_key(key: str, name: str) -> None:
    """Nothing of a path is left, nothing a system refuses, and as much of the rest as possible."""
    assert safe_file_name(key) == name


def test_a_long_key_is_cut_and_stays_itself() -> None:
    """Two long keys that begin alike have names of their own, which fit."""
    names = {safe_file_name("獺" * 100 + end) for end in ("a", "b")}
    assert len(names) == 2
    assert all(len(name.encode()) <= 120 and name.startswith("獺" * 37) for name in names)


@given(st.text())
def test_a_name_is_one_safe_part_of_a_path(key: str) -> None:
    """Whatever the key: no separator, no parent folder, no control character, not too long."""
    name = safe_file_name(key)
    assert "/" not in name
    assert "\\" not in name
    assert ".." not in name
    assert re.sub("[\u200c\u200d\U000e0020-\U000e007f]", "", name).isprintable()
    assert len(name.encode()) <= 121
    assert name in ("", Path(name).name)
    assert name == name.strip(" ")
    assert not name.startswith(".")


FAMILY = "👩\u200d👩\u200d👧"
SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
PARTS = [
    "क",
    "्",
    "षि",
    "\u200d",
    "\u200c",
    "é",
    "e\u0301",
    "น้ำ",
    "한",
    FAMILY,
    SCOTLAND,
    "🇩🇪",
    "👍🏽",
    "a",
    "/",
    " ",
    "\u3000",
]


@pytest.mark.parametrize(
    "key",
    [
        "हिन्दी में लिखा",
        "สวัสดีครับ น้ำ",
        "\u0645\u06cc\u200c\u0645\u0645",
        "क्\u200dष",
        FAMILY,
        SCOTLAND,
        "👍🏽 ❤️",
        "🇩🇪",
        "நிலவு",
        "ម្តាយ",
    ],
)
def test_words_of_every_script_stay_whole(key: str) -> None:
    """Marks, joiners and sequences of emoji belong to what they follow."""
    assert safe_file_name(key) == key


@pytest.mark.parametrize("mark", ["\u200d", "\u200c", "\U000e0067"])
def test_joiners_that_join_nothing_go(mark: str) -> None:
    """Two names that look alike would differ by them."""
    assert [
        safe_file_name(key)
        for key in (f"a{mark}b", f"{mark}狐", f"狐{mark}", f"狐{mark}/", f"\u3000{mark}狐")
    ] == [
        "a-b",
        "狐",
        "狐",
        "狐",
        "狐",
    ]


@pytest.mark.parametrize(
    "letter", [FAMILY, SCOTLAND, "🇩🇪", "क्षि", "น้ำ", "e\u0332\u0301", "👍🏽", "\u1112\u1161\u11ab\u0301"]
)
@pytest.mark.parametrize("before", range(5))
def test_a_long_name_is_cut_between_letters(letter: str, before: int) -> None:
    """Never inside one, however many code points and bytes it has."""
    name = safe_file_name("x" * before + letter * 60)
    whole = unicodedata.normalize("NFC", letter)
    kept = name.rpartition("-")[0].removeprefix("x" * before)
    assert len(name.encode()) <= 120
    assert len(kept.encode()) > 110 - 2 * len(whole.encode())
    assert kept == whole * (len(kept) // len(whole))


@given(st.text() | st.lists(st.sampled_from(PARTS), max_size=40).map("".join))
def test_a_name_is_its_own_name(key: str) -> None:
    """What is safe is not changed again."""
    assert safe_file_name(safe_file_name(key)) == safe_file_name(key)


@pytest.mark.parametrize("key", ["a/b", "CON", "x" * 300, "..a..", "COM¹", "क" * 100])
def test_a_safe_name_is_its_own_name(key: str) -> None:
    """What was made safe is not changed again."""
    assert safe_file_name(safe_file_name(key)) == safe_file_name(key)


def test_what_the_file_system_cannot_encode(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no part of a name there: no image that is paid for meets it."""
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert [safe_file_name(key) for key in ("a fox", "fox 狐 1", "狐", "naïve")] == [
        "a fox",
        "fox - 1",
        "",
        "na-ve",
    ]


@given(st.text(max_size=30), st.integers(0, 40))
def test_shortening(text: str, nbytes: int) -> None:
    """It is a beginning, and fits."""
    short = shorten(text, nbytes)
    assert text.startswith(short)
    assert len(short.encode(errors="surrogatepass")) <= nbytes


@pytest.mark.parametrize(
    ("keys", "clashing"),
    [
        (["otter", "raft"], []),
        (["otter", "otter"], [1]),
        (["otter", "Otter"], [1]),
        (["straße", "STRASSE"], [1]),
        (["é", "e\u0301"], [1]),
        (["❤\ufe0f", "❤"], [1]),
        (["\u0645\u06cc\u200c\u0645\u0645", "\u0645\u06cc\u0645\u0645"], [1]),
        (["ᾳ\u0301", "\u03b1\u0301\u0345"], [1]),
        (["a/b", "a-b"], [1]),
        (["cat", "cat.png"], [1]),
        (["cat.png", "cat"], [1]),
        (["cat.png", "CAT.PNG"], [1]),
        (["cat.png", "cat.jpg"], []),
        (["v1.2", "v1.3"], []),
        (["otter", "otter", "otter"], [1, 2]),
        (["00000", "00001"], []),
        (["00001", "00000"], []),
        (["00002", "a", None], [2]),
        ([None, "00000"], [1]),
        ([None, "00000.png"], [1]),
        ([None, "00000-1"], [1]),
        (["a", "b", "00001"], []),
        (["a", "b", "00000"], []),
        ([None, "000000"], []),
        ([None, "0000"], []),
        ([None, None, None], []),
    ],
)
def test_which_keys_clash(keys: list[str | None], clashing: list[int]) -> None:
    """The later one of two that name the same file clashes; requests without a key have their number."""
    names = NameClaims(MAX_IMAGES_PER_CALL)
    given_keys = [key or default_key(index) for index, key in enumerate(keys)]
    assert [index for index, key in enumerate(given_keys) if not names.claim(index, key, 1)] == clashing


def test_several_pictures_of_one_request() -> None:
    """Their numbered names are taken, and only those."""
    names = NameClaims(MAX_IMAGES_PER_CALL)
    assert names.claim(0, "a", 3)
    assert not names.claim(1, "a-2", 1)
    assert names.claim(2, "a-3", 1)
    assert names.claim(3, "b", 10**9)
    assert not names.claim(4, "b-7", 1)
    assert names.claim(5, "c", 1_000)
    assert not names.claim(6, "c-999", 1)


def test_what_clashed_has_taken_nothing() -> None:
    """A request that is refused leaves its other names free."""
    names = NameClaims(MAX_IMAGES_PER_CALL)
    assert names.claim(0, "a-0", 1)
    assert not names.claim(1, "a", 2)
    assert names.claim(2, "a-1", 1)


def test_numbers_are_not_remembered() -> None:
    """An endless run without keys needs no memory for them."""
    names = NameClaims(MAX_IMAGES_PER_CALL)
    assert all(names.claim(index, default_key(index), 1) for index in range(1000))
    assert (len(names._taken), len(names._keyed)) == (0, 0)


KEYS = st.lists(
    st.tuples(
        st.sampled_from(["a", "A", "a.png", "a-0", "a-1", "a-0.png", "b", "00001", "00001-0", "00002", None]),
        st.sampled_from([1, 2]),
    ),
    max_size=6,
)


@settings(max_examples=60)
@given(KEYS)
def test_what_does_not_clash_is_never_overwritten(
    tmp_path_factory: pytest.TempPathFactory, given_keys: list[tuple[str | None, int]]
) -> None:
    """Written by OutputFiles with overwrite=True, each image of each accepted request has its own file."""
    folder = tmp_path_factory.mktemp("names")
    names, wanted = NameClaims(MAX_IMAGES_PER_CALL), 0

    async def write(name: str, pictures: int) -> None:
        files = OutputFiles(Output(folder / name, overwrite=True), several=pictures > 1)
        for number in range(pictures):
            sink = files.new_sink()
            sink.write(PNG)
            await files.store(sink.finish(), number)

    for index, (key, pictures) in enumerate(given_keys):
        if names.claim(index, key or default_key(index), pictures):
            wanted += pictures
            asyncio.run(write(safe_file_name(key or default_key(index)), pictures))
    found = parts(folder)
    assert len(found) == wanted
    assert len({name.casefold() for name in found}) == wanted
