"""Sizes: what is within the rules, what is nearest to that, and the largest of a ratio."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from openai_images.catalog.models import MODELS, MOST_PIXELS
from openai_images.catalog.sizes import (
    PROVEN_PIXELS,
    gif_sheet_problems,
    largest_size,
    nearest_size,
    parse_ratio,
    parse_size,
    size_of_ratio,
    size_problems,
)
from openai_images.errors import RequestInvalidError
from openai_images.server.protocol.catalog import MODELS as SERVED, size_problem

EDGES = st.one_of(st.integers(1, 5000), st.integers(1, 300).map(lambda n: n * 16), st.integers(1, 10**9 - 1))
EVERY_SIZE = [
    (width, height)
    for width in range(16, 3841, 16)
    for height in range(16, 3841, 16)
    if size_problem(SERVED["gpt-image-2"], "", width, height) is None
]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1536x864", (1536, 864)),
        ("1x999999999", (1, 999_999_999)),
        ("1024", None),
        ("1024x", None),
        ("01024x1024", None),
        ("0x1024", None),
        ("1024X1024", None),
        ("1024x1024\n", None),
        (" 1024x1024", None),
        ("1024x1024x3", None),
        ("-16x16", None),
        ("9999999999x16", None),
        ("\N{ARABIC-INDIC DIGIT ONE}024x1024", None),
        ("auto", None),
        ("", None),
    ],
)
def test_parsing_a_size(text: str, size: tuple[int, int] | None) -> None:
    """Only the spelling of the API counts."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("16:9", Fraction(16, 9)),
        ("32:18", Fraction(16, 9)),
        ("2.35:1", Fraction(47, 20)),
        ("1:1.91", Fraction(100, 191)),
        ("0:1", None),
        ("1:0", None),
        ("0.0:1", None),
        ("16", None),
        ("16:", None),
        ("16:9:1", None),
        ("16/9", None),
        ("-1:2", None),
        ("99999:1", None),
        ("1024x1024", None),
    ],
)
def test_parsing_a_ratio(text: str, ratio: Fraction | None) -> None:
    """Two numbers above zero, whole or not."""
    assert parse_ratio(text) == ratio


@pytest.mark.parametrize(
    ("size", "faults"),
    [
        ("1024x1024", []),
        ("3840x2160", []),
        ("2160x3840", []),
        ("1024x640", []),
        ("1440x480", []),
        ("3840x1280", []),
        ("1040x1025", ["width and height must be multiples of 16"]),
        ("1025x1040", ["width and height must be multiples of 16"]),
        ("3856x2048", ["no edge may be longer than 3840"]),
        ("3840x1264", ["its ratio must be between 1:3 and 3:1"]),
        ("1264x3840", ["its ratio must be between 1:3 and 3:1"]),
        ("1008x640", ["645,120 pixels are fewer than 655,360"]),
        ("2896x2880", ["8,340,480 pixels are more than 8,294,400"]),
        ("8x8", ["width and height must be multiples of 16", "64 pixels are fewer than 655,360"]),
        (
            "9999x99",
            [
                "width and height must be multiples of 16",
                "no edge may be longer than 3840",
                "its ratio must be between 1:3 and 3:1",
            ],
        ),
    ],
)
def test_faults(size: str, faults: list[str]) -> None:
    """Every rule that is broken is told, and the limits themselves are allowed."""
    assert size_problems(*(int(edge) for edge in size.split("x"))) == faults


@given(EDGES, EDGES)
def test_the_rules_are_the_local_servers(width: int, height: int) -> None:
    """The server has them in words of its own."""
    assert (size_problems(width, height) == []) == (
        size_problem(SERVED["gpt-image-2"], "", width, height) is None
    )


# Frames of the largest square gif that third parties got, and the next size, which was refused.
LARGEST_SQUARES = {2: 960, 6: 960, 8: 960, 9: 960, 10: 816, 12: 816, 13: 720, 16: 720}


@pytest.mark.parametrize("frames", LARGEST_SQUARES)
def test_the_sheet_of_a_square_gif(frames: int) -> None:
    """The measured limits are those of the sheet."""
    edge = LARGEST_SQUARES[frames]
    assert gif_sheet_problems(edge, edge, frames) == []
    assert gif_sheet_problems(edge + 16, edge + 16, frames) != []


@pytest.mark.parametrize(
    ("size", "frames", "gifs", "faults"),
    [
        ((1024, 768), 9, 1, []),
        ((1280, 720), 8, 1, []),
        ((720, 1280), 8, 1, []),
        ((1280, 720), 9, 1, []),
        ((512, 512), 9, 3, []),
        ((512, 512), 9, 4, ["4 sheets have 9,437,184 pixels, more than 8,294,400"]),
        ((1280, 720), 10, 1, ["the sheet of 10 frames has 11,059,200 pixels, more than 8,294,400"]),
        ((256, 256), 9, 9, ["the sheet of 9 frames has 589,824 pixels, fewer than 655,360"]),
        ((960, 1000), 4, 1, ["width and height must be multiples of 16"]),
        (
            (1024, 1024),
            6,
            1,
            [
                "the sheet of 6 frames has an edge of 4096, longer than 3840",
                "the sheet of 6 frames has 8,388,608 pixels, more than 8,294,400",
            ],
        ),
    ],
)
def test_the_sheet_of_a_gif(size: tuple[int, int], frames: int, gifs: int, faults: list[str]) -> None:
    """Either way round, whichever fits; several gifs share the pixels."""
    assert gif_sheet_problems(*size, frames, gifs) == faults


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ((1024, 1024), (1024, 1024)),
        ((1920, 1080), (1920, 1088)),
        ((1080, 1920), (1088, 1920)),
        ((1000, 1000), (1008, 1008)),
        ((512, 512), (816, 816)),
        ((4096, 4096), (2880, 2880)),
        ((4096, 2160), (3840, 2032)),
        ((5000, 1000), (3840, 1280)),
        ((1, 1), (816, 816)),
        ((999_999_999, 1), (3840, 1280)),
    ],
)
def test_the_nearest_size(asked: tuple[int, int], nearest: tuple[int, int]) -> None:
    """What people most often ask for in vain."""
    assert nearest_size(*asked) == nearest


@given(EDGES, EDGES)
def test_the_nearest_size_is_within_the_rules(width: int, height: int) -> None:
    """Always; one that is within is its own, and turning it turns the answer."""
    nearest = nearest_size(width, height)
    assert size_problems(*nearest) == []
    assert size_problems(width, height) != [] or nearest == (width, height)
    assert math.prod(nearest_size(height, width)) == pytest.approx(math.prod(nearest), rel=0.05)


@pytest.mark.parametrize("size", [(1920, 1080), (999, 1001), (3839, 2159), (810, 810), (3000, 1001)])
def test_the_nearest_size_of_all(size: tuple[int, int]) -> None:
    """Of a size that is only no multiple of 16, none of the thousands within the rules is nearer."""

    def distance(other: tuple[int, int]) -> float:
        return sum(math.log(edge / asked) ** 2 for edge, asked in zip(other, size, strict=True))

    assert size_problems(*size) == ["width and height must be multiples of 16"]
    assert distance(nearest_size(*size)) == pytest.approx(min(map(distance, EVERY_SIZE)))


@pytest.mark.parametrize(
    ("ratio", "model", "most_pixels", "size"),
    [
        ("16:9", "gpt-image-2", PROVEN_PIXELS, "2560x1440"),
        ("16:9", "gpt-image-2.6-flare", MOST_PIXELS, "3840x2160"),
        ("9:16", "gpt-image-2", MOST_PIXELS, "2160x3840"),
        ("16:9", "gpt-image-2", 1_500_000, "1536x864"),
        ("1:1", "gpt-image-2-2026-04-21", PROVEN_PIXELS, "1920x1920"),
        ("1:1", "gpt-image-2", MOST_PIXELS, "2880x2880"),
        ("1:1", "gpt-image-2", 1024 * 1024, "1024x1024"),
        ("3:2", "gpt-image-2", PROVEN_PIXELS, "2304x1536"),
        ("2.35:1", "gpt-image-2", MOST_PIXELS, "3760x1600"),
        ("3:1", "gpt-image-2", MOST_PIXELS, "3840x1280"),
        ("1:1", "gpt-image-1.5", PROVEN_PIXELS, "1024x1024"),
        ("3:2", "gpt-image-1-mini", PROVEN_PIXELS, "1536x1024"),
        ("4:6", "gpt-image-1", PROVEN_PIXELS, "1024x1536"),
        ("1:1", "dall-e-2", PROVEN_PIXELS, "1024x1024"),
        ("7:4", "dall-e-3", PROVEN_PIXELS, "1792x1024"),
        ("16:9", None, PROVEN_PIXELS, "2560x1440"),
        ("16:9", None, 1_500_000, "1536x864"),
        ("21:9", None, PROVEN_PIXELS, "2912x1248"),
        ("4:5", None, PROVEN_PIXELS, "1664x2080"),
    ],
)
def test_the_size_of_a_ratio(ratio: str, model: str | None, most_pixels: int, size: str) -> None:
    """The largest of exactly this ratio that the model takes, or any model that takes free sizes."""
    assert size_of_ratio(ratio, model, most_pixels=most_pixels) == size
    assert most_pixels != PROVEN_PIXELS or size_of_ratio(ratio, model) == size


@pytest.mark.parametrize(
    ("ratio", "model", "most_pixels", "message"),
    [
        ("wide", "gpt-image-2", PROVEN_PIXELS, "'wide' is not a ratio; write one such as 16:9"),
        (
            "1:1",
            "flux",
            PROVEN_PIXELS,
            "the sizes of the model 'flux' are not known here; give size as WIDTHxHEIGHT",
        ),
        (
            "16:9",
            "gpt-image-1.5",
            PROVEN_PIXELS,
            "gpt-image-1.5 has no size of exactly 16:9; its sizes are 1024x1024, 1536x1024, 1024x1536",
        ),
        (
            "4:1",
            "gpt-image-2",
            PROVEN_PIXELS,
            "gpt-image-2 has no size of exactly 4:1; ratios must be between 1:3 and 3:1",
        ),
        (
            "1:3.01",
            "gpt-image-2",
            PROVEN_PIXELS,
            "gpt-image-2 has no size of exactly 1:3.01; ratios must be between 1:3 and 3:1",
        ),
        (
            "1.91:1",
            "gpt-image-2",
            PROVEN_PIXELS,
            "gpt-image-2 has no size of exactly 1.91:1; the nearest is 2656x1392",
        ),
        ("1:1", "gpt-image-2", 0, "gpt-image-2 has no size of exactly 1:1; the nearest is 816x816"),
        ("3:1", "gpt-image-2", 0, "gpt-image-2 has no size of exactly 3:1; the nearest is 1408x480"),
        ("1:3", "gpt-image-2", 0, "gpt-image-2 has no size of exactly 1:3; the nearest is 480x1408"),
        ("1:1", "gpt-image-2", 600_000, "gpt-image-2 has no size of exactly 1:1; the nearest is 816x816"),
        ("1.91:1", None, PROVEN_PIXELS, "there is no size of exactly 1.91:1; the nearest is 2656x1392"),
        ("4:1", None, PROVEN_PIXELS, "there is no size of exactly 4:1; ratios must be between 1:3 and 3:1"),
        ("16x9", None, PROVEN_PIXELS, "'16x9' is not a ratio; write one such as 16:9"),
    ],
)
def test_no_size_of_a_ratio(ratio: str, model: str | None, most_pixels: int, message: str) -> None:
    """Nothing is rounded; what would do is told."""
    with pytest.raises(RequestInvalidError) as raised:
        size_of_ratio(ratio, model, most_pixels=most_pixels)
    assert str(raised.value) == message


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([1_000_000, PROVEN_PIXELS, MOST_PIXELS]))
def test_the_largest_size_of_a_ratio(wide: int, high: int, most_pixels: int) -> None:
    """It is the largest of all that are within the rules and have the ratio, or there is none."""
    fitting = [
        (width * height, f"{width}x{height}")
        for width, height in EVERY_SIZE
        if width * high == height * wide and width * height <= most_pixels
    ]
    assert largest_size(Fraction(wide, high), most_pixels) == (max(fitting)[1] if fitting else None)


def test_sizes_that_models_list_are_sizes() -> None:
    """Each row of the table has sizes that can be read."""
    for model in MODELS.values():
        assert all(parse_size(size) for size in model.sizes)
