"""Every keyword is seen where people look: in `inspect.signature` and `help()`, with its type and a line about it."""

import inspect
import pydoc
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from openai_images import EditRequest, GenerateRequest, ImagesClient
from openai_images.client.options import ClientOptions
from openai_images.client.settings import ClientSettings
from openai_images.models.parameters import (
    DESCRIPTIONS,
    OPTION_NAMES,
    CallOptions,
    EditKeywords,
    GenerateKeywords,
)
from openai_images.models.requests import EditParams, GenerateParams

GENERATE, EDIT, OPTIONS = ([*cls.__annotations__] for cls in (GenerateKeywords, EditKeywords, CallOptions))
VERBS = {
    "generate": ["prompt", "into", "overwrite", *GENERATE],
    "stream": ["prompt", "into", "overwrite", "keep_partials", *GENERATE],
    "edit": ["prompt", "into", "overwrite", *EDIT],
    "stream_edit": ["prompt", "into", "overwrite", "keep_partials", *EDIT],
    "download": ["what", "into", "overwrite", *OPTIONS],
    "with_options": [*ClientOptions.__annotations__],
}
MANY = [
    "requests",
    "concurrency",
    "ordered",
    "into",
    "overwrite",
    "progress",
    "prices",
    "max_identical_failures",
]
AZURE = [
    "endpoint",
    "deployment",
    "api_version",
    "api_key",
    "token_provider",
    *ClientSettings.__annotations__,
]
SETTINGS = ["api_key", "base_url", "organization", "project", *ClientSettings.__annotations__]
SHOWN: list[tuple[Callable[..., Any], list[str]]] = [
    *((getattr(ImagesClient, verb), names) for verb, names in VERBS.items()),
    (ImagesClient.generate_many, [*MANY, *GENERATE]),
    (ImagesClient.azure, AZURE),
    (ImagesClient.__init__, SETTINGS),
]
EACH = pytest.mark.parametrize(("function", "names"), SHOWN, ids=[each.__name__ for each, _ in SHOWN])


@EACH
def test_a_signature(function: Callable[..., Any], names: list[str]) -> None:
    """It has every keyword with its type, none twice, and nothing that cannot be passed."""
    parameters = inspect.signature(function).parameters
    assert [name for name in parameters if name != "self"] == names
    for name in names:
        assert parameters[name].annotation not in (inspect.Parameter.empty, "Any")
        assert parameters[name].kind is not inspect.Parameter.VAR_KEYWORD


@EACH
def test_help(function: Callable[..., Any], names: list[str]) -> None:
    """`help()` has a line for every keyword, with its type."""
    text = pydoc.plain(pydoc.render_doc(function))
    lines = {line.strip().partition(" (")[0]: line for line in text.partition("Parameters:")[2].splitlines()}
    for name in names:
        annotation = inspect.signature(function).parameters[name].annotation
        assert lines[name] == f"        {name} ({annotation}): {DESCRIPTIONS[name]}"


def test_the_class_shows_its_settings() -> None:
    """Editors and notebooks ask the class, not its constructor; private arguments stay out of sight."""
    assert list(inspect.signature(ImagesClient).parameters) == SETTINGS
    assert list(inspect.signature(ImagesClient(api_key="k").generate).parameters) == VERBS["generate"]


@pytest.mark.parametrize(
    ("request_type", "params"), [(GenerateRequest, GenerateParams), (EditRequest, EditParams)]
)
def test_the_requests_are_in_step(request_type: type[Any], params: Any) -> None:
    """Fields and keywords are the same, with the same types, and nothing of a call is a field."""
    fields = {name: field.type for name, field in attrs.fields_dict(request_type).items() if name != "prompt"}
    assert fields == {name: hint.__forward_arg__ for name, hint in params.__annotations__.items()}
    assert fields.keys().isdisjoint(OPTION_NAMES)


def test_the_table_is_in_step() -> None:
    """Each line is about a keyword that exists, and the names of options are theirs."""
    assert {name for _, names in SHOWN for name in names} == set(DESCRIPTIONS)
    assert CallOptions.__annotations__.keys() == OPTION_NAMES
    assert all(text and not text.endswith(".") and len(text) < 200 for text in DESCRIPTIONS.values())
