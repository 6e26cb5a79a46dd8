"""Signed provenance survives: at the end of every path are the bytes that the server sent, thumbnails excepted."""

import asyncio
import base64
import hashlib
import io
import json
import pickle
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from PIL import Image as Pillow

from openai_images import CompletedImage, GenerateRequest, Image, ImagesClient, Succeeded
from openai_images.cli import main
from openai_images.cli.preview import write_thumbnail
from openai_images.server import LocalImagesServer
from tests.client.test_into import FullDisk
from tests.helpers.batch_runs import items_of, run
from tests.helpers.clients import PROMPT, client_of
from tests.helpers.crashing_filesystem import FailingDisk
from tests.helpers.raw_server import CLOSE, RawServer, reply
from tests.helpers.signed_images import is_intact, signed

KINDS = ("png", "jpeg", "webp")
SIGNED = {kind: signed(kind) for kind in KINDS}


@frozen
class Journey:
    """What a path has: a server of signed images, its client, the format that is asked for, a folder."""

    server: LocalImagesServer
    client: ImagesClient
    kind: str
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    @property
    def request(self) -> GenerateRequest:
        """A request for an image of the format."""
        return GenerateRequest(PROMPT, model="gpt-image-2", output_format=self.kind)

    async def batch(self, folder: str = "batch", **options: Any) -> bytes:
        """The image of a batch of one item."""
        items = items_of(PROMPT, output_format=self.kind)
        await run(self.client, items, self.folder / folder, **options)
        return self.in_batch(folder)

    def in_batch(self, folder: str = "batch") -> bytes:
        """The only image in the folder of a batch."""
        (path,) = (self.folder / folder / "images").iterdir()
        assert not path.name.startswith(".")
        return path.read_bytes()

    async def command(self, *argv: str) -> str:
        """Run the command, and give what it prints."""
        self.monkeypatch.setenv("OPENAI_BASE_URL", self.server.base_url)
        self.monkeypatch.setenv("OPENAI_API_KEY", self.server.api_key)
        out, errors = io.StringIO(), io.StringIO()
        code = await asyncio.to_thread(
            main, [*argv, "--model", "gpt-image-2", "--format", self.kind], out, errors
        )
        assert code == 0, errors.getvalue()
        return out.getvalue().strip()


Path_ = Callable[[Journey], Awaitable[bytes]]


async def to_memory(journey: Journey) -> bytes:
    """In memory, also as a copy that was pickled, and as a notebook shows it."""
    image = (await journey.client.generate(journey.request)).image
    assert pickle.loads(pickle.dumps(image)).data == await image.read() == image.data
    if journey.kind != "webp":
        bundle: Any = image._repr_mimebundle_()
        assert base64.b64decode(bundle[0][f"image/{journey.kind}"]) == image.data
    return image.data


async def saved(journey: Journey) -> bytes:
    """`save`, also under another suffix, which converts nothing."""
    image = (await journey.client.generate(journey.request)).image
    assert (
        await asyncio.to_thread(lambda: image.save(journey.folder / "other.gif").read_bytes()) == image.data
    )
    return image.save(journey.folder / "saved").read_bytes()


async def into_a_file(journey: Journey) -> bytes:
    """`into=`."""
    image = (await journey.client.generate(journey.request, into=journey.folder / "into")).image
    assert image.path is not None
    return image.path.read_bytes()


async def on_a_full_disk(journey: Journey) -> bytes:
    """`into=` where the disk takes nothing: it stays in memory."""
    FullDisk(journey.monkeypatch, 0)
    image = (await journey.client.generate(journey.request, into=journey.folder / "into")).image
    assert image.path is None
    return image.data


async def streamed(journey: Journey) -> bytes:
    """A stream, in memory."""
    async with journey.client.stream(journey.request) as stream:
        images = [event.image.data async for event in stream if isinstance(event, CompletedImage)]
    return images[0]


async def streamed_into_a_file(journey: Journey) -> bytes:
    """A stream with `into=`."""
    async with journey.client.stream(journey.request, into=journey.folder / "stream") as stream:
        path = (await stream.finish()).image.path
    assert path is not None
    return path.read_bytes()


async def of_several(journey: Journey) -> bytes:
    """`generate_many`."""
    async with journey.client.generate_many([journey.request], into=journey.folder / "many") as outcomes:
        (outcome,) = [outcome async for outcome in outcomes]
    assert isinstance(outcome, Succeeded)
    return outcome.result.image.data


async def edited(journey: Journey) -> bytes:
    """An edit; the signed image that is sent travels as it is, too."""
    sent = SIGNED[journey.kind]
    result = await journey.client.edit(PROMPT, image=sent, model="gpt-image-2", output_format=journey.kind)
    parts = {part.name: part.sha256 for part in journey.server.requests[-1].parts}
    assert hashlib.sha256(sent).hexdigest() in parts.values()
    return result.image.data


async def downloaded(journey: Journey) -> bytes:
    """From a URL, into memory and into a file."""
    journey.server.script("url_answer", "url_answer")
    result = await journey.client.download(await journey.client.generate(journey.request))
    image = (await journey.client.generate(journey.request, into=journey.folder / "into")).image
    assert image.path is not None
    assert image.data == result.image.data
    return result.image.data


async def salvaged(journey: Journey) -> bytes:
    """From an unusual place of a JSON body."""
    data = base64.b64encode(SIGNED[journey.kind]).decode()
    body = json.dumps({"created": 1, "output": [{"odd": {"picture": data}}]}).encode()
    async with RawServer([reply(body), CLOSE]) as server, client_of(server) as client:
        return (await client.generate(journey.request)).image.data


async def as_the_body(journey: Journey) -> bytes:
    """A response that is nothing but the image."""
    body = reply(SIGNED[journey.kind], kind=f"image/{journey.kind}")
    async with RawServer([body, CLOSE]) as server, client_of(server) as client:
        return (await client.generate(journey.request)).image.data


async def in_odd_base64(journey: Journey) -> bytes:
    """However the server spells its base64, and cuts it."""
    faults = (
        "wrapped_base64",
        "urlsafe_base64",
        "unpadded_base64",
        "escaped_base64",
        "data_url_base64",
        "tiny_chunks",
    )
    journey.server.script(*faults)
    images = [(await journey.client.generate(journey.request)).image.data for _ in faults]
    assert set(images) == {images[0]}
    return images[0]


async def of_a_batch(journey: Journey) -> bytes:
    """A batch that makes thumbnails, and its second run."""
    first = await journey.batch(thumbnail=write_thumbnail)
    (thumbnail,) = (journey.folder / "batch/thumbs/images").iterdir()
    assert not is_intact(thumbnail.read_bytes())
    assert await journey.batch(thumbnail=write_thumbnail) == first
    return first


async def moved_back(journey: Journey) -> bytes:
    """A batch's fallback folder, and its way back."""
    images = journey.folder / "batch/images"
    full = FailingDisk(lambda operation, path: operation == "write" and path.parent == images)
    items = items_of(PROMPT, output_format=journey.kind)
    ran = await run(journey.client, items, images.parent, disk=full)
    elsewhere = Path(ran.summary.saved_elsewhere[0])
    assert is_intact(elsewhere.read_bytes())
    back = await journey.batch()
    assert not elsewhere.parent.exists()
    return back


async def adopted(journey: Journey) -> bytes:
    """A crash behind the image and before its row, once with and once without its name."""
    data = await journey.batch()
    folder = journey.folder / "batch"
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)[:2]
    for is_part in (False, True):
        (folder / "journal.jsonl").write_text("".join(lines))
        (path,) = (folder / "images").iterdir()
        if is_part:
            path.rename(path.with_name(f".{path.name}.0123abcd.part"))
        assert await journey.batch() == data
    assert journey.server.posts == 1
    return data


async def fetched_by_the_next_run(journey: Journey) -> bytes:
    """A batch whose image is behind a URL that fails at first."""
    journey.server.script("url_answer", "download_404", "download_ok")
    await run(journey.client, items_of(PROMPT, output_format=journey.kind), journey.folder / "batch")
    return await journey.batch()


async def of_the_command(journey: Journey) -> bytes:
    """`generate -o`."""
    return Path(await journey.command("generate", PROMPT, "-o", str(journey.folder / "cli"))).read_bytes()


async def of_the_command_elsewhere(journey: Journey) -> bytes:
    """`generate -o` where the disk takes nothing: it is saved in a temporary folder."""
    FullDisk(journey.monkeypatch, 0)
    journey.monkeypatch.setattr("tempfile.tempdir", str(journey.folder))
    printed = Path(await journey.command("generate", PROMPT, "-o", str(journey.folder / "cli")))
    assert printed.parent.name.startswith("openai-images-")
    return printed.read_bytes()


async def of_the_batch_command(journey: Journey) -> bytes:
    """`batch`."""
    (journey.folder / "prompts.txt").write_text(PROMPT)
    await journey.command(
        "batch", str(journey.folder / "prompts.txt"), "--out", str(journey.folder / "batch")
    )
    return journey.in_batch()


PATHS: tuple[Path_, ...] = (
    to_memory,
    saved,
    into_a_file,
    on_a_full_disk,
    streamed,
    streamed_into_a_file,
    of_several,
    edited,
    downloaded,
    salvaged,
    as_the_body,
    in_odd_base64,
    of_a_batch,
    moved_back,
    adopted,
    fetched_by_the_next_run,
    of_the_command,
    of_the_command_elsewhere,
    of_the_batch_command,
)
OTHER_FORMATS = (to_memory, into_a_file, streamed, downloaded, adopted, moved_back)
JOURNEYS = [("png", path) for path in PATHS] + [(kind, path) for kind in KINDS[1:] for path in OTHER_FORMATS]


@pytest.mark.parametrize(
    ("kind", "path"), JOURNEYS, ids=[f"{kind}-{path.__name__}" for kind, path in JOURNEYS]
)
async def test_every_path(kind: str, path: Path_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte."""
    async with LocalImagesServer(pictures=SIGNED) as server, client_of(server) as client:
        data = await path(Journey(server, client, kind, tmp_path, monkeypatch))
    assert data == SIGNED[kind]
    assert is_intact(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_that_breaks(kind: str) -> None:
    """The signature of the signed images finds a changed byte, and a program that writes the image anew."""
    data = SIGNED[kind]
    assert is_intact(data)
    assert Image.from_bytes(data).media_type == f"image/{kind}"
    assert not is_intact(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
    again = io.BytesIO()
    with Pillow.open(io.BytesIO(data)) as image:
        assert image.load() is not None
        image.save(again, kind)
    assert not is_intact(again.getvalue())
