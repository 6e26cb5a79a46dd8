"""The usage of a result: as compatible servers write it, and several as one."""

from typing import Any

import pytest

from openai_images import Image, ImageResult, SvgUsage, TokenDetails, Usage
from openai_images.models.results import total_usage
from openai_images.models.usage import sum_usages
from openai_images.wire.codec import structure_completed, structure_result

IMAGE = Image.from_bytes(b"\x89PNG\r\n\x1a\n")
OF_2026 = {
    "input_tokens": 21,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 21},
    "output_tokens": 196,
    "output_tokens_details": {"image_tokens": 196, "text_tokens": 0},
    "total_tokens": 217,
}


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        (OF_2026, Usage(21, 196, 217, TokenDetails(0, 21), TokenDetails(196, 0))),
        (
            {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16, "image_count": 2},
            Usage(7, 9, 16, extra={"image_count": 2}),
        ),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, Usage(0, 0, 0)),
        (
            {
                "input_tokens": 9,
                "input_tokens_details": {"cached_tokens": 4, "text_tokens": 9, "image_tokens": None},
            },
            Usage(9, None, None, TokenDetails(None, 9, {"cached_tokens": 4})),
        ),
        (
            {"input_tokens_details": {"cached_tokens": 4, "cached_tokens_details": {"image_tokens": 4}}},
            Usage(
                input_tokens_details=TokenDetails(
                    extra={"cached_tokens": 4, "cached_tokens_details": {"image_tokens": 4}}
                )
            ),
        ),
        (
            {"input_tokens": "12", "output_tokens": 13.0, "total_tokens": -1},
            Usage(12, 13, extra={"total_tokens": -1}),
        ),
        (
            {"input_tokens": 1.5, "output_tokens": True},
            Usage(extra={"input_tokens": 1.5, "output_tokens": True}),
        ),
        ({"input_tokens": 10**400}, Usage(extra={"input_tokens": 10**400})),
        ({"input_tokens_details": [], "cost": 0.04}, Usage(extra={"input_tokens_details": [], "cost": 0.04})),
        ({"cost_in_usd_ticks": 7}, Usage(extra={"cost_in_usd_ticks": 7})),
        ({}, Usage()),
        (None, None),
    ],
)
def test_usage_as_servers_write_it(said: Any, usage: Usage | None) -> None:
    """Typed where it is known, under either name; what is not known, or of a strange type, is kept in `extra`."""
    assert structure_result({"usage": said}, (IMAGE,)).usage == usage
    completed = structure_completed({"usage": said, "b64_json": IMAGE})
    assert completed is not None
    assert completed.usage == usage


def test_the_usage_of_an_svgs_author() -> None:
    """Its model is a part of it; the model that an answer names is not the one that was asked for."""
    author = {"model": "author", "input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "more": 4}
    found = structure_result({"svg_usage": author, "model": "resolved", "edited": 1, "parts": [1]}, (IMAGE,))
    assert found.svg_usage == SvgUsage("author", 1, 2, None, 3, {"more": 4})
    assert (found.model, found.edited, found.parts) == (None, False, ())
    assert found.extra == {"model": "resolved", "edited": 1, "parts": [1]}


DETAILED = Usage(21, 196, 217, TokenDetails(0, 21, {"cached_tokens": 5}), TokenDetails(196, 0))


@pytest.mark.parametrize(
    ("usages", "total"),
    [
        ([DETAILED], DETAILED),
        (
            [DETAILED, DETAILED, DETAILED],
            Usage(63, 588, 651, TokenDetails(0, 63, {"cached_tokens": 15}), TokenDetails(588, 0)),
        ),
        (
            [DETAILED, Usage(10, 20, 30, TokenDetails(4, 6))],
            Usage(31, 216, 247, TokenDetails(4, 27)),
        ),
        ([DETAILED, Usage(10, 20)], Usage(31, 216)),
        ([Usage(10, 20, 30, TokenDetails(10)), DETAILED], Usage(31, 216, 247, TokenDetails(10))),
        (
            [
                Usage(
                    1,
                    extra={"prompt_tokens_details": {"cached_tokens": 1, "a": 1}, "unit": "usd", "cost": 0.1},
                ),
                Usage(
                    2,
                    extra={"prompt_tokens_details": {"cached_tokens": 2, "a": 2}, "unit": "usd", "cost": 0.2},
                ),
            ],
            Usage(3, extra={"prompt_tokens_details": {"cached_tokens": 3}, "unit": "usd"}),
        ),
        (
            [
                Usage(1, extra={"reasoning_tokens": True, "text_tokens": 1}),
                Usage(1, extra={"reasoning_tokens": True}),
            ],
            Usage(2, extra={"reasoning_tokens": True}),
        ),
        ([DETAILED, None], None),
        ([None], None),
        ([DETAILED, Usage()], None),
        ([DETAILED, Usage(0, 0, 0, TokenDetails(0, 0))], None),
        ([], None),
    ],
)
def test_several_usages_as_one(usages: list[Usage | None], total: Usage | None) -> None:
    """Counts are added up with their details; what one lacks, the sum lacks, so that it is never too low."""
    assert sum_usages(iter(usages)) == total
    assert sum_usages(reversed(usages)) == total
    assert total_usage(ImageResult((IMAGE,), usage=usage) for usage in usages) == total


def test_a_repr_without_parts() -> None:
    """Each part would repeat the whole."""
    part = ImageResult((IMAGE,), size="sentinel")
    assert "sentinel" not in repr(ImageResult((IMAGE,), parts=(part,)))
