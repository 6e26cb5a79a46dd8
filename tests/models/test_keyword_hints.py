"""A name that is not known gets a sentence that says what to write: what is near, or what it is called here."""

import copy
import inspect
import pickle
import re
from operator import attrgetter
from typing import Any

import pytest

import openai_images
from openai_images import (
    BatchOptions,
    CompletedImage,
    EditRequest,
    GenerateRequest,
    Image,
    ImageResult,
    ImagesClient,
    Limits,
    PartialImage,
    RequestInvalidError,
    RetryPolicy,
    Timeouts,
)
from openai_images._util.keyword_hints import ATTRIBUTES, KEYWORDS, VALUE_ATTRIBUTES, VERB_KEYWORDS
from openai_images.many.items import parse_item
from openai_images.models.parameters import DESCRIPTIONS

AZURE = "https://name.openai.azure.com"


def client() -> ImagesClient:
    """A client that sends nothing."""
    return ImagesClient(api_key="k", model="gpt-image-2")


@pytest.mark.parametrize(
    ("keyword", "said"),
    [
        ("sizes", "unknown parameter 'sizes': did you mean size?"),
        ("qualty", "did you mean quality?"),
        ("Size", "did you mean size?"),
        ("overwite", "did you mean overwrite?"),
        ("time_out", "did you mean timeout?"),
        ("timeouts", "write timeout="),
        ("extra_headers", r"write headers=\{…\}"),
        ("extra_query", "no query can be added"),
        ("stream", r"client\.stream\(…\) and client\.stream_edit\(…\) yield events"),
        ("http_client", r"session=aiohttp\.ClientSession"),
        ("image", r"client\.edit\(…\)"),
        (
            "input_fidelity",
            r"client\.edit\(…\), client\.stream_edit\(…\) and EditRequest take input_fidelity",
        ),
        ("as_json", r"client\.edit\(…\)"),
        ("max_concurrency", r"Limits\(concurrency=…\)"),
        ("budget", r"BatchOptions\(…\)"),
        ("width", 'write size="WIDTHxHEIGHT"'),
        ("seed", r"extra_body=\{\"seed\": …\}"),
        ("brush_of_tomorrow", r"send parameters this version does not know with extra_body=\{…\}"),
        ("api_key", r"another ImagesClient\(api_key=…\)"),
    ],
)
def test_a_keyword_of_a_call(keyword: str, said: str) -> None:
    """Each verb says the same, before anything is sent; the value is not repeated."""
    keywords: Any = {keyword: "SENTINEL"}
    for verb in (client().stream, client().generate_many):
        with pytest.raises(TypeError, match=said) as caught:
            verb(["an otter"] if verb.__name__ == "generate_many" else "an otter", **keywords)
        assert "SENTINEL" not in str(caught.value)


def test_a_keyword_is_not_both_near_and_unknown() -> None:
    """A parameter that is known gets no hint."""
    for name in ("response_format", "timeout", "headers", "max_retries", "extra_body"):
        keywords: Any = {name: None}
        assert client().stream("an otter", **keywords)


@pytest.mark.parametrize(
    ("keyword", "said"),
    [
        ("organisation", "ImagesClient has no setting 'organisation': did you mean organization?"),
        ("default_headers", r"write headers=\{…\}"),
        ("default_query", "no query can be added"),
        ("http_client", r"pass session=aiohttp\.ClientSession\(…\)"),
        ("azure_endpoint", r"ImagesClient\.azure\(endpoint=…\) makes a client for Azure"),
        ("azure_ad_token_provider", r"ImagesClient\.azure\(token_provider=…\)"),
        ("retries", "did you mean max_retries?|did you mean retry?"),
        ("verify", r"write ssl=…, in ImagesClient\(…\)"),
        ("max_concurrency", r"Limits\(concurrency=…\)"),
        ("colour", "there are api_key, base_url"),
        ("endpoint", r"ImagesClient\.azure\(endpoint=…\)"),
    ],
)
def test_a_setting(keyword: str, said: str) -> None:
    """A client says what its setting is called; so does Azure's, and one with other options."""
    keywords: Any = {keyword: "SENTINEL"}
    with pytest.raises(TypeError, match=said) as caught:
        ImagesClient(api_key="k", **keywords)
    assert not {"SENTINEL", "_azure"} & set(re.split(r"[ ,']", str(caught.value)))
    if keyword.startswith("azure"):
        with pytest.raises(TypeError, match=said):
            ImagesClient.azure(AZURE, api_key="k", **keywords)
    with pytest.raises(TypeError, match="with_options has no setting"):
        client().with_options(**keywords)


async def test_an_edit_without_an_image() -> None:
    """It is missed by the name of the method that was called, not by a class that the caller never wrote."""
    edit: Any = client().edit
    with pytest.raises(
        TypeError, match=r"^edit\(\) and stream_edit\(\) need the image to edit: pass image=…"
    ):
        await edit("n")
    stream_edit: Any = client().stream_edit
    with pytest.raises(TypeError, match=r"stream_edit\(\) need the image"):
        stream_edit("n", size="1024x1024")
    with pytest.raises(TypeError, match=r"write image=…"):
        await edit("n", images="x.png")


@pytest.mark.parametrize(
    ("name", "said"), [("api_key", "belong to one account"), ("session", "ImagesClient")]
)
def test_a_setting_of_the_whole_client(name: str, said: str) -> None:
    """What connections and limits depend on cannot be changed in a client that shares them."""
    keywords: Any = {name: "SENTINEL"}
    with pytest.raises(TypeError, match=said):
        client().with_options(**keywords)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "p", "sizes": "1"}, "request 3: unknown parameter 'sizes': did you mean size?"),
        ({"prompt": "p", "keys": "1"}, "did you mean key?"),
        ({"prompt": "p", "timeout": 2}, "for the whole run: pass them to generate_many"),
        ({"prompt": "p", "mask": 2}, "take a mask"),
    ],
)
def test_a_mapping(row: dict[str, Any], said: str) -> None:
    """A request of many says it with its position."""
    with pytest.raises(RequestInvalidError, match=re.escape(said)):
        parse_item(3, row)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("images", r"'ImagesClient' object has no attribute 'images': call client\.generate\(…\)"),
        ("with_raw_response", "request_id"),
        ("chat", "images only"),
        ("models", r"await client\.list_models\(\)"),
        ("close", r"await client\.aclose\(\)"),
        ("genrate", "has no attribute 'genrate'$"),
        ("_private", "has no attribute '_private'$"),
    ],
)
def test_an_attribute(name: str, said: str) -> None:
    """Attributes of the official client say what to call; others are left to Python, which knows the near ones."""
    with pytest.raises(AttributeError, match=said) as caught:
        getattr(client(), name)
    assert caught.value.name == name
    assert not hasattr(client(), name)


@pytest.mark.parametrize(
    ("value", "keyword", "said"),
    [
        (RetryPolicy, "max_retires", "RetryPolicy has no keyword 'max_retires'; did you mean 'max_retries'?"),
        (Timeouts, "conect", "did you mean 'connect'?"),
        (Limits, "image_per_minute", "did you mean 'images_per_minute'?"),
        (BatchOptions, "buget", "did you mean 'budget'?"),
        (GenerateRequest, "sizes", "did you mean 'size'?"),
        (EditRequest, "msk", "did you mean 'mask'?"),
        (Timeouts, "brush", "Timeouts has no keyword 'brush'; there are connect, first_byte, "),
    ],
)
def test_a_keyword_of_a_value(value: Any, keyword: str, said: str) -> None:
    """A misspelt keyword of what people build gets the near one; other errors stay as they are."""
    with pytest.raises(TypeError, match=re.escape(said)) as caught:
        value(**{keyword: "SENTINEL"})
    assert "SENTINEL" not in str(caught.value)
    assert keyword not in inspect.signature(value).parameters
    with pytest.raises(TypeError, match="positional"):
        value(*range(40))


def image() -> Image:
    """An image in memory."""
    return Image.from_bytes(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    ("value", "name", "said"),
    [
        (ImageResult((image(),)), "data", r"result\.images"),
        (ImageResult((image(),)), "_request_id", r"result\.request_id"),
        (image(), "b64_json", r"image\.data_url\(\)"),
        (PartialImage(image=image(), partial_image_index=0), "b64_json", r"event\.image\.data"),
        (CompletedImage(image=image()), "type", r"isinstance\(event, CompletedImage\)"),
        (image(), "nothing", "has no attribute 'nothing'$"),
    ],
)
def test_an_attribute_of_a_value(value: Any, name: str, said: str) -> None:
    """What the official package's values have says what to read; a copy and a pickle are unchanged."""
    with pytest.raises(AttributeError, match=said) as caught:
        getattr(value, name)
    assert (caught.value.name, caught.value.obj) == (name, value)
    assert not hasattr(value, "__dict__")
    assert copy.copy(value) == pickle.loads(pickle.dumps(value)) == value


def test_hints_of_values_name_what_exists() -> None:
    """Each attribute that a hint writes is there, and the one that has the hint is not."""
    values = {
        "ImageResult": ("result", ImageResult((image(),))),
        "Image": ("image", image()),
        **dict.fromkeys(("PartialImage", "CompletedImage"), ("event", CompletedImage(image=image()))),
    }
    assert values.keys() == VALUE_ATTRIBUTES.keys()
    for kind, (written, value) in values.items():
        for name, hint in VALUE_ATTRIBUTES[kind].items():
            assert not hasattr(value, name)
            for path in re.findall(rf"\b{written}((?:\.\w+)+)", hint):
                assert attrgetter(path[1:])(value) or True


def test_hints_name_what_exists() -> None:
    """A hint never leads to a second error: what it names is there, and what has one is not."""
    text = " ".join([*KEYWORDS.values(), *ATTRIBUTES.values()])
    for name in re.findall(r"client\.(\w+)\(", text):
        assert hasattr(ImagesClient, name)
    for name in re.findall(r"(?<![.\w])(\w+)\(\)", text):
        assert hasattr(openai_images, name)
    for name in re.findall(r"\b([A-Z]\w+)\(", text):
        assert name in {*openai_images.__all__, "ClientSession"}
    for name in re.findall(r"(?<![.\w])(\w+)=", text):
        assert name in DESCRIPTIONS
    own = {*inspect.signature(ImagesClient.generate).parameters}
    assert set(VERB_KEYWORDS) <= own
    assert not {name for name in ATTRIBUTES if hasattr(ImagesClient, name)}
    assert KEYWORDS.keys() & own <= set(VERB_KEYWORDS)
