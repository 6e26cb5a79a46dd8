"""The names of a batch's files: safe everywhere, unlike each other, the same again in the next run."""

import pytest
from hypothesis import given, strategies as st

from openai_images._util.filenames import NameAllocator, casefold_name, image_stems, stem_from_key

KEYS = st.text(max_size=60) | st.sampled_from(
    ["a", "A", "a-2", "a.png", "a-0", "con", "..", "é", "e\u0301", "a/b"]
)


@pytest.mark.parametrize(
    ("key", "stem"),
    [
        ("00001", "00001"),
        ("cat.png", "cat"),
        ("cat.JPEG", "cat"),
        ("v1.5", "v1.5"),
        (" a cat ", "a cat"),
        ("e\u0301t\u00e9", "\u00e9t\u00e9"),
        ("../../etc/passwd", "etc-passwd"),
        ("a/b\\c:d", "a-b-c-d"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        (".hidden", "hidden"),
        ("trailing. . ", "trailing"),
        ("...", "_"),
        ("/", "_"),
        (".png", "_"),
    ],
)
def test_stems(key: str, stem: str) -> None:
    """A key becomes a name that every file system takes, without an image's suffix."""
    assert stem_from_key(key) == stem


@given(KEYS)
def test_any_key(key: str) -> None:
    """Whatever the key: one part of a path, not hidden, not too long, not ending in a dot or space."""
    stem = stem_from_key(key)
    assert stem
    assert not set(stem) & set('/\\:*?"<>|\0')
    assert not stem.startswith(".")
    assert not stem.endswith((".", " "))
    assert len(stem.encode()) <= 200


@given(st.lists(st.tuples(KEYS, st.integers(1, 3)), max_size=12, unique_by=lambda one: one[0]))
def test_no_two_files_alike(keys: list[tuple[str, int]]) -> None:
    """No two images share a name on any file system, and items that are appended change none."""
    names, files = NameAllocator(), list[str]()
    stems = [names.new(key, pictures) for key, pictures in keys]
    for stem, (_, pictures) in zip(stems, keys, strict=True):
        files += map(casefold_name, image_stems(stem, pictures))
    assert len(set(files)) == len(files)
    again = NameAllocator()
    assert [again.new(key, pictures) for key, pictures in keys[:-1]] == stems[:-1]


def test_numbers() -> None:
    """Names that are taken, also by images of an item with several, are passed over in order."""
    names = NameAllocator(["A", "b-0"])
    assert [names.new("a"), names.new("A "), names.new("b", 2), names.new("b-2"), names.new("c", 2)] == [
        "a-2",
        "A-3",
        "b-2",
        "b-2-2",
        "c",
    ]
    assert not names.is_free("C-1")
    names.reserve("d", 2)
    assert [name for name in ("d", "d-0", "d-1", "d-2") if names.is_free(name)] == ["d-2"]


def test_many_keys_of_one_name() -> None:
    """A thousand keys of which nothing is left are numbered without starting over each time."""
    names = NameAllocator()
    stems = [names.new("?" * number) for number in range(1, 1001)]
    assert stems[:3] == ["_", "_-2", "_-3"]
    assert len(set(stems)) == 1000
