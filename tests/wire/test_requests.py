"""The request's body is exactly what was set, and what cannot be sent is refused without showing it."""

import json
import traceback
from collections import UserDict
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from attrs import fields
from hypothesis import given, strategies as st

from openai_images.errors import RequestInvalidError
from openai_images.models.requests import GenerateRequest
from openai_images.wire.codec import encode_json, request_params
from openai_images.wire.requests import generate_request

VALUES: dict[str, Any] = {
    "model": "gpt-image-2.6-sunburst", "n": 2, "size": "1024x1024", "quality": "xhigh", "background": "transparent",
    "output_format": "webp", "output_compression": 0, "moderation": "low", "partial_images": 3, "complexity": "high",
    "frame_count": 9, "frame_duration_ms": 200, "svg": {"model": "m", "reasoning": {"effort": None}},
    "safety_identifier": "me", "user": "me", "response_format": "b64_json", "style": "vivid",
}  # fmt: skip


def encode_request(request: GenerateRequest, *, stream: bool) -> bytes:
    """The body of a request."""
    return encode_json(request_params(request, stream=stream))


def sent(request: GenerateRequest, *, stream: bool = False) -> Any:
    """What is written, read again."""
    return json.loads(encode_request(request, stream=stream))


def test_every_parameter_is_tried() -> None:
    """The values of these tests are all the parameters there are."""
    assert VALUES.keys() | {"prompt", "extra_body"} == {field.name for field in fields(GenerateRequest)}


def test_only_the_prompt() -> None:
    """What is not set is not sent, and `stream` only where it is true."""
    assert encode_request(GenerateRequest("otter"), stream=False) == b'{"prompt":"otter"}'
    assert encode_request(GenerateRequest("otter"), stream=True) == b'{"prompt":"otter","stream":true}'


@pytest.mark.parametrize("name", VALUES)
def test_one_parameter(name: str) -> None:
    """Each parameter is sent under its own name, with its own value, and alone; zero counts as set."""
    assert sent(GenerateRequest("otter", **{name: VALUES[name]})) == {"prompt": "otter", name: VALUES[name]}
    assert sent(GenerateRequest("otter", **{name: None})) == {"prompt": "otter"}


def test_every_parameter_at_once() -> None:
    """All of them, in the order of the fields, with nothing between."""
    body = encode_request(GenerateRequest("otter", **VALUES), stream=True)
    assert json.loads(body) == {"prompt": "otter", **VALUES, "stream": True}
    assert list(json.loads(body)) == ["prompt", *VALUES, "stream"]
    assert b" " not in body


def test_extra_body_is_laid_over() -> None:
    """`extra_body` adds, replaces, and may set null."""
    extra = {"size": None, "seed": 7, "stream": False, "prompt": "other", "deep": [{"a": [1.5, True, None]}]}
    body = sent(GenerateRequest("otter", size="auto", extra_body=extra), stream=True)
    assert body == {
        "prompt": "other",
        "size": None,
        "stream": False,
        "seed": 7,
        "deep": [{"a": [1.5, True, None]}],
    }


@pytest.mark.parametrize("kind", [dict, MappingProxyType, UserDict])
def test_any_mapping_will_do(kind: Any) -> None:
    """Mappings of every class are written as objects, at any depth."""
    request = GenerateRequest(
        "otter", svg=kind({"model": "m"}), extra_body=kind({"a": [kind({"b": (1, 2)})]})
    )
    assert sent(request) == {"prompt": "otter", "svg": {"model": "m"}, "a": [{"b": [1, 2]}]}


def test_a_text_of_a_class_of_its_own() -> None:
    """An enumeration of texts is written as its text."""
    size = StrEnum("Size", {"BIG": "2048x2048"})
    assert sent(GenerateRequest("otter", size=size.BIG)) == {"prompt": "otter", "size": "2048x2048"}


def test_characters_are_not_escaped() -> None:
    """Text goes out as UTF-8, so that it is as long as it looks."""
    body = encode_request(GenerateRequest("ein \u00f6tter \N{OTTER}\u2028"), stream=False)
    assert body == '{"prompt":"ein \u00f6tter \N{OTTER}\u2028"}'.encode()


@given(st.text())
def test_any_prompt_comes_through(prompt: str) -> None:
    """Every text that UTF-8 can write arrives as it was."""
    try:
        prompt.encode()
    except UnicodeEncodeError:
        with pytest.raises(RequestInvalidError, match="surrogate"):
            encode_request(GenerateRequest(prompt), stream=False)
    else:
        assert sent(GenerateRequest(prompt)) == {"prompt": prompt}


def endless() -> dict[str, Any]:
    """A mapping that holds itself."""
    mapping: dict[str, Any] = {}
    mapping["again"] = mapping
    return mapping


def deep() -> list[Any]:
    """A list nested deeper than anything can write."""
    item: list[Any] = []
    for _ in range(100_000):
        item = [item]
    return item


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prompt": "sentinel \ud83e"}, "half of a surrogate pair"),
        ({"extra_body": {"a": "sentinel \udcff"}}, "half of a surrogate pair"),
        ({"extra_body": {"a": float("nan")}}, "not JSON compliant"),
        ({"extra_body": {"a": float("-inf")}}, "not JSON compliant"),
        ({"extra_body": {"a": b"sentinel"}}, "bytes is not a JSON type"),
        ({"extra_body": {"a": {1, 2}}}, "set is not a JSON type"),
        ({"extra_body": {"a": object()}}, "object is not a JSON type"),
        ({"extra_body": {("sentinel", 1): 1}}, "keys must be"),
        ({"extra_body": endless()}, "Circular"),
        ({"extra_body": {"a": deep()}}, "check svg and extra_body"),
        ({"svg": {"a": 1j}}, "complex is not a JSON type"),
    ],
)
def test_what_cannot_be_sent(options: dict[str, Any], said: str) -> None:
    """It is refused here, and neither the text nor the traceback shows the prompt."""
    request = GenerateRequest(**{"prompt": "sentinel", **options})
    with pytest.raises(RequestInvalidError, match=said) as caught:
        encode_request(request, stream=False)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    shown = "".join(traceback.format_exception(caught.value))
    assert "sentinel" not in str(caught.value)
    assert "sentinel" not in shown


def test_the_request_over_the_wire() -> None:
    """URL, headers and body; what the caller sets wins, whatever its case; nothing of it shows in a repr."""
    given_headers = {"Authorization": "Bearer sk-sentinel", "user-agent": "mine", "ACCEPT": "*/*"}
    request = generate_request(
        "http://x/v1/images/generations", GenerateRequest("sentinel"), given_headers, stream=True
    )
    assert request.url == "http://x/v1/images/generations"
    assert request.headers == {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        **given_headers,
    }
    assert json.loads(request.body) == {"prompt": "sentinel", "stream": True}
    assert "sentinel" not in repr(request)


@pytest.mark.parametrize(
    ("stream", "accept"), [(True, "text/event-stream, application/json"), (False, "application/json")]
)
def test_what_is_accepted(stream: bool, accept: str) -> None:
    """Streams are asked for where events are wanted, JSON always; the client names itself."""
    request = generate_request("http://x", GenerateRequest("otter"), {}, stream=stream)
    assert request.headers["Accept"] == accept
    assert request.headers["User-Agent"].startswith("openai-images/")
