"""Answers that were paid for and not understood: what came with the error is on the disk, and is not bought again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    Batch,
    DecodeError,
    DownloadError,
    Image,
    ImageResult,
    ImagesClient,
    ImagesError,
    PartialResultError,
)
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, pictures, rows, run
from tests.helpers.clients import PNG
from tests.helpers.crashing_filesystem import HastyDisk
from tests.helpers.fake_calls import replace_calls

HERE, ELSEWHERE = Image.from_bytes(PNG), Image(url="https://images.test/a.png?signed=1")
PROMPT = "a very secret otter"


def fails_with(client: ImagesClient, patch: pytest.MonkeyPatch, error: ImagesError) -> None:
    """Each call ends in this error, after it was sent."""

    async def generate(request: object, observer: Any) -> ImageResult:
        await observer.before_send(1)
        raise error

    replace_calls(patch, client, generate)


def decode_error(*images: Image, body: object = None) -> DecodeError:
    """An answer that was not understood."""
    error = DecodeError("no image where one should be; it may have been billed")
    error.images = images
    error.body = body  # type: ignore[attr-defined]
    return error


class Web:
    """Where URLs lead."""

    def __init__(self, client: ImagesClient, patch: pytest.MonkeyPatch, *, is_up: bool) -> None:
        self.is_up = is_up
        self.asked: list[str | None] = []
        patch.setattr(type(client), "download", self.download)

    async def download(self, result: ImageResult) -> ImageResult:
        """Fetch them."""
        self.asked += [image.url for image in result.images if not image.nbytes]
        if not self.is_up:
            raise DownloadError("not there", url=self.asked[-1], response=result)
        images = tuple(image if image.nbytes else Image.from_bytes(PNG) for image in result.images)
        return ImageResult(images, attempts=result.attempts)


async def test_images_and_the_document(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images are in images/, the document is in the row without the prompt, and nothing is sent again by itself."""
    body = {"artifacts": [{"seed": 7, "prompt": PROMPT, "odd": 1e999}], "n": "x"}
    fails_with(client, monkeypatch, decode_error(HERE, body=body))
    ran = await run(client, items_of(PROMPT), out)
    row = rows(out)[-1]
    assert (row["state"], row["billed"], pictures(out)) == ("unknown", True, ["00001.png"])
    assert row["body"] == {"artifacts": [{"seed": 7, "prompt": "<hidden>", "odd": "inf"}], "n": "x"}
    assert PROMPT not in (out / "journal.jsonl").read_text()
    assert ran.summary.unknown == 1
    assert (await run(client, items_of(PROMPT), out)).outcomes == []


@pytest.mark.parametrize(
    "body", [b"\xffnot JSON", "x" * 100_000, [[[]]], {"a": object()}, list(range(100_000))]
)
async def test_any_document(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch, body: object
) -> None:
    """It takes bounded room in the row, whatever it is."""
    fails_with(client, monkeypatch, decode_error(body=body))
    await run(client, items_of(PROMPT), out)
    assert "body" in rows(out)[-1]
    assert len((out / "journal.jsonl").read_bytes()) < 40_000


async def test_urls_that_can_be_fetched(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are fetched at once, as URLs end, and the image is kept."""
    fails_with(client, monkeypatch, decode_error(ELSEWHERE))
    web = Web(client, monkeypatch, is_up=True)
    ran = await run(client, items_of(PROMPT), out)
    assert (pictures(out), web.asked, ran.summary.unknown) == (["00001.png"], [ELSEWHERE.url], 1)


async def test_urls_that_cannot_be_fetched_yet(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in the journal, whole, and the next run fetches them instead of paying again."""
    with monkeypatch.context() as patch:
        fails_with(client, patch, decode_error(HERE, ELSEWHERE))
        Web(client, patch, is_up=False)
        ran = await run(client, items_of(PROMPT, n=2), out)
        assert (ran.summary.away, rows(out)[-1]["urls"]) == (1, [ELSEWHERE.url])
    Web(client, monkeypatch, is_up=True)
    again = await run(client, items_of(PROMPT, n=2), out)
    assert (again.plan.away, again.summary.done, server.posts) == (("00001",), 1, 0)
    assert pictures(out) == ["00001-0.png", "00001-1.png"]


async def test_too_few_even_when_they_are_fetched(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three came in the end: that is not done, and a retry asks for the third."""
    with monkeypatch.context() as patch:
        fails_with(client, patch, decode_error(HERE, ELSEWHERE))
        Web(client, patch, is_up=False)
        await run(client, items_of(PROMPT, n=3), out)
    Web(client, monkeypatch, is_up=True)
    again = await run(client, items_of(PROMPT, n=3), out)
    assert isinstance(again.failed["00001"], PartialResultError)
    assert (again.summary.unknown, again.summary.incomplete, server.posts) == (1, 1, 0)
    last = await run(client, items_of(PROMPT, n=3), out, retry_unknown=True)
    assert (last.summary.done, [request.json["n"] for request in server.requests]) == (1, [1])


async def test_left_while_it_is_fetched(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever leaves in the middle of a fetch has the images that came, and the URLs of those that did not."""
    fetching = asyncio.Event()

    async def download(self: ImagesClient, result: ImageResult) -> ImageResult:
        fetching.set()
        await asyncio.Event().wait()
        raise AssertionError

    error = PartialResultError("1 of 3", result=ImageResult((HERE, ELSEWHERE)), errors=[ImagesError("no")])
    fails_with(client, monkeypatch, error)
    monkeypatch.setattr(type(client), "download", download)
    async with Batch(client, items_of(PROMPT, n=3), out, disk=HastyDisk()) as batch:
        step = asyncio.ensure_future(anext(batch))
        await fetching.wait()
        step.cancel()
    assert pictures(out) == ["00001-0.png"]
    assert (rows(out)[-1]["urls"], batch.summary.away) == ([ELSEWHERE.url], 1)
