"""Edits: what arrives is recorded, and what comes back is made from it."""

import asyncio
import base64
import hashlib
import io
from typing import Any

import aiohttp
import pytest
from PIL import Image, ImageChops, ImageStat

from openai_images.server import LocalImagesServer
from openai_images.server.paint.painter import CanvasSpec, paint_canvas
from openai_images.server.protocol.catalog import MODELS, automatic_size, input_tokens
from openai_images.server.requests.source_images import CheckedEdit, inspect_image
from tests.helpers.edit_images import encoded, form, house, layer
from tests.helpers.server_thread import NOW

SMALL = {"model": "gpt-image-1.5", "prompt": "night"}


def picture_of(reply: Any, number: int = 0) -> Image.Image:
    """An image of an answer, decoded."""
    image = Image.open(io.BytesIO(base64.b64decode(reply.json["data"][number]["b64_json"])))
    image.load()
    return image


def difference(one: Image.Image, other: Image.Image) -> float:
    """How far apart two images are, from 0 to 255."""
    alike = [image.convert("RGB").resize((64, 64)) for image in (one, other)]
    return sum(ImageStat.Stat(ImageChops.difference(*alike)).mean) / 3


async def test_a_form_is_recorded_part_by_part(edit: Any, server: LocalImagesServer) -> None:
    """Names, types, sizes and digests are there; the bytes of files are not kept."""
    data = encoded(house())
    reply = await edit(
        form(("image[]", data), ("image[]", encoded(house(), "JPEG"), "image/jpeg"), n="2", **SMALL)
    )
    assert reply.status == 200
    request = server.requests[0]
    assert (request.path, request.json, request.body) == ("/v1/images/edits", None, b"")
    parts = {part.name: part for part in request.parts}
    assert [part.name for part in request.parts] == ["n", "model", "prompt", "image[]", "image[]"]
    assert (parts["n"].text, parts["n"].filename, parts["prompt"].text) == ("2", None, "night")
    image = request.parts[3]
    assert (image.filename, image.content_type, image.nbytes) == ("0.png", "image/png", len(data))
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert image.text is None
    assert "form-data" in image.headers["content-disposition"]
    assert "night" not in repr(request.parts)


async def test_json_edits_are_recorded_as_json(edit: Any, server: LocalImagesServer) -> None:
    """They have no parts."""
    assert (await edit(images=[{"file_id": "file-1"}])).status == 200
    request = server.requests[0]
    assert request.json == {"prompt": "night", "images": [{"file_id": "file-1"}]}
    assert (request.parts, request.body[:1]) == ((), b"{")


async def test_an_answer_has_the_shape_of_a_generation(edit: Any) -> None:
    """The fields and their order, and image tokens that count."""
    body = (
        await edit(form(("image", encoded(house((1024, 1024)))), prompt="night", model="gpt-image-2.5-flare"))
    ).json
    assert list(body) == ["created", "background", "data", "output_format", "quality", "size", "usage"]
    usage = body["usage"]
    assert usage["input_tokens_details"] == {"image_tokens": 1024, "text_tokens": 1}
    assert usage["input_tokens"] == 1025
    assert usage["total_tokens"] == 1025 + usage["output_tokens"]


async def test_a_stream_has_events_of_its_own(edit: Any) -> None:
    """`image_edit` in place of `image_generation`, text parts as the switches and numbers they are."""
    sent = form(("image", encoded(house())), stream="true", partial_images="2", **SMALL)
    reply = await edit(sent)
    assert reply.headers["content-type"].startswith("text/event-stream")
    kinds = [event["type"] for event in reply.events]
    assert kinds == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    assert b"event: image_edit.completed\n" in reply.body
    assert reply.events[-1]["usage"]["input_tokens_details"]["image_tokens"] == 194


@pytest.mark.parametrize(
    ("fault", "status"),
    [("status:503", 503), ("rate_limited", 429), ("html_200", 200), ("moderation_400", 400)],
)
async def test_faults_replace_the_answer(
    edit: Any, server: LocalImagesServer, fault: str, status: int
) -> None:
    """Also where the edit itself would be refused; what came is recorded with the fault."""
    server.script(fault)
    assert (await edit(form(("image", b"no picture"), **SMALL))).status == status
    assert [(one.fault, len(one.parts)) for one in server.requests] == [(fault, 3)]


async def test_faults_work_within_an_edit(edit: Any, server: LocalImagesServer) -> None:
    """Streams break off and errors come in mid-stream as for generations; a redirect leads to the same path."""
    server.script("eof_without_completed", "moderation_mid_stream", "redirect_307", "close_after_body")
    sent = {"stream": "true", "partial_images": "1", **SMALL}
    image = ("image", encoded(house()))
    assert [event["type"] for event in (await edit(form(image, **sent))).events] == [
        "image_edit.partial_image"
    ]
    assert (await edit(form(image, **sent))).events[-1]["error"]["code"] == "moderation_blocked"
    # aiohttp takes the key along to no other host.
    assert (await edit(images=[{"file_id": "f"}])).status == 401
    assert [request.path for request in server.requests[2:]] == ["/v1/images/edits"] * 2
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await edit(form(image, **SMALL))


async def test_a_stranger_uses_up_no_fault(edit: Any, server: LocalImagesServer) -> None:
    """The key comes first; the request is recorded nevertheless."""
    server.script("status:503")
    reply = await edit(form(("image", encoded(house())), **SMALL), headers={"Authorization": "Bearer other"})
    assert (reply.status, server.faults, len(server.requests)) == (401, ("status:503",), 1)


async def test_limits_count_edits(edit: Any, picture: bytes) -> None:
    """The same buckets as for generations."""
    async with LocalImagesServer(pictures=picture, images_per_minute=2, now=lambda: NOW) as server:
        sent = [form(("image", encoded(house())), n="2", **SMALL) for _ in range(2)]
        assert [(await edit(one, of=server)).status for one in sent] == [200, 429]


async def test_moderation_is_tried(edit: Any) -> None:
    """The documented phrase, in a form too."""
    sent = form(("image", encoded(house())), model="gpt-image-2", prompt="trigger moderation")
    assert (await edit(sent)).error["code"] == "moderation_blocked"


async def test_an_edit_is_made_from_its_picture(edit: Any) -> None:
    """It resembles what was given more than another image, and changes with the prompt."""
    async with LocalImagesServer(now=lambda: NOW) as server:
        sent = {"model": "gpt-image-1.5", "size": "1024x1024"}
        source, other = house((512, 512)), house((512, 512)).rotate(180)
        night, day, turned = [
            picture_of(await edit(form(("image", encoded(one)), prompt=prompt, **sent), of=server))
            for one, prompt in ((source, "night"), (source, "a summer day"), (other, "night"))
        ]
    assert night.size == (1024, 1024)
    assert 5 < difference(night, source) < difference(night, other)
    assert difference(turned, other) < difference(turned, source)
    assert difference(night, day) > 5


async def test_only_the_clear_part_of_a_mask_is_painted(edit: Any) -> None:
    """The covered half stays exactly as it was, up to the caption."""
    async with LocalImagesServer(now=lambda: NOW) as server:
        size = (1024, 1024)
        sent = form(
            ("image", encoded(house(size))), ("mask", encoded(layer(size))), size="1024x1024", **SMALL
        )
        edited = picture_of(await edit(sent, of=server))
    changed = ImageChops.difference(edited.convert("RGB"), house(size))
    assert changed.crop((0, 0, 512, 900)).getbbox() is None
    assert difference(edited.crop((512, 0, 1024, 900)), house(size).crop((512, 0, 1024, 900))) > 10


async def test_further_pictures_are_seen_at_the_side(edit: Any) -> None:
    """The right edge changes with them, the left one does not."""
    async with LocalImagesServer(now=lambda: NOW) as server:
        first = ("image[]", encoded(house()))
        prints = [
            ("image[]", encoded(Image.new("RGB", (90, 90), shade)))
            for shade in ("red", "blue", "lime", "black")
        ]
        alone, all_five = [
            picture_of(await edit(form(*files, size="1024x1024", **SMALL), of=server))
            for files in ([first], [first, *prints])
        ]
    changed = ImageChops.difference(alone, all_five).getbbox()
    assert changed is not None
    assert changed[0] > 600


async def test_markup_lies_on_the_picture(edit: Any) -> None:
    """A thick line drawn on it is seen in the result."""
    async with LocalImagesServer(now=lambda: NOW) as server:
        line = Image.new("RGBA", (512, 512), (0, 0, 0, 0))
        line.paste((255, 0, 255, 255), (0, 200, 512, 300))
        files = [("image", encoded(house((512, 512)))), ("markup", encoded(line))]
        plain, marked = [
            picture_of(
                await edit(
                    form(*some, prompt="night", model="gpt-image-2.6-flare", size="1024x640"), of=server
                )
            )
            for some in (files[:1], files)
        ]
    assert difference(marked.crop((0, 240, 1024, 380)), plain.crop((0, 240, 1024, 380))) > 20
    assert difference(marked.crop((0, 0, 1024, 180)), plain.crop((0, 0, 1024, 180))) < 10


async def test_an_edit_is_the_same_each_time_and_its_pictures_differ(edit: Any) -> None:
    """The same request gives the same bytes, another number of the same request another image."""
    async with LocalImagesServer(now=lambda: NOW) as server:
        replies = [await edit(form(("image", encoded(house())), n="2", **SMALL), of=server) for _ in range(2)]
    one, two = ([item["b64_json"] for item in reply.json["data"]] for reply in replies)
    assert one == two
    assert one[0] != one[1]


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp", "gif", "svg"])
async def test_every_format(edit: Any, output_format: str) -> None:
    """Images from a data: URL, another url and a file id, none of which is fetched from anywhere."""
    url = "data:image/png;base64," + base64.b64encode(encoded(house())).decode()
    author = {"svg": {"model": "writer"}} if output_format == "svg" else {}
    small = {"size": "288x288", "frame_count": 2} if output_format == "gif" else {"size": "1024x640"}
    async with LocalImagesServer(now=lambda: NOW) as server:
        reply = await edit(
            of=server,
            model="gpt-image-2.6-flare",
            images=[{"image_url": url}, {"image_url": "https://192.0.2.1/a.png"}, {"file_id": "file-1"}],
            output_format=output_format,
            **small,
            **author,
        )
    assert reply.status == 200
    data = base64.b64decode(reply.json["data"][0]["b64_json"])
    starts = {"png": b"\x89PNG", "jpeg": b"\xff\xd8", "webp": b"RIFF", "gif": b"GIF89a", "svg": b"<svg"}
    assert data.startswith(starts[output_format])


async def test_unseen_pictures_differ_by_their_reference(edit: Any) -> None:
    """A placeholder is painted from the file id; its mask need not fit, as nobody knows its size."""
    mask = {"image_url": "data:image/png;base64," + base64.b64encode(encoded(layer())).decode()}
    async with LocalImagesServer(now=lambda: NOW) as server:
        replies = [
            await edit(of=server, size="1024x640", images=[{"file_id": name}], mask=mask)
            for name in ("file-1", "file-2")
        ]
    assert difference(*map(picture_of, replies)) > 1


@pytest.mark.parametrize(
    ("mode", "kind", "media_type"),
    [
        ("L", "PNG", "image/png"),
        ("P", "PNG", "image/png"),
        ("LA", "PNG", "image/png"),
        ("I;16", "PNG", "image/png"),
        ("1", "PNG", "image/png"),
        ("CMYK", "JPEG", "image/jpeg"),
        ("RGBA", "WEBP", "image/webp"),
    ],
)
def test_every_mode_can_be_edited(mode: str, kind: str, media_type: str) -> None:
    """Whatever a PNG, JPEG or WebP may hold."""
    image = layer((64, 48)) if mode == "RGBA" else house((64, 48)).convert("L" if mode == "I;16" else mode)
    data = encoded(image.convert(mode), kind)
    seen = inspect_image(io.BytesIO(data), "00" * 32, "first", pixels=True)
    assert seen is not None
    assert (seen.size, seen.format, media_type) == ((64, 48), kind, f"image/{kind.lower()}")
    assert seen.has_alpha == (mode in {"LA", "RGBA"})
    spec = CanvasSpec(prompt="night", index=0, width=96, height=64, transparent=False, sources=("x",))
    assert paint_canvas(spec, CheckedEdit(images=(seen, seen), mask=seen)).size == (96, 64)
    assert paint_canvas(spec, CheckedEdit(images=(seen,))).size == (96, 64)


async def test_auto_follows_the_first_picture(edit: Any) -> None:
    """Its shape, as it is seen once it is turned as its EXIF data say."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(house((300, 200)), "JPEG", exif=exif)
    sizes = [
        (await edit(form(("image", data, "image/jpeg"), prompt="night", model=model))).json["size"]
        for data in (turned, encoded(house((300, 200)), "JPEG"))
        for model in ("gpt-image-1.5", "gpt-image-2")
    ]
    assert sizes == ["1024x1536", "1024x1536", "1536x1024", "1536x1024"]


def test_automatic_sizes() -> None:
    """About as many pixels for every shape, and no more than three to one."""
    free, fixed = MODELS["gpt-image-2"], MODELS["gpt-image-1.5"]
    assert automatic_size(free) == automatic_size(free, (50, 50)) == (1254, 1254)
    assert automatic_size(free, (9000, 10)) == (2172, 724)
    assert [automatic_size(fixed, size) for size in ((50, 51), (9, 1), (1, 2))] == [
        (1024, 1024),
        (1536, 1024),
        (1024, 1536),
    ]


@pytest.mark.parametrize(
    ("model", "size", "high", "tokens"),
    [
        ("gpt-image-2.5-flare", (1024, 1024), False, 1024),
        ("gpt-image-2", (1536, 1024), False, 1536),
        ("gpt-image-2", (33, 32), False, 2),
        ("gpt-image-2.6-flare", (3840, 2160), False, 4096),
        ("gpt-image-1.5", (4000, 10), False, 194),
        ("gpt-image-1.5", (64, 64), True, 4354),
        ("gpt-image-1.5", (64, 65), True, 6434),
    ],
)
def test_input_tokens(model: str, size: tuple[int, int], high: bool, tokens: int) -> None:
    """One for each 32x32 pixels from generation 2 on, up to a bound; before it a fixed number."""
    assert input_tokens(MODELS[model], *size, high_fidelity=high) == tokens


async def test_reading_pictures_does_not_block_the_loop(edit: Any, http: aiohttp.ClientSession) -> None:
    """While a large image is looked at the server answers others."""
    async with LocalImagesServer(now=lambda: NOW) as server:
        large = encoded(house((3000, 3000)))
        under_way = asyncio.ensure_future(
            edit(form(("image", large), ("mask", encoded(layer((3000, 3000)))), **SMALL), of=server)
        )
        answered = 0
        while not under_way.done():
            async with http.get(
                f"{server.base_url}/models", headers={"Authorization": f"Bearer {server.api_key}"}
            ) as one:
                answered += one.status == 200
        assert (await under_way).status == 200
    assert answered > 2
