"""How many images each of several requests asks for."""

from typing import Any

import pytest

from openai_images import GenerateRequest
from openai_images.catalog.models import MAX_IMAGES_PER_CALL
from openai_images.client.prepared_request import global_index, split_counts


@pytest.mark.parametrize(
    ("params", "shares"),
    [
        ({"n": 23}, (10, 10, 3)),
        ({"n": 11}, (10, 1)),
        ({"n": 20}, (10, 10)),
        ({"n": 10}, ()),
        ({"n": 2}, ()),
        ({"n": 1}, ()),
        ({}, ()),
        ({"n": 3, "stream": True}, (1, 1, 1)),
        ({"n": 1, "stream": True}, ()),
        ({"n": 3, "output_format": "svg"}, (1, 1, 1)),
        ({"n": 3, "extra_body": {"output_format": "svg"}}, (1, 1, 1)),
        ({"n": 3, "output_format": "svg", "extra_body": {"output_format": "png"}}, ()),
        ({"n": 2, "model": "dall-e-3"}, (1, 1)),
        ({"n": 2, "extra_body": {"model": "dall-e-3"}}, (1, 1)),
        ({"n": 12, "model": "dall-e-2"}, (10, 2)),
        ({"n": 12, "model": "someone-elses"}, (10, 2)),
        ({"n": 12, "model": 7}, (10, 2)),
        ({"n": 2, "extra_body": {"stream": True}}, (1, 1)),
        ({"n": MAX_IMAGES_PER_CALL, "stream": True}, (1,) * MAX_IMAGES_PER_CALL),
    ],
)
def test_shares(params: dict[str, Any], shares: tuple[int, ...]) -> None:
    """Ten at most, one of a stream, of an svg and of a model that paints one; none where one request will do."""
    stream = params.pop("stream", False)
    assert split_counts(GenerateRequest("an otter", **params), stream=stream) == shares


@pytest.mark.parametrize(
    "params",
    [
        {"n": 0},
        {"n": -3},
        {"n": True},
        {"n": "23"},
        {"n": 23.0},
        {"n": MAX_IMAGES_PER_CALL + 1},
        {"n": 10**100},
        {"n": 23, "extra_body": {"n": 23}},
        {"n": 23, "extra_body": ["seed"]},
        {"extra_body": {"n": 23}},
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_left_alone(params: dict[str, Any], *, stream: bool) -> None:
    """What is no number in reason, or is the caller's own business."""
    assert split_counts(GenerateRequest("an otter", **params), stream=stream) == ()


def test_places() -> None:
    """A server that counts beyond its part's images, or below, stays among them."""
    assert [global_index(index, 10, 3) for index in (-1, 0, 1, 2, 3, 10**9)] == [10, 10, 11, 12, 12, 12]
