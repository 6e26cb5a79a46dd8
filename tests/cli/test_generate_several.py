"""`openai-images generate --n 23`, and several images streamed: one command, whatever it takes to have them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images import ImageResult, ImagesClient
from openai_images.cli.progress import CallProgress
from tests.cli.conftest import Terminal, names
from tests.helpers.server_thread import serving
from tests.helpers.tcp_recorder import Answer, recording
from tests.helpers.tiny_images import text

PROMPT = "an otter on a raft"
Cli = Callable[..., Any]


def steps(err: str) -> list[str]:
    """The steps on stderr without times and bytes."""
    return [line[10:].partition(",")[0] for line in err.splitlines() if not line.startswith("cost: ")]


@pytest.fixture
def served(pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A server with faults, which the environment names."""

    def serve(**options: Any) -> Any:
        return serving(pictures=pictures, **options)

    return serve


def named(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the environment name it."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", server.api_key)


def test_twenty_three(cli: Cli, server: Any, empty_folder: Path) -> None:
    """All paths on stdout in their order, and no attempt is counted as a second one."""
    done = cli("generate", PROMPT, "--n", "23", "-o", "o")
    assert (done.code, done.out.splitlines()) == (0, [f"o-{number}.png" for number in range(23)])
    assert sorted(request.json["n"] for request in server.requests) == [3, 10, 10]
    assert steps(done.err) == [
        "connecting",
        "waiting for the first byte",
        "waiting for the first byte (2 requests sent)",
        "waiting for the first byte (3 requests sent)",
        "done",
    ]
    assert len(names(empty_folder)) == 23


def test_the_usage_is_that_of_all(cli: Cli, server: Any) -> None:
    """In the first JSON line, as of one request."""
    done = cli("generate", PROMPT, "--n", "12", "-o", "o", "--json", "-q")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["index"] for line in lines] == list(range(12))
    assert [line["usage"] is None for line in lines] == [False] + [True] * 11
    assert {line["attempts"] for line in lines} == {2}


def test_four_streamed(cli: Cli, server: Any, empty_folder: Path) -> None:
    """Partial images of all are counted together, finished images one by one; only these stay."""
    done = cli("generate", PROMPT, "--n", "4", "--partial-images", "2", "-o", "o.png")
    assert (done.code, done.out.splitlines()) == (0, [f"o-{number}.png" for number in range(4)])
    said = steps(done.err)
    assert [step for step in said if step.startswith("partial")] == [
        f"partial image {number} of 8" for number in range(1, 9)
    ]
    assert [step for step in said if step.startswith("image")] == [
        f"image {number} of 4" for number in range(1, 5)
    ]
    assert said[-1] == "done after 8 partial images"
    assert not any("attempt" in step for step in said)
    assert [request.json["n"] for request in server.requests] == [1] * 4
    assert names(empty_folder) == [f"o-{number}.png" for number in range(4)]


def test_partial_images_are_kept_when_asked(cli: Cli, server: Any, empty_folder: Path) -> None:
    """Each has the number of its image."""
    done = cli(
        "generate", PROMPT, "--n", "2", "--partial-images", "1", "--keep-partials", "-o", "o.png", "-q"
    )
    assert done.out == "o-0.png\no-1.png\n"
    assert names(empty_folder) == ["o-0.partial-0.png", "o-0.png", "o-1.partial-0.png", "o-1.png"]


def test_on_a_terminal(cli: Cli, server: Any) -> None:
    """The dots are the images, and the last line stays."""
    done = cli("generate", PROMPT, "--n", "3", "--partial-images", "1", "--no-preview", err=Terminal())
    assert done.code == 0
    assert "done after 3 partial images" in done.err


@pytest.mark.parametrize("streamed", [False, True])
def test_one_is_refused(
    cli: Cli,
    served: Callable[..., Any],
    empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    streamed: bool,
) -> None:
    """The good paths on stdout, what is missing on stderr, exit code 1."""
    argv = ["--n", "3", "--partial-images", "0"] if streamed else ["--n", "23"]
    with served(faults=["moderation_400"]) as server:
        named(server, monkeypatch)
        done = cli("generate", PROMPT, "-o", "o", "-q", *argv)
    assert done.code == 1
    assert sorted(done.out.splitlines()) == names(empty_folder)
    assert len(names(empty_folder)) in ((2,) if streamed else (13, 20))
    assert done.err.startswith("error: ")
    assert " images are missing; " in done.err or " images is missing; " in done.err
    assert "moderation_blocked" in done.err
    assert "billed" not in done.err


def test_one_is_refused_in_json(
    cli: Cli, served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each image, with the usage of those that came, and one for the error."""
    with served(faults=["reset_after_body"]) as server:
        named(server, monkeypatch)
        done = cli("generate", PROMPT, "--n", "20", "-o", "o", "-q", "--json")
    *lines, error = (json.loads(line) for line in done.out.splitlines())
    assert (done.code, len(lines)) == (1, 10)
    assert lines[0]["usage"]["total_tokens"] > 0
    assert (error["error"]["type"], error["error"]["maybe_billed"]) == ("PartialResultError", True)
    assert error["error"]["message"].startswith("10 of 20 images are missing; the 10 received are in")
    assert error["attempts"] == 2


def test_all_are_refused(cli: Cli, served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One error, and that it was all of them."""
    with served(always="status:500") as server:
        named(server, monkeypatch)
        done = cli("generate", PROMPT, "--n", "23", "-q")
    assert (done.code, done.out) == (1, "")
    assert "all 3 requests for the 23 images failed: 3 x ServerOutcomeUnknownError" in done.err
    assert "billed" in done.err


def test_too_many(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip of the finger is a usage error, and nothing is sent."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
    done = cli("generate", PROMPT, "--n", "100000", "-q")
    assert (done.code, done.out) == (2, "")
    assert "1 to 1,000" in done.err


@pytest.mark.parametrize(
    ("after", "said", "billed"),
    [
        (1, "interrupted: 1 of 3 images were finished, and the other ones may be billed", True),
        (3, "interrupted: the images were finished", False),
    ],
)
def test_interrupted_in_the_middle(
    cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch, after: int, said: str, *, billed: bool
) -> None:
    """Those that are finished are on stdout, and the others may cost money."""
    seen = 0

    def completed(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(CallProgress, "add_image", completed)
    done = cli("generate", PROMPT, "--n", "3", "--partial-images", "0", "-o", "o", "--json", "-q")
    *lines, error = (json.loads(line) for line in done.out.splitlines())
    assert (done.code, len(lines), error["error"]["message"]) == (130, after, said)
    assert error["error"]["maybe_billed"] is billed


async def interrupted(client: ImagesClient, *_: Any, **__: Any) -> ImageResult:
    """Ctrl-C while the requests are in flight."""
    await client._endpoint.current().headers(None)
    raise KeyboardInterrupt


def test_interrupted_without_a_stream(cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was finished lies where it should, although no path is known."""
    monkeypatch.setattr(ImagesClient, "generate", interrupted)
    done = cli("generate", PROMPT, "--n", "23", "-o", "o", "-q")
    assert (done.code, done.out) == (130, "")
    assert "requests were sent and may be billed; images that were finished are in '.'" in done.err


def answered(*items: Any) -> Answer:
    """What a server answers."""
    return Answer(json.dumps({"created": 1, "data": items}).encode())


def test_fewer_than_asked_for(cli: Cli, monkeypatch: pytest.MonkeyPatch, empty_folder: Path) -> None:
    """What came is on stdout, what did not on stderr with the server's reason, and the exit code is 1."""
    reason = {"error": {"code": "moderation_blocked", "message": "the output may hold sensitive things"}}
    with recording(answered({"b64_json": text("A")}, reason)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        done = cli("generate", PROMPT, "--n", "3", "-o", "o")
    assert (done.code, done.out.splitlines()) == (1, ["o-0.gif"])
    assert "2 of 3 images are missing" in done.err
    assert "the output may hold sensitive things" in done.err
    assert "no image came" not in done.err
    assert names(empty_folder) == ["o-0.gif"]


def test_what_is_no_picture(cli: Cli, monkeypatch: pytest.MonkeyPatch, empty_folder: Path) -> None:
    """It is kept in a file that says so, which is on stderr and not on stdout."""
    with recording(answered({"b64_json": text("A")[:16]})) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        done = cli("generate", PROMPT, "-o", "o")
    assert (done.code, done.out) == (1, "")
    assert "data came instead of an image (truncated); it is kept in 'o.damaged.gif'" in done.err
    assert names(empty_folder) == ["o.damaged.gif"]
