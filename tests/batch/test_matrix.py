"""The product of a batch's items with values of parameters and variables of prompts."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    Batch,
    BatchInputError,
    BatchItem,
    GenerateRequest,
    ImagesClient,
    expand_matrix,
    read_batch_items,
)

FOX = BatchItem("fox", GenerateRequest("a {animal}"), 3)
PLAIN = BatchItem("00002", GenerateRequest("a raft", quality="high", size="auto"))


def keys(items: Any) -> list[str]:
    """The keys."""
    return [item.key for item in items]


def test_the_product_of_all() -> None:
    """A key says its values; an item that sets one itself, or has no variable, is not multiplied by it."""
    matrix: dict[str, Any] = {"model": ["gpt-image-2", "m"], "quality": ["low", "high"], "n": ["1", 2]}
    items = expand_matrix([FOX, PLAIN], matrix, {"animal": ["fox", "heron"]})
    assert len(items) == 2 * 2 * 2 * 2 + 2 * 2
    assert keys(items)[:3] == [
        "fox-fox-n1-low-gpt-image-2",
        "fox-fox-n1-low-m",
        "fox-fox-n1-high-gpt-image-2",
    ]
    assert keys(items)[16:] == ["00002-n1-gpt-image-2", "00002-n1-m", "00002-n2-gpt-image-2", "00002-n2-m"]
    expected = GenerateRequest("a heron", model="m", quality="high", n=2)
    assert items[15] == BatchItem("fox-heron-n2-high-m", expected, 3)
    assert len(set(keys(items))) == len(items)


def test_it_is_a_sequence_that_is_made_as_it_is_read() -> None:
    """Its length is known at once, however long it is."""
    letters = [chr(97 + number % 26) + str(number) for number in range(1_000)]
    items = expand_matrix([BatchItem("k", GenerateRequest("{a}{b}{c}"))], {}, dict.fromkeys("abc", letters))
    assert len(items) == 1_000_000_000
    assert keys(islice(items, 2)) == ["k-a0-a0-a0", "k-a0-a0-b1"]
    assert items[-1].key == "k-l999-l999-l999"
    assert keys(items[999_999:1_000_001]) == ["k-a0-l999-l999", "k-b1-a0-a0"]
    with pytest.raises(IndexError):
        _ = items[1_000_000_000]


def test_keys_are_the_same_in_every_order_and_with_more_values() -> None:
    """So that another run finds what was paid for."""
    one = expand_matrix(
        [FOX], {"quality": ["low"], "model": ["m"], "background": ["auto"]}, {"animal": ["fox"]}
    )
    more = expand_matrix(
        [PLAIN, FOX],
        {"background": ["opaque", "auto"], "model": ["n", "m"], "quality": ["high", "low"]},
        {"animal": ["crow", "fox"]},
    )
    assert keys(one) == ["fox-fox-auto-low-m"]
    assert one[0] in more


@pytest.mark.parametrize(
    ("value", "slug"),
    [
        ("gpt-image-2.5", "gpt-image-2.5"),
        ("a red fox", "a-red-fox"),
        ("лиса", "лиса"),
        ("what?", "what-2cc9a59a"),
        ("../x", "x-d6b96a97"),
        ("\N{FOX FACE}", "0a9f72e8"),
        ("x" * 49, f"{'x' * 48}-55bb9823"),
    ],
)
def test_values_in_keys(value: str, slug: str) -> None:
    """What a file name cannot hold, and what is long, becomes digits of a hash."""
    (item,) = expand_matrix([FOX], {}, {"animal": [value]})
    assert item.request.prompt == f"a {value}"
    assert item.key == f"fox-{slug}"


def test_a_long_key_ends_in_a_hash() -> None:
    """Keys that differ at their ends only stay different."""
    item = BatchItem("k" * 190, GenerateRequest("{a}"))
    one, two = keys(expand_matrix([item], {}, {"a": ["x" * 40 + "1", "x" * 40 + "2"]}))
    assert len(one) == len(two) == 200
    assert one != two


def test_braces() -> None:
    """With variables `{{` is a brace; what a value brings in is left as it is."""
    item = BatchItem("k", GenerateRequest("{{a}} {b-1} {{{b-1}}}"))
    (made,) = expand_matrix([item], {}, {"b-1": ["{a}}"]})
    assert made.request.prompt == "{a} {a}} {{a}}}"
    untouched = BatchItem("k", GenerateRequest('{"a": {b}}'))
    assert expand_matrix([untouched], {"n": [1]})[0].request.prompt == '{"a": {b}}'


@pytest.mark.parametrize(
    ("matrix", "variables", "said"),
    [
        ({"qualty": ["low"]}, {}, "unknown parameter 'qualty'; did you mean 'quality'?"),
        ({"prompt": ["a"]}, {}, "unknown parameter 'prompt'"),
        (
            {"partial_images": [1]},
            {},
            "partial_images: a batch does not stream, so there are no partial images",
        ),
        ({"mask": ["a.png"]}, {}, "mask cannot vary; set it in a column"),
        ({"quality": "low"}, {}, "matrix 'quality': its values must be a list, not text"),
        ({"quality": []}, {}, "matrix 'quality' has no values"),
        ({"quality": ["low", " low "]}, {}, "matrix 'quality': two of its values have the key 'low'"),
        ({"quality": ["low", 1]}, {}, "matrix 'quality': quality must be text"),
        ({"n": [True]}, {}, "matrix 'n': n must be a whole number"),
        ({"size": [" "]}, {}, "matrix 'size': a value is empty"),
        ({}, {"animal": ["fox"], "mood": ["calm"]}, "variable 'mood': no prompt has {mood}"),
        ({}, {"anmal": ["fox"]}, "line 3: {animal} has no values; did you mean {anmal}?"),
        ({}, {"x": ["fox"]}, "line 3: {animal} has no values; write {{ and }} for braces"),
        (
            {},
            {"1st": ["fox"]},
            "variable '1st': a name has letters, digits, - and _, and starts with a letter",
        ),
        ({}, {"animal": [1]}, "variable 'animal': a value must be text"),
        (
            {"style": ["a"], "input_fidelity": ["low"]},
            {},
            "matrix 'input_fidelity': all items set this parameter",
        ),
    ],
)
def test_what_cannot_be_meant(matrix: Any, variables: Any, said: str) -> None:
    """It is refused when it is called."""
    with pytest.raises(BatchInputError) as caught:
        expand_matrix([FOX], matrix, variables)
    assert caught.value.problems[0].startswith(said)


def test_a_single_brace() -> None:
    """With variables it is a mistake: the other way, one would vanish from JSON in a prompt."""
    items = [BatchItem("a", GenerateRequest("{x}")), BatchItem("b", GenerateRequest('{"secret": {}}'))]
    with pytest.raises(BatchInputError) as caught:
        expand_matrix(items, {}, {"x": ["1"]})
    assert caught.value.problems == ("'b': a brace is not part of a {name}; write {{ and }} for braces",)


async def test_equal_keys_are_refused(tmp_path: Path) -> None:
    """The rare ones that differ in where their hyphens belong."""
    items = [BatchItem("a", GenerateRequest("{x}")), BatchItem("a-b", GenerateRequest("{x}"))]
    variants = expand_matrix(items, {}, {"x": ["b-c", "c"]})
    with pytest.raises(BatchInputError, match=r"the key .a-b-c. is already used by item ."):
        async with Batch(ImagesClient(api_key="k"), variants, tmp_path):
            pass


def test_rows_and_extra_bodies_keep_their_values(tmp_path: Path) -> None:
    """What a file sets, or what is sent beside the parameters, is not replaced."""
    (tmp_path / "a.csv").write_text('prompt,quality,extra_body\na,low,\nb,,"{""quality"": ""max""}"\nc,,\n')
    items = expand_matrix(read_batch_items(tmp_path / "a.csv"), {"quality": ["medium", "high"]})
    assert [(item.key, item.request.quality) for item in items] == [
        ("00001", "low"),
        ("00002", None),
        ("00003-medium", "medium"),
        ("00003-high", "high"),
    ]
