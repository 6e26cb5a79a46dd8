"""Which edits the local server refuses, and in which words."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from openai_images.server import LocalImagesServer
from openai_images.server.requests.source_images import MAX_IMAGE_BYTES
from tests.helpers.edit_images import encoded, form, house, layer

USER = "image_generation_user_error"
INVALID = "invalid_request_error"
IMAGE = ("image", encoded(house()))
SQUARE = ("image[]", encoded(house((8, 8))))
CLEAR = encoded(layer())
FULL = encoded(layer(clear=False))
BROKEN = encoded(house())[:-300]
SENT = {"prompt": "night", "model": "gpt-image-2"}
NEW = {"prompt": "night", "model": "gpt-image-2.5-flare"}
OLD = {"prompt": "night", "model": "gpt-image-1.5"}
MINI = {"prompt": "night", "model": "gpt-image-1-mini"}
TYPES = "Supported file formats are 'image/jpeg', 'image/png', and 'image/webp'."

FORMS: dict[str, tuple[tuple[Any, ...], dict[str, str], str | None, str | None, str]] = {
    "no image": ((), SENT, "missing_required_parameter", "image", "Missing required parameter: 'image'."),
    "no prompt": (
        (IMAGE,),
        {"model": "gpt-image-2"},
        "missing_required_parameter",
        "prompt",
        "Missing required parameter: 'prompt'.",
    ),
    "text for an image": (
        (),
        SENT | {"image": "cat.png"},
        "invalid_type",
        "image",
        "Invalid type for 'image': expected a file, but got a string instead.",
    ),
    "text for several images": (
        (),
        SENT | {"image___0": "cat.png"},
        "invalid_type",
        "image",
        "Invalid type for 'image': expected a file, but got a string instead.",
    ),
    "a file for text": (
        (IMAGE, ("size", b"x")),
        SENT,
        "invalid_type",
        "size",
        "Invalid type for 'size': expected a string, but got a file instead.",
    ),
    "an unknown file": (
        (IMAGE, ("photo", b"x")),
        SENT,
        "unknown_parameter",
        "photo",
        "Unknown parameter: 'photo'.",
    ),
    "17 images": (
        (SQUARE,) * 17,
        SENT,
        "array_above_max_length",
        "image",
        "Invalid 'image': array too long. Expected an array with maximum length 16, but got an array with length 17",
    ),
    "no type": (
        (("image", IMAGE[1], "application/octet-stream"),),
        SENT,
        "unsupported_file_mimetype",
        "image",
        f"Invalid file 'image': unsupported mimetype ('application/octet-stream'). {TYPES}",
    ),
    "another type": (
        (SQUARE, ("image[]", SQUARE[1], "image/gif")),
        SENT,
        "unsupported_file_mimetype",
        "image[1]",
        f"Invalid file 'image[1]': unsupported mimetype ('image/gif'). {TYPES}",
    ),
    "not an image": (
        (SQUARE, SQUARE, ("image[]", b"not a picture")),
        SENT,
        "invalid_image_file",
        None,
        "Invalid image file or mode for image 3, please check your image file.",
    ),
    "an empty file": (
        (("image", b""),),
        SENT,
        "invalid_image_file",
        None,
        "Invalid image file or mode for image 1",
    ),
    "a gif": (
        (("image", encoded(house(), "GIF")),),
        SENT,
        "invalid_image_file",
        None,
        "Invalid image file or mode for image 1",
    ),
    "a jpeg mask": (
        (IMAGE, ("mask", encoded(house(), "JPEG"), "image/jpeg")),
        SENT,
        "unsupported_file_mimetype",
        "mask",
        "Invalid file 'mask': unsupported mimetype ('image/jpeg'). Supported file formats are 'image/png'.",
    ),
    "a jpeg mask called png": (
        (IMAGE, ("mask", encoded(house(), "JPEG"))),
        SENT,
        "invalid_value",
        "mask",
        "Invalid mask image format - mask image must be a PNG",
    ),
    "a mask without alpha": (
        (IMAGE, ("mask", IMAGE[1])),
        SENT,
        "invalid_value",
        "mask",
        "Invalid mask image format - mask image missing alpha channel",
    ),
    "a mask of another size": (
        (IMAGE, ("mask", encoded(layer((64, 64))))),
        SENT,
        "invalid_value",
        "mask",
        "Invalid mask image format - mask size does not match image size",
    ),
    "a broken mask": (
        (IMAGE, ("mask", b"x")),
        SENT,
        "invalid_image_file",
        None,
        "Invalid image file or mode for mask",
    ),
    "two masks": (
        (IMAGE, ("mask", CLEAR), ("mask", CLEAR)),
        SENT,
        "duplicate_parameter",
        "mask",
        "Duplicate parameter",
    ),
    "mask and markup": (
        (IMAGE, ("mask", CLEAR), ("markup", CLEAR)),
        NEW,
        "invalid_value",
        "markup",
        "The 'markup' parameter cannot be used together with 'mask'.",
    ),
    "markup before 2.5": (
        (IMAGE, ("markup", CLEAR)),
        SENT,
        "unknown_parameter",
        "markup",
        "Unknown parameter: 'markup'",
    ),
    "markup that hides all": (
        (IMAGE, ("markup", FULL)),
        NEW,
        "invalid_value",
        "markup",
        "Invalid markup image format - markup image has no transparent pixels",
    ),
    "markup of another size": (
        (IMAGE, ("markup", encoded(layer((64, 64))))),
        NEW,
        "invalid_value",
        "markup",
        "Invalid markup image format - markup size does not match image size",
    ),
    "fidelity with 2": (
        (IMAGE,),
        SENT | {"input_fidelity": "high"},
        "invalid_input_fidelity_model",
        "input_fidelity",
        "The model 'gpt-image-2' does not support the 'input_fidelity' parameter.",
    ),
    "fidelity with 2.5": (
        (IMAGE,),
        NEW | {"input_fidelity": "high"},
        "unknown_parameter",
        "input_fidelity",
        "Unknown parameter: 'input_fidelity'.",
    ),
    "high fidelity with mini": (
        (IMAGE,),
        MINI | {"input_fidelity": "high"},
        "invalid_input_fidelity_model",
        "input_fidelity",
        "input_fidelity 'high' is not supported for model 'gpt-image-1-mini'.",
    ),
    "some fidelity": (
        (IMAGE,),
        OLD | {"input_fidelity": "some"},
        "invalid_value",
        "input_fidelity",
        "Invalid value",
    ),
    "a number that is none": (
        (IMAGE,),
        SENT | {"n": "two"},
        "invalid_type",
        "n",
        "Invalid type for 'n': expected an integer, but got a string instead.",
    ),
    "a switch that is none": (
        (IMAGE,),
        SENT | {"stream": "yes"},
        "invalid_type",
        "stream",
        "Invalid type for 'stream'",
    ),
    "too many": (
        (IMAGE,),
        SENT | {"n": "11"},
        "integer_above_max_value",
        "n",
        "Invalid 'n': integer above maximum",
    ),
    "a size": ((IMAGE,), SENT | {"size": "100x100"}, "invalid_value", "size", "Invalid size '100x100'."),
    "a retired model": (
        (IMAGE,),
        SENT | {"model": "dall-e-2"},
        "invalid_value",
        "model",
        "The model 'dall-e-2' does not exist.",
    ),
    "an effort of a wrong kind": (
        (IMAGE,),
        {
            "prompt": "night",
            "model": "gpt-image-2.6-flare",
            "output_format": "svg",
            "svg__model_0": "writer",
            "svg__reasoning_0__effort_0": "huge",
        },
        "invalid_value",
        "svg.reasoning.effort",
        "Invalid value: 'huge'. Supported values are: 'none'",
    ),
}


@pytest.mark.parametrize("name", FORMS)
async def test_a_wrong_form_is_refused(edit: Any, name: str) -> None:
    """Each wrong form is a 400 with code, param and words."""
    files, fields, code, param, message = FORMS[name]
    reply = await edit(form(*files, **fields))
    assert reply.status == 400
    assert (reply.error["code"], reply.error["param"]) == (code, param)
    assert reply.error["message"].startswith(message)
    assert reply.error["type"] in (USER, INVALID)


@pytest.mark.parametrize(
    ("files", "fields"),
    [
        ((IMAGE,), SENT | {"moderation": "low", "n": "2", "background": "opaque"}),
        ((SQUARE,) * 16, SENT),
        ((IMAGE, ("mask", CLEAR)), OLD | {"input_fidelity": "high"}),
        ((IMAGE, ("mask", FULL)), MINI | {"input_fidelity": "low"}),
        ((IMAGE, ("markup", CLEAR)), NEW | {"quality": "max"}),
        ((("image", encoded(house(), "WEBP"), "image/webp; charset=binary"),), NEW),
        (
            (IMAGE,),
            {
                "prompt": "night",
                "model": "gpt-image-2.6-flare",
                "output_format": "svg",
                "svg__model_0": "writer",
                "svg__reasoning_0__effort_0": "low",
            },
        ),
    ],
)
async def test_right_forms_pass(edit: Any, files: tuple[Any, ...], fields: dict[str, str]) -> None:
    """What the API accepts is accepted."""
    assert (await edit(form(*files, **fields))).status == 200


async def test_a_picture_that_is_cut_is_seen_where_it_is_painted_from(edit: Any) -> None:
    """Half a file is refused by a server that paints."""
    async with LocalImagesServer() as server:
        reply = await edit(form(("image", BROKEN), **SENT), of=server)
    assert (reply.status, reply.error["code"]) == (400, "invalid_image_file")


def url(data: bytes, media_type: str = "image/png") -> dict[str, str]:
    """An image as a data: URL."""
    return {"image_url": f"data:{media_type};base64,{base64.b64encode(data).decode()}"}


FILE = {"file_id": "file-1"}
JSON: dict[str, tuple[dict[str, Any], str, str | None, str]] = {
    "none": ({}, "missing_required_parameter", "images", "Missing required parameter: 'images'."),
    "no array": (
        {"images": FILE},
        "invalid_type",
        "images",
        "Invalid type for 'images': expected an array of objects",
    ),
    "empty": ({"images": []}, "empty_array", "images", "Invalid 'images': empty array."),
    "17": ({"images": [FILE] * 17}, "array_above_max_length", "images", "Invalid 'images': array too long."),
    "no object": (
        {"images": ["x"]},
        "invalid_type",
        "images[0]",
        "Invalid type for 'images[0]': expected an object",
    ),
    "neither": (
        {"images": [{}]},
        "invalid_value",
        "images[0]",
        "Invalid 'images[0]': expected exactly one of",
    ),
    "both": (
        {"images": [FILE | url(b"")]},
        "invalid_value",
        "images[0]",
        "Invalid 'images[0]': expected exactly one of",
    ),
    "extra": (
        {"images": [FILE, FILE | {"detail": "high"}]},
        "unknown_parameter",
        "images[1].detail",
        "Unknown parameter: 'images[1].detail'.",
    ),
    "extra null": (
        {"images": [FILE | {"detail": None}]},
        "unknown_parameter",
        "images[0].detail",
        "Unknown parameter: 'images[0].detail'.",
    ),
    "a number": (
        {"images": [{"file_id": 3}]},
        "invalid_type",
        "images[0].file_id",
        "Invalid type for 'images[0].file_id': expected a string, but got an integer instead.",
    ),
    "ftp": (
        {"images": [{"image_url": "ftp://x/y"}]},
        "invalid_value",
        "images[0].image_url",
        "Invalid 'images[0].image_url'. Expected a valid URL or",
    ),
    "no base64": (
        {"images": [{"image_url": "data:image/png;base64,!!!"}]},
        "invalid_value",
        "images[0].image_url",
        "Invalid 'images[0].image_url'. Expected a base64-encoded data URL, but",
    ),
    "a gif": (
        {"images": [url(b"GIF89a", "image/gif")]},
        "unsupported_file_mimetype",
        "images[0].image_url",
        "Invalid file 'images[0].image_url': unsupported mimetype ('image/gif').",
    ),
    "no image": (
        {"images": [FILE, url(b"x")]},
        "invalid_image_file",
        None,
        "Invalid image file or mode for image 2",
    ),
    "long": (
        {"images": [{"image_url": "https://x/" + "y" * 20_971_520}]},
        "string_above_max_length",
        "images[0].image_url",
        "Invalid 'images[0].image_url': string too long.",
    ),
    "a mask of another size": (
        {"images": [url(IMAGE[1])], "mask": url(encoded(layer((64, 64))))},
        "invalid_value",
        "mask",
        "Invalid mask image format - mask size does not match image size",
    ),
    "image": ({"images": [FILE], "image": "x"}, "unknown_parameter", "image", "Unknown parameter: 'image'."),
}


async def test_a_layer_by_its_id_passes(edit: Any) -> None:
    """Nobody knows whether it fits."""
    assert (await edit(images=[url(IMAGE[1])], mask=FILE)).status == 200


async def test_a_form_that_is_not_the_gzip_it_says(
    server: LocalImagesServer, http: aiohttp.ClientSession
) -> None:
    """It is refused with 400."""
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Encoding": "gzip"}
    headers["Content-Type"] = "multipart/form-data; boundary=x"
    async with http.post(f"{server.base_url}/images/edits", data=b"--x--", headers=headers) as response:
        assert (response.status, "multipart form" in await response.text()) == (400, True)


@pytest.mark.parametrize("name", JSON)
async def test_wrong_json_is_refused(edit: Any, name: str) -> None:
    """Each wrong reference is a 400 with code, param and words."""
    body, code, param, message = JSON[name]
    reply = await edit(**body)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)
    assert reply.error["message"].startswith(message)


async def post(server: LocalImagesServer, http: aiohttp.ClientSession, body: Any, content_type: str) -> Any:
    """Status and error of the answer to a body as it is."""
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": content_type}
    async with http.post(f"{server.base_url}/images/edits", data=body, headers=headers) as response:
        return response.status, (await response.json())["error"]


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (
            b"--x\r\n",
            "multipart/form-data; boundary=x",
            "Could not parse your multipart form: it ends before",
        ),
        (
            b"--x\r\nbad\r\n\r\n--x--",
            "multipart/form-data; boundary=x",
            "Could not parse your multipart form: a part",
        ),
        (b"--x--", "multipart/form-data", "Could not parse your multipart form: the Content-Type header"),
        (
            b"--x\r\n\r\nv\r\n--x--",
            "multipart/form-data; boundary=x",
            "Could not parse your multipart form: a part has",
        ),
        (b"--x--", "multipart/form-data; boundary=x", "Missing required parameter: 'prompt'."),
        (b"{", "application/json", "We could not parse the JSON body"),
        (
            b"x",
            "text/plain",
            "Unsupported content type: 'text/plain'. This API method only accepts 'multipart/form",
        ),
    ],
)
async def test_a_broken_body_is_a_400(
    server: LocalImagesServer, http: aiohttp.ClientSession, body: bytes, content_type: str, message: str
) -> None:
    """It is recorded and refused."""
    status, error = await post(server, http, body, content_type)
    assert status == 400
    assert error["message"].startswith(message)
    assert len(server.requests) == 1


async def test_a_broken_form_is_read_to_its_end(
    server: LocalImagesServer, http: aiohttp.ClientSession
) -> None:
    """Its sender hears the answer behind the last byte, on a connection that goes on."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"--x\r\nbad\r\n\r\n"
        for _ in range(50):
            yield bytes(100_000)
            await asyncio.sleep(0)

    for _ in range(2):
        assert (await post(server, http, chunks(), "multipart/form-data; boundary=x"))[0] == 400
    assert server.open_connections == 1


async def test_a_field_that_comes_twice(server: LocalImagesServer, http: aiohttp.ClientSession) -> None:
    """Also where one of the two is nested in the other."""
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\nv\r\n'
    for names in ((b"size", b"size"), (b"svg", b"svg[model]"), (b"svg[model]", b"svg")):
        body = b"".join(part % name for name in (*names, *names)) + b"--x--"
        status, error = await post(server, http, body, "multipart/form-data; boundary=x")
        assert (status, error["code"]) == (400, "duplicate_parameter")


async def test_a_form_that_is_too_large_is_a_413(http: aiohttp.ClientSession) -> None:
    """In all, or in one text; its length declared or not."""

    async def chunks(data: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(data), 4096):
            yield data[at : at + 4096]

    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    async with LocalImagesServer(pictures=b"x", max_upload_bytes=20_000) as server:
        for body in (head + b"y" * 30_000, b"no form" * 5000):
            for sent in (body, chunks(body)):
                status, error = await post(server, http, sent, "multipart/form-data; boundary=x")
                assert (status, error["message"][:4]) == (413, "413:")
    async with LocalImagesServer(pictures=b"x") as server:
        text = head.replace(b'; filename="a"', b"") + b"y" * 1_100_000 + b"\r\n--x--"
        assert (await post(server, http, chunks(text), "multipart/form-data; boundary=x"))[0] == 413


async def test_a_picture_that_is_too_large(edit: Any, server: LocalImagesServer) -> None:
    """50 MiB are refused and one byte less is looked at; both are recorded whole, and neither is kept."""
    start = encoded(house())
    for size, code in ((MAX_IMAGE_BYTES, "invalid_value"), (MAX_IMAGE_BYTES - 1, None)):
        reply = await edit(form(("image", start + bytes(size - len(start))), **SENT))
        assert (reply.status, server.requests[-1].parts[-1].nbytes) == (400 if code else 200, size)
        if code:
            assert (
                reply.error["message"]
                == "Invalid file 'image': file too large. Images must be less than 50MB."
            )
        assert server.requests[-1].body == b""
