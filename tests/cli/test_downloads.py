"""Servers that answer with URLs: the command line gives files, or says where an image is that is paid for."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import names
from tests.helpers.server_thread import serving

PROMPT = "a cute baby sea otter"
Cli = Callable[..., Any]


@pytest.fixture
def server(pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The server that the environment names, which answers with URLs."""
    with serving(pictures=pictures, picture_links="relative") as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", running.api_key)
        yield running


@pytest.mark.parametrize("more", [(), ("--partial-images", "2")])
def test_a_file_all_the_same(
    more: tuple[str, ...], cli: Cli, server: Any, empty_folder: Path, pictures: dict[str, bytes]
) -> None:
    """Nobody need know that the server answered with a URL."""
    assert cli("generate", PROMPT, "-o", "otter.png", "-q", *more) == (0, "otter.png\n", "")
    assert (empty_folder / "otter.png").read_bytes() == pictures["png"]
    assert (server.posts, len(server.downloads)) == (1, 1)


@pytest.mark.parametrize("more", [(), ("--partial-images", "0")])
def test_a_picture_that_cannot_be_fetched(
    more: tuple[str, ...], cli: Cli, server: Any, empty_folder: Path
) -> None:
    """It is paid for: its whole address is said, and nothing was sent again."""
    server.always("download_404")
    done = cli("generate", PROMPT, "-o", "otter.png", "-q", *more)
    assert (done.code, done.out) == (1, "")
    url = server.base_url.removesuffix("/v1") + server.downloads[0].path
    assert "?" in url
    lines = [line.strip() for line in done.err.splitlines()]
    assert lines[0].startswith("error: the image could not be downloaded from http://127.0.0.1:")
    assert "status 404" in lines[0]
    assert lines[1] == "It is paid for, so nothing was sent again. Fetch it soon, as such URLs expire:"
    assert lines[2] == url
    assert "may have been billed" not in done.err
    assert "error.response" not in done.err
    assert server.posts == 1
    assert names(empty_folder) == []


def test_some_of_several(cli: Cli, server: Any, empty_folder: Path) -> None:
    """What came is on stdout, and what did not as JSON with its address."""
    server.script("download_404")
    done = cli("generate", PROMPT, "-o", "otter.png", "--n", "3", "--json")
    assert done.code == 1
    *images, failure = [json.loads(line) for line in done.out.splitlines()]
    assert len(images) == len(names(empty_folder)) == 2
    assert failure["error"]["type"] == "DownloadError"
    (url,) = failure["error"]["urls"]
    assert url.startswith("http://127.0.0.1:")
    assert url in done.err
    assert server.posts == 1


def test_a_batch(cli: Cli, server: Any, empty_folder: Path) -> None:
    """What could not be fetched is said, the next run fetches it, and nothing is sent twice."""
    (empty_folder / "prompts.txt").write_text("an otter\na fox\n")
    argv = ("batch", "prompts.txt", "--out", "out", "--quality", "low", "--size", "1024x1024")
    server.script("download_404")
    done = cli(*argv, "--concurrency", "1")
    assert done.code == 1
    assert done.out == "out/images/00002.png\n"
    assert "away 00001 (an otter): the image could not be downloaded" in done.err
    assert "1 of 2 requests done, 1 behind a URL" in done.err
    assert "images that are not downloaded yet are paid for: run the same command again" in done.err
    assert "may have been billed" not in done.err
    again = cli(*argv)
    assert (again.code, again.out) == (0, "out/images/00001.png\n")
    assert "resuming: 1 done, 1 behind a URL (paid for; fetched now)" in again.err
    assert "estimated cost" not in again.err
    assert "2 of 2 requests done" in again.err
    assert server.posts == 2


def test_a_batch_as_json(cli: Cli, server: Any, empty_folder: Path) -> None:
    """The plan, each outcome and the end say what is behind a URL."""
    (empty_folder / "prompts.txt").write_text("an otter\n")
    argv = ("batch", "prompts.txt", "--out", "out", "--json")
    server.always("download_404")
    cli(*argv)
    done = cli(*argv, "--retry-unknown")
    plan, failed, summary = [json.loads(line) for line in done.out.splitlines()]
    assert (plan["plan"]["away"], plan["plan"]["to_send"]) == (1, 1)
    assert (failed["state"], failed["error"]["type"]) == ("away", "DownloadError")
    assert failed["error"]["urls"][0].startswith("http://127.0.0.1:")
    assert (summary["summary"]["away"], summary["summary"]["failed"]) == (1, 0)
    assert "sent again if that fails" in done.err
    assert server.posts == 2
