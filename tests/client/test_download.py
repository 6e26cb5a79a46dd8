"""Images behind URLs: fetched in a step of its own, with retries of its own, and never bought again."""

import asyncio
import base64
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    DownloadError,
    Image,
    ImageResult,
    ImagesClient,
    Limits,
    RequestInvalidError,
    RetryPolicy,
    Timeouts,
)
from openai_images.client.files import OutputFiles
from openai_images.server import LocalImagesServer
from tests.helpers.clients import KEY, PNG, PROMPT, FakeTime, client_of
from tests.helpers.download_servers import away
from tests.helpers.leaks import nothing_left, open_sockets, parts, until
from tests.helpers.raw_server import CLOSE, STALL, Part, RawServer, chunk, chunked, reply

MODEL = "gpt-image-2"
PICTURE = reply(PNG, kind="image/png")


@pytest.fixture
async def linking() -> AsyncIterator[LocalImagesServer]:
    """A server that answers with URLs."""
    async with LocalImagesServer(pictures=PNG, picture_links="absolute", now=lambda: FakeTime.WALL) as server:
        yield server


@pytest.fixture
def time() -> FakeTime:
    """The client's clock."""
    return FakeTime()


async def failing(client: ImagesClient, into: Path) -> DownloadError:
    """The error of an image that cannot be fetched."""
    with pytest.raises(DownloadError) as caught:
        await client.generate(PROMPT, model=MODEL, into=into)
    return caught.value


@pytest.mark.parametrize("links", ["absolute", "relative"])
async def test_into(links: Any, tmp_path: Path) -> None:
    """A URL answer is a file, wherever the URL begins; what the server said stays with it."""
    async with (
        nothing_left(),
        LocalImagesServer(pictures=PNG, picture_links=links) as server,
        client_of(server) as client,
    ):
        result = await client.generate(PROMPT, model=MODEL, into=tmp_path / "otter")
        assert result.image.path == tmp_path / "otter.png"
        assert result.image.data == PNG
        assert (result.image.media_type, result.image.width) == ("image/png", 1)
        assert result.image.url is not None
        assert result.image.url.startswith("/v1/" if links == "relative" else "http://127.0.0.1:")
        assert (server.posts, len(server.downloads)) == (1, 1)
    assert parts(tmp_path) == ["otter.png"]


async def test_on_request(linking: LocalImagesServer, tmp_path: Path) -> None:
    """Without `into=` nothing is fetched until it is asked for, into memory or a file; what is here is left alone."""
    async with client_of(linking) as client:
        result = await client.generate(PROMPT, model=MODEL, n=3)
        assert linking.downloads == []
        with pytest.raises(DownloadError):
            _ = result.image.data
        one = await client.download(result.image)
        assert (one.data, one.url) == (PNG, result.image.url)
        assert await client.download(one) is one
        here = await client.download(result, into=tmp_path / "otter")
        assert [image.path for image in here.images] == [
            tmp_path / f"otter-{number}.png" for number in range(3)
        ]
        assert (here.created, here.request_id) == (result.created, result.request_id)
        assert await client.download(here) is here
        assert (linking.posts, len(linking.downloads)) == (1, 4)


async def test_what_was_said_of_it_stays(linking: LocalImagesServer) -> None:
    """The revised prompt, the server's name for it and what is not known here."""
    async with client_of(linking) as client:
        result = await client.generate(PROMPT, model=MODEL)
        image = await client.download(away(result.image.url or ""))
    assert (image.data, image.revised_prompt, image.generation_id) == (PNG, "an otter, revised", "g1")
    assert image.extra == {"seed": 7}


@pytest.mark.parametrize("given", ["https://pictures.test/a.png", None, b"", [Image(data=PNG)]])
async def test_what_cannot_be_downloaded(given: Any, linking: LocalImagesServer) -> None:
    """It takes what answers are made of, and says so."""
    async with client_of(linking) as client:
        with pytest.raises(RequestInvalidError, match=r"takes an ImageResult or an Image"):
            await client.download(given)


# What happens, and one POST each.


async def test_500_then_200(linking: LocalImagesServer, time: FakeTime, tmp_path: Path) -> None:
    """It is asked for again, after a wait."""
    linking.script("download_500_then_ok")
    async with client_of(linking, timing=time.timing) as client:
        result = await client.generate(PROMPT, model=MODEL, into=tmp_path / "otter")
    assert result.image.data == PNG
    assert (linking.posts, len(linking.downloads), time.slept) == (1, 2, [0.5])


@pytest.mark.parametrize(
    ("fault", "times", "why"),
    [
        ("download_status:500", 3, "status 500, after 3 attempts"),
        ("download_status:503", 3, "status 503"),
        ("download_status:408", 3, "status 408"),
        ("download_status:429", 3, "status 429"),
        ("download_status:400", 1, "status 400"),
        ("download_404", 1, "status 404; such URLs expire"),
        ("download_expired_403", 1, "status 403; such URLs expire"),
        ("download_status:410", 1, "status 410; such URLs expire"),
        ("download_redirect_link_local", 1, "169.254.169.254/latest/meta-data/ is not contacted"),
        ("download_redirect_file", 1, "a redirect is not followed: .*file:"),
        ("download_redirect_loop", 6, "more than 5 redirects"),
        ("download_endless", 1, "larger than 100,000 bytes"),
        ("download_huge:1", 1, "larger than 100,000 bytes"),
        ("download_html", 1, r"not an image \(text/html\)"),
        ("download_empty", 3, "ended after 0 bytes"),
        ("download_cut", 3, "the connection broke"),
        ("download_reset", 3, "the connection broke"),
        ("download_stall", 3, "did not answer within 0.2 s"),
        ("download_stall_mid_body", 3, "nothing came for 0.05 s"),
    ],
)
async def test_a_picture_that_does_not_come(
    fault: str, times: int, why: str, linking: LocalImagesServer, tmp_path: Path
) -> None:
    """What may pass is tried again, what is final is not; nothing is bought twice, and no file is left."""
    linking.always(fault)
    stalls = {
        "download_stall": Timeouts(connect=0.2, idle=0.2),
        "download_stall_mid_body": Timeouts(idle=0.05),
    }
    timeouts = stalls.get(fault, Timeouts())
    options: dict[str, Any] = {"limits": Limits(max_picture_bytes=100_000), "timeouts": timeouts}
    async with nothing_left(), client_of(linking, **options) as client:
        error = await failing(client, tmp_path / "otter")
        assert linking.posts == 1
        assert len(linking.downloads) == times
    with pytest.raises(DownloadError, match=why):
        raise error
    assert error.maybe_billed
    assert not error.safe_to_resend
    assert (error.attempts, error.request_id) == (1, error.response.request_id)
    assert error.url == error.response.image.url
    assert parts(tmp_path) == []


async def test_a_redirect_to_another_host(linking: LocalImagesServer, tmp_path: Path) -> None:
    """It is followed, and the key stays behind."""
    linking.script("download_redirect_other_host")
    async with client_of(linking) as client:
        result = await client.generate(PROMPT, model=MODEL, into=tmp_path / "otter")
    assert result.image.data == PNG
    assert [download.with_key for download in linking.downloads] == [True, False]
    assert linking.downloads[1].host.startswith("localhost:")
    assert linking.posts == 1


async def test_a_relative_redirect(linking: LocalImagesServer, tmp_path: Path) -> None:
    """It leads to the same server, which may ask for the key."""
    linking.script("download_redirect_relative")
    async with client_of(linking) as client:
        await client.generate(PROMPT, model=MODEL, into=tmp_path / "otter")
    assert [download.with_key for download in linking.downloads] == [True, True]


# The waits between attempts.


@pytest.mark.parametrize(
    ("headers", "slept"),
    [((), [0.5, 1.0]), (("Retry-After: 7",), [7.0, 7.0]), (("Retry-After: 600",), [])],
)
async def test_the_waits(headers: tuple[str, ...], slept: list[float], time: FakeTime) -> None:
    """Retry-After is obeyed, up to `max_rate_limit_wait`."""
    busy = reply(b"", *headers, status=503)
    async with (
        RawServer([busy], [busy], [PICTURE]) as server,
        client_of(server, timing=time.timing) as client,
    ):
        picture = away(f"http://127.0.0.1:{server.port}/a.png")
        if slept:
            assert (await client.download(picture)).data == PNG
        else:
            with pytest.raises(DownloadError, match="status 503"):
                await client.download(picture)
    assert time.slept == slept


async def test_the_policy_says_how_often(time: FakeTime) -> None:
    """`max_retries` counts for downloads as well."""
    async with (
        RawServer([reply(b"", status=500)]) as server,
        client_of(server, timing=time.timing, retry=RetryPolicy(max_retries=0)) as client,
    ):
        with pytest.raises(DownloadError, match=r"\(status 500\)"):
            await client.download(away(f"http://127.0.0.1:{server.port}/a.png"))
        assert (server.connections, time.slept) == (1, [])


async def test_a_picture_that_drips_for_ever(tmp_path: Path) -> None:
    """`Timeouts.total` bounds each attempt, whatever keeps coming."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(PNG[:20])
    async with (
        RawServer([head, "stall"]) as server,
        client_of(server, timeouts=Timeouts(total=0.05), retry=RetryPolicy(max_retries=1)) as client,
    ):
        with pytest.raises(DownloadError, match=r"did not come within 0\.05 s .*after 2 attempts"):
            await client.download(away("/a.png"), into=tmp_path / "otter")
        assert server.connections == 2
    assert parts(tmp_path) == []


@pytest.mark.parametrize("is_writing", [True, False])
async def test_a_malformed_chunk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_writing: bool
) -> None:
    """It breaks the download at once, also while a file is being written: aiohttp says nothing, or RuntimeError."""
    gate, drain, before = asyncio.Event(), OutputFiles.flush_due, open_sockets()

    async def flush_due(files: OutputFiles) -> None:
        await drain(files)
        gate.set()
        if is_writing:
            await until(lambda: len(open_sockets() - before) == 1)  # the server's own

    monkeypatch.setattr(OutputFiles, "flush_due", flush_due)
    script: list[Part] = [chunked(PNG[:30], kind="image/png"), gate, b"zz\r\n", STALL]
    async with (
        RawServer(script) as server,
        client_of(server, timeouts=Timeouts(idle=10), retry=RetryPolicy(max_retries=0)) as client,
    ):
        with pytest.raises(
            DownloadError, match=r"the connection broke \(ClientPayloadError\) after 30 bytes"
        ):
            await client.download(away("/a.png"), into=tmp_path / "otter")
    assert parts(tmp_path) == []


# What comes.


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ([reply(PNG, kind="text/plain")], None),
        ([reply(PNG, status=203)], None),
        ([reply(b"<svg xmlns='http://www.w3.org/2000/svg'/>" + b"</svg>", kind="text/html")], None),
        ([reply(b"<!--" + b"x" * 3000 + b"--><svg width='1' height='1'></svg>")], None),
        ([b"HTTP/1.0 200 OK\r\n\r\n" + PNG, CLOSE], None),
        ([b"HTTP/1.0 200 OK\r\n\r\n" + PNG[:-12], CLOSE], "ended after 58 bytes"),
        ([reply(PNG[:-12])], "ended after 58 bytes"),
        ([reply(PNG, length=len(PNG) + 5), CLOSE], "the connection broke"),
        ([reply(b"PNG")], "ended after 3 bytes"),
        ([reply(b'{"error": "gone"}', kind="image/png")], r"not an image \(image/png\)"),
        ([reply(b"<html>" + b"x" * 9000, kind="image/png")], "not an image"),
        ([reply(b"ok, here is your secret", kind="text/plain")], "not an image"),
        ([reply(PNG, "Content-Encoding: gzip")], "compressed"),
        ([reply(PNG, "Content-Encoding: identity")], None),
        ([b"SSH-2.0-OpenSSH_9\r\n", CLOSE], "no response"),
        ([reply(b"", "Location: http://127.0.0.1:1/", status=300)], "status 300"),
        ([reply(b"", status=204)], "status 204"),
        ([reply(b"", status=302)], "more than 5 redirects"),
    ],
)
async def test_what_counts_is_the_picture(script: Any, why: str | None, tmp_path: Path) -> None:
    """By its own bytes and from its beginning to its end, whatever it is called."""
    async with RawServer(script) as server, client_of(server) as client:
        if why is None:
            image = await client.download(away("/a.png"), into=tmp_path / "a")
            assert image.nbytes == len(image.data) > 20
            assert image.media_type in ("image/png", "image/svg+xml")
        else:
            with pytest.raises(DownloadError, match=why):
                await client.download(away("/a.png"), into=tmp_path / "a")
            assert parts(tmp_path) == []


async def test_in_pieces(tmp_path: Path) -> None:
    """An image that comes byte by byte is the same image."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    script = [head, *(chunk(PNG[at : at + 1]) for at in range(len(PNG))), b"0\r\n\r\n"]
    async with RawServer(script) as server, client_of(server) as client:
        assert (await client.download(away("/a.png"))).data == PNG
        assert (await client.download(away("/a.png"), into=tmp_path / "a")).data == PNG


async def test_a_data_url(linking: LocalImagesServer, tmp_path: Path) -> None:
    """The image itself: nobody is asked for it, and it is not kept twice."""
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    async with client_of(linking) as client:
        image = await client.download(away(url), into=tmp_path / "a")
        assert (image.data, image.url, image.path) == (PNG, None, tmp_path / "a.png")
        for bad in ("data:image/png;base64,A*B", "data:text/plain,hello", "data:image/png"):
            with pytest.raises(DownloadError, match="a data: URL") as caught:
                await client.download(away(bad))
            assert (caught.value.url, caught.value.response.image.url) == (None, bad)
        linking.script("data_url_answer")
        result = await client.generate(PROMPT, model=MODEL, into=tmp_path / "b")
        assert result.image.path == tmp_path / "b.png"
    assert linking.downloads == []


# What the error carries.


async def test_the_error_carries_all(linking: LocalImagesServer, tmp_path: Path) -> None:
    """One of three does not come: the others are there, and `download` fetches it later, under its own name."""
    linking.script("download_404")
    async with client_of(linking) as client:
        with pytest.raises(DownloadError, match="1 of 3 images could not be downloaded") as caught:
            await client.generate(PROMPT, model=MODEL, n=3, into=tmp_path / "otter")
        error = caught.value
        assert error.status_code == 404
        missing = [index for index, image in enumerate(error.response.images) if image.path is None]
        assert len(missing) == len(error.urls) == 1
        assert error.urls == (error.response.images[missing[0]].url,)
        assert len(parts(tmp_path)) == 2
        copy = pickle.loads(pickle.dumps(error))
        assert (copy.url, copy.response, str(copy)) == (error.url, error.response, str(error))
        result = await client.download(copy.response, into=tmp_path / "otter")
        assert [image.path for image in result.images] == [
            tmp_path / f"otter-{number}.png" for number in range(3)
        ]
        assert linking.posts == 1
        assert len(linking.downloads) == 4
    assert parts(tmp_path) == ["otter-0.png", "otter-1.png", "otter-2.png"]


async def test_a_signature_is_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """The query is in `url`, whole, and in no text, `repr` or log."""
    caplog.set_level("DEBUG")
    async with RawServer([reply(b"", status=404)]) as server, client_of(server) as client:
        url = f"http://127.0.0.1:{server.port}/a.png?sig=s3cr3t%2Bx"
        with pytest.raises(DownloadError) as caught:
            await client.download(ImageResult(images=(away(url),)))
    assert caught.value.url == url
    texts = str(caught.value) + repr(caught.value) + repr(caught.value.response) + caplog.text
    assert "s3cr3t" not in texts
    assert KEY not in texts
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_a_relative_url_is_told_whole(linking: LocalImagesServer) -> None:
    """Whoever fetches it by other means needs to know from where."""
    linking.always("download_404")
    async with client_of(linking) as client:
        with pytest.raises(DownloadError) as caught:
            await client.download(away("/v1/images/img_1/content?variant=0"))
    assert caught.value.url == linking.base_url.removesuffix("/v1") + "/v1/images/img_1/content?variant=0"
