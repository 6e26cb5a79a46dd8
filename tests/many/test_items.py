"""Items from what people give: prompts, requests, mappings; and clear words for what is none."""

from typing import Any

import pytest

from openai_images import GenerateRequest, RequestInvalidError
from openai_images.many.items import RequestItem, parse_defaults, parse_item


def test_a_prompt() -> None:
    """It is named by its place, with five digits or more."""
    assert parse_item(7, "an otter") == RequestItem(7, "00007", GenerateRequest("an otter"))
    assert parse_item(123_456, "an otter").key == "123456"


def test_an_item_stays_as_it_is() -> None:
    """What is an item already is passed through, defaults or not."""
    item = RequestItem(3, "mine", GenerateRequest("an otter"))
    assert parse_item(99, item, {"model": "other"}) is item


def test_a_mapping() -> None:
    """Parameters by their names, a key of its own, and None for what is not set."""
    row = {"prompt": "an otter", "key": "otter", "size": "1024x1024", "n": 2, "quality": None}
    assert parse_item(0, row) == RequestItem(0, "otter", GenerateRequest("an otter", size="1024x1024", n=2))
    assert parse_item(4, {"prompt": "an otter", "key": None}).key == "00004"
    assert parse_item(4, {"prompt": "an otter", "key": 12}).key == "12"


@pytest.mark.parametrize(
    "given",
    ["an otter", {"prompt": "an otter"}, GenerateRequest("an otter"), {"prompt": "an otter", "size": None}],
)
def test_defaults_are_laid_under(given: object) -> None:
    """What a request does not set comes from the defaults."""
    item = parse_item(0, given, {"model": "m", "size": "s"})
    assert item.request == GenerateRequest("an otter", model="m", size="s")


@pytest.mark.parametrize(
    "given", [{"prompt": "an otter", "size": "own"}, GenerateRequest("an otter", size="own")]
)
def test_what_a_request_sets_wins(given: object) -> None:
    """Its own values are kept."""
    assert parse_item(0, given, {"model": "m", "size": "s"}).request == GenerateRequest(
        "an otter", model="m", size="own"
    )


@pytest.mark.parametrize("kind", [dict, lambda **fields: GenerateRequest(fields.pop("prompt"), **fields)])
def test_extra_body_is_merged(kind: Any) -> None:
    """Name by name, the request's own winning; the defaults are not changed by it."""
    defaults = {"extra_body": {"seed": 1, "safety": "strict"}}
    item = parse_item(0, kind(prompt="an otter", extra_body={"seed": 2}), defaults)
    assert item.request.extra_body == {"seed": 2, "safety": "strict"}
    assert defaults == {"extra_body": {"seed": 1, "safety": "strict"}}
    assert parse_item(0, kind(prompt="an otter"), defaults).request.extra_body == {
        "seed": 1,
        "safety": "strict",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            5,
            r"request 9: it must be a prompt \(str\), a GenerateRequest, an EditRequest or a mapping with .*, not int",
        ),
        (None, "not NoneType"),
        (b"an otter", "not bytes"),
        ({}, "request 9: it has no 'prompt'"),
        ({"prompt": None}, "it has no 'prompt'"),
        ({"prompt": 5}, r"the prompt must be text \(str\), not int"),
        (
            {"prompt": "p", "siez": "s"},
            "unknown parameter 'siez': did you mean size",
        ),
        ({"prompt": "p", None: ["too", "many", "columns"]}, "unknown parameter 'None'"),
        ({"prompt": "p", "n": "2"}, "n must be a whole number, not str"),
        ({"prompt": "p", "n": True}, "n must be a whole number, not bool"),
        (GenerateRequest("p", n=2.0), "n must be a whole number, not float"),  # type: ignore[arg-type]
        ({"prompt": "p", "extra_body": ["seed"]}, "extra_body must be a mapping, not list"),
        ({"prompt": "p", "key": 1.5}, "its key must be text, not float"),
        ({"prompt": "p", "key": True}, "its key must be text, not bool"),
        ({"prompt": "p", "key": ""}, "its key '' cannot name a file"),
        ({"prompt": "p", "key": "../.."}, r"its key '\.\./\.\.' cannot name a file"),
    ],
)
def test_what_is_no_request(given: object, said: str) -> None:
    """It is told what was wrong with which one, and what to do."""
    with pytest.raises(RequestInvalidError, match=said):
        parse_item(9, given)


def test_no_text_quotes_a_prompt() -> None:
    """Errors and reprs tell the length of a prompt, never its words."""
    with pytest.raises(RequestInvalidError) as caught:
        parse_item(0, {"prompt": "a secret otter", "n": "2"})
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(parse_item(0, "a secret otter"))


def test_defaults_are_checked_at_once() -> None:
    """Unknown names are a mistake in the code; the client's model comes last; None is not set."""
    assert parse_defaults({"size": "s", "quality": None}) == {"size": "s"}
    assert parse_defaults({"model": "own"}) == {"model": "own"}
    assert parse_defaults({}) == {}
    with pytest.raises(TypeError, match="unknown parameter 'siez'"):
        parse_defaults({"siez": "s"})
    with pytest.raises(RequestInvalidError, match="n must be a whole number"):
        parse_defaults({"n": "2"})
