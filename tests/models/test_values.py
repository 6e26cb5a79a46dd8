"""Requests, results, events and options: what they refuse, what they show, and that they stay in step."""

import copy
import inspect
import math
import pickle
from typing import Any

import attrs
import pytest

from openai_images import (
    CompletedImage,
    GenerateParams,
    GenerateRequest,
    Image,
    ImageResult,
    Limits,
    PartialImage,
    SvgUsage,
    Timeouts,
    TokenDetails,
    UnknownEvent,
    Usage,
)
from openai_images.errors import ConfigurationError, RequestInvalidError
from openai_images.models.requests import EditParams, EditRequest, ImageReference
from openai_images.models.results import with_images

IMAGE = Image.from_bytes(b"\x89PNG\r\n\x1a\n")
EXTRA = {"prompt": "sentinel", "echo": ["sentinel"]}
VALUES = [
    GenerateRequest(
        "sentinel", model="gpt-image-2", safety_identifier="sentinel", user="sentinel", extra_body=EXTRA
    ),
    ImageResult((IMAGE,), usage=Usage(1, extra=EXTRA), safety_identifier="sentinel", extra=EXTRA),
    PartialImage(image=IMAGE, partial_image_index=0, extra=EXTRA),
    CompletedImage(image=IMAGE, usage=Usage(input_tokens_details=TokenDetails(1, extra=EXTRA)), extra=EXTRA),
    UnknownEvent("ping", EXTRA),
    SvgUsage("m", extra=EXTRA),
    Timeouts(total=5),
    EditRequest("sentinel", image=b"sentinel", mask=b"sentinel", extra_body=EXTRA),
    ImageReference(image_url="https://x.example/?sentinel"),
    Limits(concurrency=3),
]
IDS = [type(value).__name__ for value in VALUES]


@pytest.mark.parametrize("value", VALUES, ids=IDS)
def test_a_value(value: Any) -> None:
    """Frozen, slotted, hashable, and the same after pickling and copying."""
    assert not hasattr(value, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, attrs.fields(type(value))[0].name, None)
    for other in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert other == value
        assert hash(other) == hash(value)


@pytest.mark.parametrize("value", VALUES, ids=IDS)
def test_repr_echoes_nothing(value: Any) -> None:
    """A repr names the extra fields and shows none of their contents: a server may have echoed the prompt there."""
    assert "sentinel" not in repr(value)
    if getattr(value, "extra", None):
        assert "extra=<prompt, echo>" in repr(value)
        shown = repr(attrs.evolve(value, extra={}))
        assert shown.count("extra=") == repr(value).count("extra=") - 1


def test_repr_of_a_request() -> None:
    """The prompt's length and the names in extra_body are shown, nothing of what is in them."""
    text = repr(GenerateRequest("x" * 1234, size="auto", extra_body={1: "sentinel", "seed": 7}))
    assert "prompt=<1,234 characters>" in text
    assert "size='auto'" in text
    assert "extra_body=<1, seed>" in text
    assert repr(GenerateRequest("x")) == "GenerateRequest(prompt=<1 characters>)"  # only what is set
    odd = repr(GenerateRequest("x", extra_body={"k" * 99: 1, "\ud800ü": 2}))
    assert f"extra_body=<{'k' * 40}, \\ud800\\xfc>" in odd


def test_other_forms_of_the_same_pictures() -> None:
    """A result whose images became files has them in its parts as well, and nothing else is changed."""
    old = [Image.from_bytes(b"\x89PNG\r\n\x1a\n%d" % number) for number in range(5)]
    new = [Image(url=f"https://x.example/{number}") for number in range(5)]
    parts = tuple(ImageResult(tuple(images), created=len(images)) for images in (old[:2], old[2:4], old[4:]))
    result = ImageResult(tuple(old), created=1, parts=parts)
    changed = with_images(result, new)
    assert changed.images == tuple(new)
    assert [part.images for part in changed.parts] == [tuple(new[:2]), tuple(new[2:4]), tuple(new[4:])]
    assert with_images(changed, old) == result
    assert with_images(ImageResult((old[0],)), [new[0]]) == ImageResult((new[0],))


def test_parameters_and_fields_stay_in_step() -> None:
    """The keywords of `generate` are the fields of a request, but for the prompt, with the same types."""
    keywords = {name: ref.__forward_arg__ for name, ref in GenerateParams.__annotations__.items()}
    fields = {name: hint for name, hint in inspect.get_annotations(GenerateRequest).items() if name != "path"}
    assert fields.pop("prompt") == "str"
    assert list(keywords.items()) == list(fields.items())
    more = {name: hint for name, hint in inspect.get_annotations(EditRequest).items() if name != "path"}
    keywords = {name: ref.__forward_arg__ for name, ref in EditParams.__annotations__.items()}
    assert list(keywords.items()) == [*fields.items(), *more.items()]


@pytest.mark.parametrize("prompt", [None, 5, b"otter", ["otter"], {"prompt": "otter"}])
def test_a_prompt_is_text(prompt: Any) -> None:
    """Anything else is refused, naming the type and not the value."""
    with pytest.raises(RequestInvalidError, match=rf"must be text \(str\), not {type(prompt).__name__}$"):
        GenerateRequest(prompt)


def test_a_request_of_prompt_and_keywords() -> None:
    """Keywords make a request, or replace the fields of one; None takes a field back."""
    request = GenerateRequest.of("otter", {"size": "auto", "n": 2})
    assert request == GenerateRequest("otter", size="auto", n=2)
    assert GenerateRequest.of(request, {"n": 3, "size": None}) == GenerateRequest("otter", n=3)
    assert GenerateRequest.of(request, {}) == request


def test_an_unknown_keyword() -> None:
    """The error names it and says how to send it all the same."""
    for prompt in ("otter", GenerateRequest("otter")):
        with pytest.raises(TypeError, match=r"unknown parameter 'seed': .* extra_body=\{\"seed\": \u2026\}"):
            GenerateRequest.of(prompt, {"size": "auto", "seed": 7})


def test_the_first_picture() -> None:
    """`image` is the first of `images`."""
    other = Image.from_bytes(b"other")
    assert ImageResult((other, IMAGE)).image is other


def test_defaults_of_the_options() -> None:
    """Six minutes of painting are within them."""
    assert Timeouts() == Timeouts(
        connect=10.0, first_byte=None, idle=None, total=600.0, comments_are_life=True
    )
    assert Limits().max_picture_bytes == 64 * 1024 * 1024


@pytest.mark.parametrize("name", ["connect", "first_byte", "idle", "total"])
def test_times_make_sense(name: str) -> None:
    """None, or a number above zero."""
    for good in (None, 1, 0.001, math.inf):
        assert getattr(Timeouts(**{name: good}), name) == good
    bad: Any
    for bad in (0, -1, math.nan, "10", [1]):
        with pytest.raises(
            ConfigurationError, match=rf"Timeouts\({name}=.*\): must be a number of seconds above 0"
        ):
            Timeouts(**{name: bad})


@pytest.mark.parametrize("name", ["concurrency", "max_picture_bytes"])
def test_counts_make_sense(name: str) -> None:
    """A whole number above zero."""
    assert getattr(Limits(**{name: 1}), name) == 1
    bad: Any
    for bad in (0, -1, 1.5, None, "10", math.nan):
        with pytest.raises(ConfigurationError, match=rf"Limits\({name}=.*\): must be a whole number above 0"):
            Limits(**{name: bad})
