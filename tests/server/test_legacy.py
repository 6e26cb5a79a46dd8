"""The retired models, for whoever still meets them behind a compatible server."""

import base64
from typing import Any

import aiohttp
import pytest

from openai_images.server import LocalImagesServer
from tests.helpers.edit_images import encoded, form, house, layer

D2, D3 = {"model": "dall-e-2"}, {"model": "dall-e-3"}


@pytest.fixture
async def old(picture: bytes) -> Any:
    """A server that still has them."""
    async with LocalImagesServer(pictures=picture, legacy=True) as server:
        yield server


async def test_an_answer_has_urls_and_a_revised_prompt(
    ask: Any, old: LocalImagesServer, http: aiohttp.ClientSession, picture: bytes
) -> None:
    """And nothing that came later: no usage, no size."""
    body = (await ask(of=old, prompt='a "fox"', **D3)).json
    assert list(body) == ["created", "data"]
    (item,) = body["data"]
    assert list(item) == ["revised_prompt", "url"]
    assert item["revised_prompt"].startswith('a "fox" (')
    async with http.get(item["url"]) as response:
        assert await response.read() == picture


async def test_base64_on_demand(ask: Any, old: LocalImagesServer, picture: bytes) -> None:
    """From dall-e-2 without a revised prompt."""
    body = (await ask(of=old, n=3, response_format="b64_json", size="256x256", user="u", **D2)).json
    assert [list(item) for item in body["data"]] == [["b64_json"]] * 3
    assert base64.b64decode(body["data"][0]["b64_json"]) == picture


async def test_links_may_be_relative(ask: Any, picture: bytes) -> None:
    """As the server's other answers."""
    async with LocalImagesServer(pictures=picture, legacy=True, picture_links="relative") as server:
        assert (await ask(of=server, **D2)).json["data"][0]["url"].startswith("/v1/images/img_")


async def test_gpt_image_1_is_back_too(ask: Any, old: LocalImagesServer) -> None:
    """With the rules of 1.5 and an answer like today's."""
    body = (await ask(of=old, model="gpt-image-1", size="1024x1024", quality="low")).json
    assert body["usage"]["output_tokens"] == 272


async def test_they_are_listed(old: LocalImagesServer, http: aiohttp.ClientSession) -> None:
    """Where they are had, and found by name."""
    async with http.get(
        f"{old.base_url}/models/dall-e-3", headers={"Authorization": f"Bearer {old.api_key}"}
    ) as one:
        assert (await one.json())["id"] == "dall-e-3"


REFUSED: list[tuple[dict[str, Any], str | None, str | None, str]] = [
    (D3 | {"n": 2}, None, "n", "You must provide n=1 for this model."),
    (D2 | {"n": 11}, "integer_above_max_value", "n", "Invalid 'n'"),
    (
        D3 | {"size": "512x512"},
        None,
        None,
        "'512x512' is not one of ['1024x1024', '1024x1792', '1792x1024'] - 'size'",
    ),
    (
        D2 | {"size": "1024x1792"},
        None,
        None,
        "'1024x1792' is not one of ['256x256', '512x512', '1024x1024'] - 'size'",
    ),
    (D3 | {"quality": "high"}, None, None, "'high' is not one of ['standard', 'hd', 'auto'] - 'quality'"),
    (D3 | {"style": "loud"}, None, None, "'loud' is not one of ['vivid', 'natural'] - 'style'"),
    (
        D3 | {"response_format": "file"},
        None,
        None,
        "'file' is not one of ['url', 'b64_json'] - 'response_format'",
    ),
    (D2 | {"style": "vivid"}, "unknown_parameter", "style", "Unknown parameter: 'style'."),
    (D3 | {"stream": True}, "unknown_parameter", "stream", "Unknown parameter: 'stream'."),
    (
        D3 | {"output_format": "png"},
        "unknown_parameter",
        "output_format",
        "Unknown parameter: 'output_format'.",
    ),
    (D2 | {"prompt": "x" * 1001}, "string_above_max_length", "prompt", "Invalid 'prompt': string too long."),
    (D3 | {"prompt": "x" * 4001}, "string_above_max_length", "prompt", "Invalid 'prompt': string too long."),
]


@pytest.mark.parametrize(("body", "code", "param", "message"), REFUSED)
async def test_what_they_refuse(
    ask: Any, old: LocalImagesServer, body: dict[str, Any], code: str | None, param: str | None, message: str
) -> None:
    """In the words they used."""
    reply = await ask(of=old, **body)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)
    assert reply.error["message"].startswith(message)


@pytest.mark.parametrize(
    "body",
    [
        D3 | {"quality": "hd", "style": "natural", "size": "1792x1024", "prompt": "x" * 4000},
        D3 | {"quality": "auto", "n": 1},
        D2 | {"quality": "standard", "n": 10, "prompt": "x" * 1000},
    ],
)
async def test_what_they_accept(ask: Any, old: LocalImagesServer, body: dict[str, Any]) -> None:
    """Their own parameters at their limits."""
    assert (await ask(of=old, **body)).status == 200


async def test_without_the_option_they_do_not_exist(ask: Any) -> None:
    """As today."""
    for name in ("dall-e-2", "dall-e-3", "gpt-image-1"):
        assert (await ask(model=name)).error["message"] == f"The model '{name}' does not exist."


SQUARE = encoded(layer())
EDITS: list[tuple[tuple[tuple[str, bytes], ...], dict[str, str], str | None]] = [
    ((("image", SQUARE),), {}, None),
    ((("image", encoded(house())), ("mask", SQUARE)), {"n": "2", "size": "256x256"}, None),
    ((), {}, "'image' is a required property"),
    ((("image[]", SQUARE), ("image[]", SQUARE)), {}, "Only one image is supported for this model."),
    (
        (("image", encoded(house())),),
        {},
        "Invalid input image - format must be in ['RGBA', 'LA', 'L'], got RGB.",
    ),
    ((("image", encoded(layer(), "WEBP")),), {}, "Uploaded image must be a PNG and less than 4 MB."),
    ((("image", SQUARE + bytes(4 * 1024 * 1024)),), {}, "Uploaded image must be a PNG and less than 4 MB."),
    ((("image", encoded(layer((64, 32)))),), {}, "Uploaded image must be square."),
    (
        (("image", SQUARE), ("mask", encoded(layer((64, 64))))),
        {},
        "Uploaded image and mask must be the same size.",
    ),
    ((("image", SQUARE),), {"model": "dall-e-3"}, "Invalid value: 'dall-e-3'. Value must be 'dall-e-2'."),
]


@pytest.mark.parametrize(("files", "fields", "said"), EDITS)
async def test_edits(
    edit: Any, old: LocalImagesServer, files: tuple[Any, ...], fields: dict[str, str], said: str | None
) -> None:
    """One square png with alpha or a mask, and only by dall-e-2."""
    reply = await edit(form(*files, **{"prompt": "x", **D2, **fields}), of=old)
    assert reply.status == (400 if said else 200)
    assert said is None or reply.error["message"] == said


async def test_a_stream_where_none_was_asked_for(ask: Any, old: LocalImagesServer) -> None:
    """A fault may make one of their answers; their images cost no tokens."""
    old.script("sse_instead_of_json")
    (event,) = (await ask(of=old, **D2)).events
    assert event["usage"]["output_tokens"] == 0


async def test_painting(ask: Any, edit: Any) -> None:
    """Small images are painted, and edited where they are clear."""
    async with LocalImagesServer(legacy=True) as server:
        sent = {"size": "256x256", "response_format": "b64_json", **D2}
        one = await ask(of=server, **sent)
        two = await edit(form(("image", SQUARE), prompt="x", **sent), of=server)
    for reply in (one, two):
        assert base64.b64decode(reply.json["data"][0]["b64_json"]).startswith(b"\x89PNG")
