"""`PictureStore`: bounds, names, headers, and a folder that outlives the store."""

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from openai_images import ConfigurationError, Image
from openai_images.web import PictureStore, wait_for_background
from tests.helpers.leaks import nothing_left
from tests.helpers.tiny_images import gif, png

PREFIX = "/images/"


class Clock:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        """Start it."""
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def put(store: PictureStore, data: bytes) -> str:
    """Keep an image and return its name."""
    url = await store.put(Image.from_bytes(data))
    assert url is not None
    return url.removeprefix(PREFIX)


@pytest.fixture(params=["memory", "folder"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where the store keeps its images."""
    return tmp_path / "pictures" if request.param == "folder" else None


async def test_an_image_is_served_with_its_headers(folder: Path | None) -> None:
    """The bytes are the image's own; nothing is guessed, and nothing runs."""
    store = PictureStore(folder=folder)
    name = await put(store, png(b"pixels"))
    answer = await store.get(name)
    assert (answer.status, answer.body) == (200, png(b"pixels"))
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == 'inline; filename="image.png"'
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert (await store.get(name, if_none_match=answer.headers["ETag"])).status == 304
    assert (await store.get(name, if_none_match='"other"')).status == 200
    assert (await store.get(name, head=True)).body == b""


@pytest.mark.parametrize("name", ["", "x", "../secret", "A" * 32 + ".png", "A" * 32])
async def test_what_is_unknown_is_not_found(folder: Path | None, name: str) -> None:
    """Names that were never given lead nowhere, also not out of the folder."""
    store = PictureStore(folder=folder)
    await put(store, gif("a"))
    assert (await store.get(name)).status == 404


async def test_the_oldest_go_first(folder: Path | None) -> None:
    """At most `max_bytes` are kept."""
    store = PictureStore(folder=folder, max_bytes=40)
    names = [await put(store, gif(letter)) for letter in "abcd"]
    assert [(await store.get(name)).status for name in names] == [404, 404, 200, 200]
    assert folder is None or len(list(folder.iterdir())) == 2


async def test_images_end(folder: Path | None) -> None:
    """At most `max_age` seconds."""
    clock = Clock()
    store = PictureStore(folder=folder, max_age=60, now=clock)
    name = await put(store, gif("a"))
    clock.now += 59
    assert (await store.get(name)).status == 200
    clock.now += 1
    assert (await store.get(name)).status == 404
    assert store.image_count == 0
    assert folder is None or not list(folder.iterdir())


async def test_too_large_alone_is_not_kept(folder: Path | None) -> None:
    """An image that does not fit evicts nothing."""
    store = PictureStore(folder=folder, max_bytes=20)
    name = await put(store, gif("a"))
    assert await store.put(Image.from_bytes(png(bytes(100)))) is None
    assert (await store.get(name)).status == 200


async def test_a_cancelled_image_is_known(tmp_path: Path) -> None:
    """The browser disconnects while an image is saved: the file is removed in its time, as any other."""
    store = PictureStore(folder=tmp_path)
    task = asyncio.create_task(store.put(Image.from_bytes(png(b"x"))))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert await wait_for_background() == 0
    assert store.image_count == len(list(tmp_path.iterdir())) == 1


async def test_an_image_that_is_removed_meanwhile_is_served_to_its_end(folder: Path | None) -> None:
    """A slow browser gets all of the image it has begun; the file is closed with its response."""
    data = png(bytes(range(256)) * 600)
    store = PictureStore(folder=folder, max_bytes=len(data) + 20)
    async with nothing_left():
        answer = await store.get(await put(store, data))
        pieces = answer.pieces()
        read = [await anext(pieces)]
        await put(store, png(b"another"))
        assert store.image_count == 1
        assert b"".join([*read, *[piece async for piece in pieces]]) == answer.body == data
        del answer, pieces


async def test_files_that_cannot_be_removed_cost_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder became read-only: the other images are served, it is logged, and tried again later."""
    clock = Clock()
    store = PictureStore(folder=tmp_path, max_age=60, now=clock)
    await put(store, gif("a"))
    clock.now += 30
    name = await put(store, gif("b"))
    clock.now += 30

    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        assert (await store.get(name)).status == 200
    assert len(list(tmp_path.iterdir())) == 2
    assert "could not be removed (1): Permission denied" in caplog.text
    assert name not in caplog.text
    clock.now += 30
    name = await put(store, gif("c"))
    assert [path.name for path in tmp_path.iterdir()] == [name]


async def test_files_that_two_requests_cannot_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are removed later, although the second request comes while the first one waits for the disk."""
    clock, waiting, end = Clock(), threading.Semaphore(0), threading.Event()
    store = PictureStore(folder=tmp_path, max_age=60, now=clock)
    for letter in "ab":
        await put(store, gif(letter))
        clock.now += 30

    def unlink(path: Path, missing_ok: bool = False) -> None:
        waiting.release()
        end.wait()
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        async with asyncio.TaskGroup() as requests:
            for _ in range(2):
                requests.create_task(store.get("x"))
                await asyncio.to_thread(waiting.acquire)
                clock.now += 30
            end.set()
    await put(store, gif("c"))
    clock.now += 60
    await store.get("x")
    assert list(tmp_path.iterdir()) == []


async def test_files_are_removed_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk does not stall the event loop."""
    store = PictureStore(folder=tmp_path, max_bytes=20)
    unlink = Path.unlink

    def slow(path: Path, missing_ok: bool = False) -> None:
        assert threading.current_thread() is not threading.main_thread()
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", slow)
    for letter in "ab":
        name = await put(store, gif(letter))
    assert [path.name for path in tmp_path.iterdir()] == [name]


async def test_a_folder_outlives_its_store(tmp_path: Path) -> None:
    """A new store serves what the old one left, and leaves other files alone."""
    name = await put(PictureStore(folder=tmp_path), gif("a"))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / f"{'a' * 32}.png").symlink_to(tmp_path / "nothing")
    (tmp_path / f"{'b' * 32}.png").mkdir()
    written = (tmp_path / name).stat().st_mtime
    store = PictureStore(folder=tmp_path, now=lambda: written + 1)
    assert (await store.get(name)).body == gif("a")
    assert store.image_count == 1
    (tmp_path / name).unlink()
    assert (await store.get(name)).status == 404
    assert (await store.get("notes.txt")).status == 404
    assert (tmp_path / "notes.txt").read_text() == "mine"


async def test_an_svg_cannot_run_scripts() -> None:
    """It is served in a sandbox without scripts."""
    store = PictureStore()
    name = await put(store, b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
    answer = await store.get(name)
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert "allow-scripts" not in answer.headers["Content-Security-Policy"]


def test_settings_are_checked() -> None:
    """Bounds above 0, and a prefix that ends a folder."""
    for settings in ({"max_bytes": 0}, {"max_age": 0}, {"url_prefix": "/images"}):
        with pytest.raises(ConfigurationError):
            PictureStore(**settings)  # type: ignore[arg-type]


async def test_its_repr_shows_no_name() -> None:
    """A name is all one needs to fetch an image."""
    store = PictureStore()
    name = await put(store, gif("a"))
    assert name not in repr(store)
    assert repr(store) == "<PictureStore 1 images, 14 bytes>"
