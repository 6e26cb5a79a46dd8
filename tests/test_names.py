"""The public names: each is found, a misspelt one says which was meant, and annotations that use them can be read."""

import typing
from collections.abc import AsyncIterator
from importlib import import_module

import pytest

import openai_images
from openai_images import (
    ApiKey,
    EditParams,
    GenerateParams,
    GenerateRequest,
    ImageEvent,
    ImageInput,
    ImageResult,
    TokenProvider,
)


@pytest.mark.parametrize("name", openai_images.__all__)
def test_each_name_is_that_of_its_module(name: str) -> None:
    """The list of names and the list of modules agree."""
    assert getattr(openai_images, name) is not None


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ImageClient", "ImagesClient"),
        ("GenerateRequests", "GenerateRequest"),
        ("RateLimitErorr", "RateLimitError"),
        ("AsyncOpenAI", "ImagesClient"),
        ("APIError", "ImagesError"),
        ("UnprocessableEntityError", "BadRequestError"),
    ],
)
def test_a_misspelt_name(name: str, meant: str) -> None:
    """An import and an attribute say what was probably meant."""
    with pytest.raises(ImportError, match=f"cannot import name '{name}'.*; did you mean '{meant}'\\?$"):
        exec(f"from openai_images import {name}", {})
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; did you mean '{meant}'\\?$"):
        getattr(openai_images, name)
    assert not hasattr(openai_images, name)


def test_a_name_like_nothing() -> None:
    """Nothing is advised, and the interpreter's own sentence says where it looked."""
    with pytest.raises(ImportError, match="cannot import name 'quux'") as caught:
        exec("from openai_images import quux", {})
    assert "did you mean" not in str(caught.value)


def test_a_submodule_is_no_misspelt_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """`batch` is near `Batch`, and a module of its own, whether it was imported before or not."""
    batch = import_module("openai_images.batch")
    monkeypatch.delattr(openai_images, "batch")
    found: dict[str, object] = {}
    exec("from openai_images import batch", found)
    assert found["batch"] is batch


def wrapper(
    image: ImageInput, key: ApiKey | TokenProvider, **params: typing.Unpack[GenerateParams]
) -> AsyncIterator[ImageEvent]:
    """What somebody writes around the client."""
    raise NotImplementedError


def test_annotations_are_readable() -> None:
    """Frameworks read them while the program runs: the aliases and the keywords behind them resolve."""
    hints = typing.get_type_hints(wrapper)
    assert hints["image"] == ImageInput
    assert set(typing.get_args(typing.get_args(hints["return"])[0])) == set(typing.get_args(ImageEvent))
    keywords = typing.get_type_hints(GenerateParams)
    assert keywords.keys() < typing.get_type_hints(EditParams).keys()
    for cls in (GenerateRequest, ImageResult):
        assert typing.get_type_hints(cls)
