"""Whatever people hand in as an image is opened, told by its bytes, and read as often as needed."""

import asyncio
import io
import os
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from openai_images import EditRequest, Image, ImageReference, RequestInvalidError
from openai_images.client.open_sources import OpenedImage, open_all


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6)) -> bytes:
    """A small real image."""
    buffer = io.BytesIO()
    Pillow.new("RGB", size, "teal").save(buffer, kind)
    return buffer.getvalue()


PNG, JPEG, WEBP = picture(), picture("JPEG"), picture("WEBP")


class Upload:
    """What web frameworks give for an uploaded file: `await read(count)`."""

    def __init__(self, data: bytes) -> None:
        """Hold the bytes."""
        self._file = io.BytesIO(data)

    async def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        await asyncio.sleep(0)
        return self._file.read(min(count, 7))


class Pipe(io.RawIOBase):
    """A binary file that can be read once."""

    def __init__(self, data: bytes) -> None:
        """Hold the bytes."""
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """A few at a time."""
        chunk = self._file.read(min(5, len(buffer)))
        buffer[: len(chunk)] = chunk
        return len(chunk)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """The bytes of a request's stream."""
    for at in range(0, len(data), 9):
        yield data[at : at + 9]


def content(one: OpenedImage) -> bytes:
    """All bytes of an opened image, in small reads."""
    assert not isinstance(one.source, ImageReference)
    reader, gathered = one.source.open(), bytearray()
    while chunk := reader.read(11):
        gathered += chunk
    reader.close()
    return bytes(gathered)


def file_of(data: bytes, folder: Path) -> Path:
    """An image on the disk."""
    path = folder / "otter.anything"
    path.write_bytes(data)
    return path


def standing_at_its_end(data: bytes) -> Any:
    """A file that was written a moment ago."""
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115  the test closes it
    file.write(data)
    return file


HANDS: dict[str, Callable[[bytes, Path], Any]] = {
    "path": file_of,
    "text": lambda data, folder: str(file_of(data, folder)),
    "bytes": lambda data, _: data,
    "bytearray": lambda data, _: bytearray(data),
    "memoryview": lambda data, _: memoryview(data),
    "BytesIO": lambda data, _: io.BytesIO(data),
    "spooled": lambda data, _: standing_at_its_end(data),
    "pipe": lambda data, _: Pipe(data),
    "upload": lambda data, _: Upload(data),
    "async iterator": lambda data, _: pieces(data),
    "Image in memory": lambda data, _: Image.from_bytes(data),
    "Image in a file": lambda data, folder: Image.from_file(file_of(data, folder), data, len(data)),
}


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP], ids=["png", "jpeg", "webp"])
@pytest.mark.parametrize("hand", HANDS)
async def test_whatever_is_handed_in(hand: str, data: bytes, tmp_path: Path) -> None:
    """Its type is told by its bytes, and it can be read more than once."""
    given = HANDS[hand](data, tmp_path)
    (one,) = await open_all(EditRequest("x", image=given))
    assert not isinstance(one.source, ImageReference)
    assert one.name == one.part == "image"
    assert one.source.nbytes == len(data)
    assert one.source.media_type == Image.from_bytes(data).media_type
    assert content(one) == content(one) == data == one.head
    if hasattr(given, "close") and not isinstance(given, Pipe):
        given.close()


async def test_a_file_stands_where_it_stood(tmp_path: Path) -> None:
    """It is sent from its start, wherever it stands, and can be sent twice at once."""
    with file_of(PNG, tmp_path).open("rb") as file:
        file.seek(5)
        one, other = await open_all(EditRequest("x", image=[file, file]))
        assert not isinstance(one.source, ImageReference)
        assert not isinstance(other.source, ImageReference)
        readers = [one.source.open(), other.source.open()]
        assert readers[0].read(3) + readers[1].read(2) + readers[0].read(4) == PNG[:3] + PNG[:2] + PNG[3:7]
        assert file.tell() == 5


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK", "YCbCr", "HSV", "LAB", "F", "I"])
async def test_pillow_images(mode: str) -> None:
    """They become PNG, whatever their mode."""
    image = Pillow.new("RGB", (5, 4), "teal")
    image = image.convert(mode) if mode not in ("LAB", "HSV") else Pillow.new(mode, (5, 4))
    (one,) = await open_all(EditRequest("x", image=image))
    with Pillow.open(io.BytesIO(content(one))) as read:
        assert (read.format, read.size) == ("PNG", (5, 4))


async def test_references() -> None:
    """URLs and file ids are not opened."""
    url, reference = "https://x.example/a.png", ImageReference(file_id="file-1")
    found = await open_all(EditRequest("x", image=[url, reference], mask="data:image/png;base64,AA"))
    assert [one.source for one in found] == [
        ImageReference(image_url=url),
        reference,
        ImageReference(image_url="data:image/png;base64,AA"),
    ]
    assert [one.name for one in found] == ["image[0]", "image[1]", "mask"]


async def test_all_that_is_wrong_at_once(tmp_path: Path) -> None:
    """Each image that cannot be read is named with its place and the reason."""
    shut = io.BytesIO(PNG)
    shut.close()
    text = io.StringIO("sentinel")
    images: Any = [str(tmp_path / "absent.png"), PNG, 5, tmp_path, text, shut, None, {"file_id": "x"}]
    with pytest.raises(RequestInvalidError) as caught:
        await open_all(EditRequest("x", image=images, mask="a\0b"))
    said = str(caught.value)
    assert f"image[0]: it cannot be read (No such file or directory: '{tmp_path / 'absent.png'}')" in said
    assert "image[1]" not in said
    assert "image[2]: int is not an image; pass a path" in said
    assert "image[3]: it cannot be read (Is a directory" in said
    assert "image[4]: a file opened as text is not an image; open it with 'rb'" in said
    assert "image[5]: it cannot be read (" in said
    assert "image[6]: NoneType is not an image" in said
    assert "image[7]: dict is not an image" in said
    assert "mask: it cannot be read (" in said
    assert "sentinel" not in said


async def test_a_reader_of_texts() -> None:
    """What gives no bytes is told."""

    class Texts:
        async def read(self, count: int = -1) -> Any:
            return "x" * count

    with pytest.raises(RequestInvalidError, match="image: reading it gave str instead of bytes"):
        await open_all(EditRequest("x", image=Texts()))


async def test_an_image_behind_a_url() -> None:
    """It has no bytes yet; what to do is said."""
    with pytest.raises(RequestInvalidError, match="image: the server returned a URL"):
        await open_all(EditRequest("x", image=Image(url="https://x.example/a.png")))


@pytest.mark.parametrize("given", [{}, {"image_url": "u", "file_id": "f"}, {"file_id": ""}, {"image_url": 5}])
def test_references_of_no_sense(given: Any) -> None:
    """One name, not none and not two."""
    with pytest.raises(RequestInvalidError, match="either an image_url or a file_id"):
        ImageReference(**given)


def test_what_a_request_shows() -> None:
    """Numbers of images, never their bytes; the prompt's length."""
    shown = repr(EditRequest("sentinel", image=[PNG, "sentinel.png"], mask=b"sentinel", user="sentinel"))
    assert "image=<2 images>, mask=<image>)" in shown
    assert "sentinel" not in shown
    assert "sentinel" not in repr(ImageReference(image_url="https://x/?sentinel"))
    assert EditRequest("x", image=PNG) == EditRequest("x", image=bytes(PNG))
    assert EditRequest("x", image=PNG) != EditRequest("x", image=JPEG)
    assert hash(EditRequest("x", image=bytearray(PNG)))


def fifo_of(data: bytes, folder: Path) -> Path:
    """What `<(…)` is in a shell: a path that can be read once."""
    path = folder / "pipe"
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=[data]).start()
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes")
async def test_a_pipe_with_a_path(tmp_path: Path) -> None:
    """It has no size and is gone once it was read: its bytes are kept."""
    (one,) = await open_all(EditRequest("x", image=fifo_of(PNG, tmp_path)))
    assert content(one) == content(one) == PNG


async def test_an_upload_that_was_read_already() -> None:
    """What can be rewound is sent whole, wherever it stands, as a file is; what cannot is read from there."""

    class Rewound(Upload):
        async def seek(self, at: int) -> None:
            self._file.seek(at)

    class Fixed(Upload):
        async def seek(self, at: int) -> None:
            raise io.UnsupportedOperation

    for kind, expected in ((Rewound, PNG), (Fixed, PNG[7:])):
        upload = kind(PNG)
        await upload.read(8)
        (one,) = await open_all(EditRequest("x", image=upload))
        assert content(one) == expected


async def test_a_file_that_has_nothing_yet() -> None:
    """A pipe that does not block says None, which is not its end."""

    class Slow(Pipe):
        def read(self, count: int = -1) -> Any:
            return None

    with pytest.raises(RequestInvalidError, match="image: it has no data yet"):
        await open_all(EditRequest("x", image=Slow(PNG)))


async def test_a_file_that_gives_more_than_was_asked_for() -> None:
    """No more is taken than was announced."""

    class Generous(io.BytesIO):
        def read(self, count: int | None = -1) -> bytes:
            return super().read(count) + b"more"

    (one,) = await open_all(EditRequest("x", image=Generous(PNG)))
    assert not isinstance(one.source, ImageReference)
    assert one.source.open().read(len(PNG)) == PNG


async def test_base64_that_was_not_decoded() -> None:
    """It is taken for a path, and is not repeated; what to do is said."""
    with pytest.raises(RequestInvalidError, match=r"a text of 4,000 characters; decode base64") as caught:
        await open_all(EditRequest("x", image="iVBORw0KGgo/" + "sentinel" * 498 + "A" * 4))
    assert "sentinel" not in str(caught.value)


@pytest.mark.parametrize(("mode", "kept"), [("RGBa", "RGBA"), ("PA", "RGBA"), ("La", "LA"), ("I", "I;16")])
async def test_what_pillow_images_have_besides_colours(mode: str, kept: str) -> None:
    """Transparency stays, and so do more than 256 shades."""
    (one,) = await open_all(EditRequest("x", image=Pillow.new(mode, (5, 4))))
    with Pillow.open(io.BytesIO(content(one))) as read:
        assert read.mode in (kept, mode)


async def test_a_pillow_image_is_held_as_bytes() -> None:
    """A view into a `BytesIO` would be complained about where an error's cycle of references is collected."""
    (one,) = await open_all(EditRequest("x", image=Pillow.new("RGB", (5, 4))))
    picture: Any = one.source
    assert type(picture.view.obj) is bytes


@pytest.mark.parametrize("part", ["image", "mask", "markup"])
@pytest.mark.parametrize("content", [PNG, io.BytesIO(PNG)], ids=["bytes", "file"])
def test_the_tuple_of_the_official_package(part: str, content: object) -> None:
    """A name with its content is no two images, one of them a file of this name: nothing is opened or sent."""
    for named in (("otter.png", content), (None, content), ("otter.png", content, "image/png")):
        values: list[Any] = [named, [PNG, named]] if part == "image" else [named]
        for value in values:
            with pytest.raises(RequestInvalidError, match=rf"{part}: .* pass the content alone"):
                EditRequest("an otter", **{"image": PNG, part: value})
    assert EditRequest("an otter", image=(PNG, "otter.png")).image == (PNG, "otter.png")
