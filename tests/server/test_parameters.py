"""What the local server refuses, in which words, and that nothing sent to it gets past a 400."""

import json
from typing import Any

import aiohttp
import pytest

from openai_images.server import LocalImagesServer
from openai_images.server.protocol.catalog import MODELS, output_tokens, partial_tokens

USER = "image_generation_user_error"
INVALID = "invalid_request_error"

REFUSED: list[tuple[dict[str, Any], str | None, str | None, str]] = [
    ({"style": "vivid"}, "unknown_parameter", "style", "Unknown parameter: 'style'."),
    (
        {"response_format": "b64_json"},
        "unknown_parameter",
        "response_format",
        "Unknown parameter: 'response_format'.",
    ),
    (
        {"input_fidelity": "high"},
        "unknown_parameter",
        "input_fidelity",
        "Unknown parameter: 'input_fidelity'.",
    ),
    ({"complexity": "low"}, "unknown_parameter", "complexity", "Unknown parameter: 'complexity'."),
    ({"model": "dall-e-3"}, "invalid_value", "model", "The model 'dall-e-3' does not exist."),
    ({"model": "gpt-image-1"}, "invalid_value", "model", "The model 'gpt-image-1' does not exist."),
    (
        {"model": 3},
        "invalid_type",
        "model",
        "Invalid type for 'model': expected a string, but got an integer",
    ),
    ({"prompt": None}, "missing_required_parameter", "prompt", "Missing required parameter: 'prompt'."),
    ({"prompt": ""}, "empty_string", "prompt", "Invalid 'prompt': empty string."),
    (
        {"prompt": ["a"]},
        "invalid_type",
        "prompt",
        "Invalid type for 'prompt': expected a string, but got an array",
    ),
    ({"prompt": "x" * 32_001}, "string_above_max_length", "prompt", "Invalid 'prompt': string too long."),
    (
        {"n": 11},
        "integer_above_max_value",
        "n",
        "Invalid 'n': integer above maximum value. Expected a value <= 10, but got 11 instead.",
    ),
    ({"n": 0}, "integer_below_min_value", "n", "Invalid 'n': integer below minimum value."),
    ({"n": 10**40}, "integer_above_max_value", "n", "Invalid 'n': integer above maximum value."),
    ({"n": "2"}, "invalid_type", "n", "Invalid type for 'n': expected an integer, but got a string instead."),
    ({"n": 2.0}, "invalid_type", "n", "Invalid type for 'n': expected an integer, but got a decimal number"),
    (
        {"n": True},
        "invalid_type",
        "n",
        "Invalid type for 'n': expected an integer, but got a boolean instead.",
    ),
    ({"n": 2, "stream": True}, "invalid_value", "n", "Streaming is only supported with n=1."),
    ({"stream": 1}, "invalid_type", "stream", "Invalid type for 'stream': expected a boolean"),
    (
        {"partial_images": 4, "stream": True},
        "integer_above_max_value",
        "partial_images",
        "Invalid 'partial_images'",
    ),
    (
        {"partial_images": 2},
        "invalid_value",
        "partial_images",
        "The 'partial_images' parameter is only supported",
    ),
    (
        {"quality": "ultra"},
        "invalid_value",
        "quality",
        "Invalid value: 'ultra'. Supported values are: 'low', 'medium'",
    ),
    ({"quality": "xhigh"}, "invalid_value", "quality", "Invalid value: 'xhigh'."),
    ({"moderation": "high"}, "invalid_value", "moderation", "Invalid value: 'high'."),
    ({"output_format": "bmp"}, "invalid_value", "output_format", "Invalid value: 'bmp'."),
    ({"output_format": "gif"}, "invalid_value", "output_format", "Invalid value: 'gif'."),
    (
        {"frame_count": 3, "model": "gpt-image-2.6-flare"},
        "invalid_value",
        "frame_count",
        "The 'frame_count' parameter is only supported when 'output_format' is 'gif'.",
    ),
    (
        {"output_compression": 50},
        "invalid_value",
        "output_compression",
        "Compression less than 100 is not supported",
    ),
    (
        {"output_compression": 101, "output_format": "jpeg"},
        "integer_above_max_value",
        "output_compression",
        "Invalid 'output_compression': integer above maximum value.",
    ),
    (
        {"background": "transparent"},
        "invalid_value",
        "background",
        "Transparent background is not supported for this model.",
    ),
    (
        {"background": "transparent", "model": "gpt-image-1.5", "output_format": "jpeg"},
        "invalid_value",
        "background",
        "Transparent background is not supported for JPEG",
    ),
    ({"size": "big"}, "invalid_value", "size", "Invalid size 'big'."),
    (
        {"size": "1030x1024"},
        "invalid_value",
        "size",
        "Invalid size '1030x1024'. Width and height must both be divi",
    ),
    (
        {"size": "3856x1600"},
        "invalid_value",
        "size",
        "Invalid size '3856x1600'. The longest edge must be less than",
    ),
    ({"size": "3200x1024"}, "invalid_value", "size", "Invalid size '3200x1024'. The aspect ratio"),
    (
        {"size": "512x512"},
        "invalid_value",
        "size",
        "Invalid size '512x512'. Requested resolution is below the",
    ),
    (
        {"size": "3840x3840"},
        "invalid_value",
        "size",
        "Invalid size '3840x3840'. Requested resolution exceeds",
    ),
    (
        {"size": "123x456", "model": "gpt-image-1.5"},
        "invalid_value",
        "size",
        "Invalid size '123x456'. Supported sizes are 1024x1024, 1024x1536, 1536x1024, and auto.",
    ),
]


@pytest.mark.parametrize(("body", "code", "param", "message"), REFUSED)
async def test_a_wrong_parameter_is_refused(
    ask: Any, body: dict[str, Any], code: str, param: str, message: str
) -> None:
    """Each wrong parameter is a 400 with the API's code, param and words."""
    reply = await ask(**body)
    assert reply.status == 400
    assert (reply.error["code"], reply.error["param"]) == (code, param)
    assert reply.error["message"].startswith(message)
    assert reply.error["type"] in (USER, INVALID)


@pytest.mark.parametrize(
    "body",
    [
        {"n": None, "stream": None, "size": None, "partial_images": None, "model": None},
        {"model": "gpt-image-2.5-flare", "quality": "max", "size": "2560x1440"},
        {"model": "gpt-image-2.6-sunburst", "complexity": "low", "quality": "xhigh", "size": "3840x2160"},
        {"model": "gpt-image-1-mini", "background": "transparent", "output_format": "webp"},
        {"output_format": "jpeg", "output_compression": 40, "moderation": "low", "user": "u"},
        {"size": "3072x1024"},
        {"prompt": "x" * 32_000},
        {"partial_images": 0},
    ],
)
async def test_right_parameters_pass(ask: Any, body: dict[str, Any]) -> None:
    """What the API accepts is accepted."""
    assert (await ask(**body)).status == 200


BROKEN = {
    "empty": b"",
    "not JSON": b"{prompt: 1}",
    "cut": b'{"prompt": "x',
    "not UTF-8": b'{"prompt": "\xff\xfe"}',
    "NaN": b'{"prompt": "x", "n": NaN}',
    "Infinity": b'{"prompt": "x", "n": -Infinity}',
    "a number out of range": b'{"prompt": "x", "n": 1e999}',
    "deep": b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep and open": b"[" * 100_000,
    "half a surrogate pair": b'{"prompt": "\\ud800"}',
    "half a surrogate pair in a name": b'{"prompt": "x", "\\udfff": 1}',
    "a number of ten thousand digits": b'{"prompt": "x", "n": ' + b"9" * 10_000 + b"}",
    "a list": b'["prompt"]',
    "null": b"null",
    "a string": b'"prompt"',
    "a byte order mark": b'\xef\xbb\xbf{"prompt": "x"}',
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_body_is_a_400(
    server: LocalImagesServer, http: aiohttp.ClientSession, name: str
) -> None:
    """No body makes the server fail: each gets a 400 in the error shape."""
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
    async with http.post(
        f"{server.base_url}/images/generations", data=BROKEN[name], headers=headers
    ) as response:
        assert response.status == 400
        error = json.loads(await response.read())["error"]
    assert error["type"] == INVALID


async def test_the_last_of_two_equal_keys_wins(
    server: LocalImagesServer, http: aiohttp.ClientSession
) -> None:
    """A key given twice is no error."""
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json; charset=utf-8"}
    body = b'{"prompt": "", "prompt": "x"}'
    async with http.post(f"{server.base_url}/images/generations", data=body, headers=headers) as response:
        assert response.status == 200


async def test_other_content_types_are_refused(
    server: LocalImagesServer, http: aiohttp.ClientSession
) -> None:
    """A form is not JSON."""
    headers = {"Authorization": f"Bearer {server.api_key}"}
    form = {"prompt": "x"}
    async with http.post(f"{server.base_url}/images/generations", data=form, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "unsupported_content_type"


async def test_a_large_body_is_a_413(http: aiohttp.ClientSession, ask: Any) -> None:
    """A body over the limit is refused, its length declared or not."""

    async def chunks() -> Any:
        for _ in range(4):
            yield b" " * 1000

    async with LocalImagesServer(max_body_bytes=2000) as small:
        reply = await ask(of=small, prompt="x" * 3000)
        assert (reply.status, reply.error["type"]) == (413, "server_error")
        headers = {"Authorization": f"Bearer {small.api_key}", "Content-Type": "application/json"}
        url = f"{small.base_url}/images/generations"
        async with http.post(url, data=chunks(), headers=headers) as response:
            assert response.status == 413
        assert small.posts == 2


async def test_a_moderated_phrase_is_refused(ask: Any) -> None:
    """The documented phrase is refused by the safety system."""
    reply = await ask(prompt="please TRIGGER MODERATION here")
    assert reply.status == 400
    assert reply.error["code"] == "moderation_blocked"
    assert reply.headers["x-request-id"] in reply.error["message"]
    assert list(reply.error)[-1] == "moderation_details"


@pytest.mark.parametrize(
    ("name", "size", "counts"),
    [
        ("gpt-image-2", (1024, 1024), {"low": 196, "medium": 1756, "high": 7024}),
        ("gpt-image-2", (1536, 1024), {"low": 158, "medium": 1372, "high": 5488}),
        (
            "gpt-image-2.5-flare",
            (1536, 864),
            {"low": 120, "medium": 280, "high": 1078, "xhigh": 1917, "max": 4312},
        ),
        (
            "gpt-image-2.5-flare",
            (2048, 2048),
            {"low": 397, "medium": 892, "high": 3568, "xhigh": 6343, "max": 14272},
        ),
        ("gpt-image-2.5-sunburst", (2560, 1440), {"low": 205, "medium": 478, "high": 1843, "max": 7370}),
        ("gpt-image-2.5-sunburst", (3840, 2160), {"low": 371, "medium": 865, "high": 3336, "max": 13342}),
        ("gpt-image-1-mini", (1024, 1536), {"low": 408, "medium": 1584, "high": 6240}),
    ],
)
def test_output_tokens_are_the_published_ones(
    name: str, size: tuple[int, int], counts: dict[str, int]
) -> None:
    """Formula and table give the published numbers."""
    model = MODELS[name]
    assert {quality: output_tokens(model, *size, quality) for quality in counts} == counts


def test_partial_images_cost_tokens() -> None:
    """Partial images add what was documented or measured."""
    assert [partial_tokens(MODELS["gpt-image-1.5"], count) for count in (0, 2)] == [0, 200]
    assert [partial_tokens(MODELS["gpt-image-2"], count) for count in (0, 1, 2)] == [0, 77, 153]


async def test_a_body_that_is_not_the_gzip_it_says() -> None:
    """It is refused with 400, and so is nothing else behind it."""
    async with (
        LocalImagesServer(pictures=b"x") as server,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {server.api_key}"}) as session,
    ):
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        url = f"{server.base_url}/images/generations"
        async with session.post(url, data=b'{"prompt":"a"}', headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]["type"]) == (400, "invalid_request_error")


async def test_a_host_header_with_an_impossible_port() -> None:
    """The answer does not depend on what the client calls the server."""
    async with (
        LocalImagesServer(pictures=b"x", always="redirect_307") as server,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {server.api_key}"}) as session,
    ):
        url = f"{server.base_url}/images/generations"
        post = session.post(
            url, json={"prompt": "a"}, headers={"Host": "localhost:99999999"}, allow_redirects=False
        )
        async with post as answer:
            assert answer.status == 307
