"""`openai-images generate`, from the words typed to the files written."""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images import Image, ImageResult, ImagesClient
from tests.helpers.server_thread import serving

PROMPT = "a cute baby sea otter"
Cli = Callable[..., Any]


def names(folder: Path) -> list[str]:
    """What is in a folder, hidden files included."""
    return sorted(path.name for path in folder.iterdir())


def test_a_path_on_stdout_and_progress_on_stderr(
    cli: Cli, server: Any, empty_folder: Path, pictures: dict[str, bytes]
) -> None:
    """Without options: one image, named after the prompt; stderr holds no control codes."""
    done = cli("generate", PROMPT)
    assert (done.code, done.out) == (0, "a-cute-baby-sea-otter.png\n")
    *steps, cost = done.err.splitlines()
    assert re.fullmatch(r"cost: \$0\.\d{4} \(\d+ output tokens\), \d+\.\d s", cost)
    assert [line[10:] for line in steps] == [
        "connecting",
        "waiting for the first byte",
        f"done, {len(pictures['png'])} bytes",
    ]
    assert (empty_folder / "a-cute-baby-sea-otter.png").read_bytes() == pictures["png"]
    assert server.requests[0].json == {"prompt": PROMPT, "model": "gpt-image-2"}


def test_every_option_travels(cli: Cli, server: Any, empty_folder: Path) -> None:
    """What was typed is what is sent, and nothing else."""
    argv = [
        "generate",
        "x",
        "-o",
        "out/",
        "--n",
        "2",
        "--size",
        "1024x1536",
        "--quality",
        "high",
        "--model",
        "gpt-image-2.6-flare",
        "--format",
        "webp",
    ]
    done = cli(*argv, "--background", "transparent", "--compression", "70", "--moderation", "low", "--quiet")
    assert done == (0, "out/x-0.webp\nout/x-1.webp\n", "")
    assert server.requests[0].json == {
        "prompt": "x",
        "model": "gpt-image-2.6-flare",
        "n": 2,
        "size": "1024x1536",
        "quality": "high",
        "background": "transparent",
        "output_format": "webp",
        "output_compression": 70,
        "moderation": "low",
    }
    assert names(empty_folder / "out") == ["x-0.webp", "x-1.webp"]


@pytest.mark.parametrize(("file", "asked"), [("o.jpg", "jpeg"), ("o.webp", "webp"), ("o.png", "png")])
def test_the_suffix_of_the_file_asks_for_its_format(cli: Cli, server: Any, file: str, asked: str) -> None:
    """`-o otter.jpg` gives a JPEG."""
    assert cli("generate", PROMPT, "-o", file, "-q") == (0, f"{file}\n", "")
    assert server.requests[0].json["output_format"] == asked


def test_nothing_is_overwritten_unless_asked(cli: Cli, server: Any, empty_folder: Path) -> None:
    """The second image gets -2; with --overwrite it takes the place of the first."""
    (empty_folder / "o.png").write_text("mine")
    assert cli("generate", PROMPT, "-o", "o.png", "-q").out == "o-2.png\n"
    assert (empty_folder / "o.png").read_text() == "mine"
    assert cli("generate", PROMPT, "-o", "o.png", "-q", "--overwrite").out == "o.png\n"
    assert names(empty_folder) == ["o-2.png", "o.png"]


def test_the_prompt_from_stdin(cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` reads it, however long it is."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"  {PROMPT}\n\nwith words\n"))
    assert cli("generate", "-", "-o", "o", "-q").code == 0
    assert server.requests[0].json["prompt"] == f"{PROMPT}\n\nwith words"


def test_partial_images_are_streamed_and_gone(cli: Cli, server: Any, empty_folder: Path) -> None:
    """Each is a step on stderr; only the image stays."""
    done = cli("generate", PROMPT, "--partial-images", "3", "-o", "o.png")
    assert (done.code, done.out) == (0, "o.png\n")
    steps = [line[10:] for line in done.err.splitlines()[:-1]]
    assert [step.partition(",")[0] for step in steps] == [
        "connecting",
        "waiting for the first byte",
        "waiting for the first partial image",
        "partial image 1 of 3",
        "partial image 2 of 3",
        "partial image 3 of 3",
        "done after 3 partial images",
    ]
    assert server.requests[0].json["stream"] is True
    assert names(empty_folder) == ["o.png"]


def test_partial_images_are_kept_when_asked(cli: Cli, server: Any, empty_folder: Path) -> None:
    """They lie beside the image."""
    assert (
        cli("generate", PROMPT, "--partial-images", "2", "--keep-partials", "-o", "o.png", "-q").out
        == "o.png\n"
    )
    assert names(empty_folder) == ["o.partial-0.png", "o.partial-1.png", "o.png"]


@pytest.mark.parametrize("n", [1, 2])
def test_a_step_has_the_size_of_its_image(cli: Cli, server: Any, empty_folder: Path, n: int) -> None:
    """Not of everything so far: a last step with fewer bytes than the one before it would be odd."""
    done = cli("generate", PROMPT, "--partial-images", "2", "--keep-partials", "-n", str(n), "-o", "o.png")
    steps = re.findall(r"(?:image \d of \d|done after .*), (\d+) bytes", done.err)
    sizes = {str(path.stat().st_size) for path in empty_folder.iterdir()}
    assert ({*steps[:-1]}, len(steps)) == (sizes, 3 if n == 1 else 7)
    assert steps[-1] == str(
        sum(path.stat().st_size for path in empty_folder.glob("o*.png") if "partial" not in path.name)
    )


def test_partial_images_of_before_stay(cli: Cli, server: Any, empty_folder: Path) -> None:
    """Only what came with this call is removed."""
    (empty_folder / "o.partial-0.png").write_text("mine")
    assert cli("generate", PROMPT, "--partial-images", "1", "-o", "o.png", "-q").code == 0
    assert names(empty_folder) == ["o.partial-0.png", "o.png"]
    assert (empty_folder / "o.partial-0.png").read_text() == "mine"


def test_a_stream_without_partial_images(cli: Cli, server: Any, empty_folder: Path) -> None:
    """`--partial-images 0` streams the image alone."""
    done = cli("generate", PROMPT, "--partial-images", "0", "-o", "o.png")
    assert (done.code, done.out) == (0, "o.png\n")
    assert "waiting for the image" in done.err
    assert (server.requests[0].json["stream"], names(empty_folder)) == (True, ["o.png"])


def test_json_lines(cli: Cli, server: Any, empty_folder: Path, pictures: dict[str, bytes]) -> None:
    """A line for each image; the usage is the call's and stands in the first."""
    done = cli("generate", PROMPT, "--n", "2", "--json", "-q", "-o", "o")
    first, second = (json.loads(line) for line in done.out.splitlines())
    assert (done.code, done.err) == (0, "")
    assert first["path"] == "o-0.png"
    assert (first["media_type"], first["width"], first["height"]) == ("image/png", 48, 32)
    assert first["bytes"] == len(pictures["png"])
    assert first["sha256"] == hashlib.sha256(pictures["png"]).hexdigest()
    assert first["usage"]["total_tokens"] > 0
    assert "extra" not in first["usage"]
    assert (first["request_id"], first["attempts"]) == (second["request_id"], 1)
    assert (second["index"], second["path"], second["usage"]) == (1, "o-1.png", None)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["", "-q"], "the prompt is empty"),
        (["x", "-o", "a.jpg", "--format", "png"], "-o ends in .jpg, but --format says png"),
        (["x", "--keep-partials"], "--keep-partials needs --partial-images"),
        (["x", "--local", "--base-url", "http://127.0.0.1"], "leave --base-url out"),
    ],
)
def test_contradictions_are_said_before_anything_is_sent(
    cli: Cli, server: Any, empty_folder: Path, argv: list[str], said: str
) -> None:
    """Exit code 2, nothing on stdout, nothing sent, nothing written."""
    done = cli("generate", *argv)
    assert (done.code, done.out, server.posts, names(empty_folder)) == (2, "", 0, [])
    assert said in done.err


def test_a_path_that_cannot_be_written_is_found_first(cli: Cli, server: Any, empty_folder: Path) -> None:
    """Exit code 2, and nothing was paid for."""
    (empty_folder / "file").write_text("")
    done = cli("generate", PROMPT, "-o", "file/o.png", "-q")
    assert (done.code, done.out, server.posts) == (2, "", 0)
    assert done.err.startswith("error: cannot write to 'file/o.png': ")
    assert "Nothing was sent." in done.err


def test_without_a_key_nothing_is_painted(cli: Cli, empty_folder: Path) -> None:
    """It says which two ways there are."""
    done = cli("generate", PROMPT)
    assert (done.code, done.out, names(empty_folder)) == (2, "", [])
    assert "OPENAI_API_KEY" in done.err
    assert "--local" in done.err


def test_a_local_stand_in_says_so(cli: Cli, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs neither key nor network, and a key in the environment stays there."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    done = cli("generate", PROMPT, "--local", "--size", "1024x640", "-o", "otter.jpg")
    assert (done.code, done.out) == (0, "otter.jpg\n")
    assert done.err.startswith("local placeholder image: ")
    assert (empty_folder / "otter.jpg").read_bytes().startswith(b"\xff\xd8\xff")


def test_an_unusable_base_url(cli: Cli, server: Any) -> None:
    """Configuration, so exit code 2."""
    done = cli("generate", PROMPT, "--base-url", "localhost")
    assert (done.code, done.out) == (2, "")
    assert "base_url" in done.err


def test_a_server_that_is_not_there(cli: Cli, server: Any) -> None:
    """The address is said, and that nothing was sent."""
    done = cli("generate", PROMPT, "--base-url", "http://127.0.0.1:1/v1", "-q")
    assert (done.code, done.out, server.posts) == (1, "", 0)
    assert "no connection could be made" in done.err
    assert "--base-url" in done.err


def test_a_finished_picture_is_reported_although_the_call_failed(
    cli: Cli, empty_folder: Path, pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two images were asked for and the answer breaks in the second: the first was paid for."""
    with serving(pictures=pictures, faults=["cut_mid_event"]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        done = cli("generate", PROMPT, "--n", "3", "-o", "o", "-q")
    assert done.code == 1
    assert done.out.splitlines() == names(empty_folder)
    assert "may have been billed" in done.err


def test_what_cannot_be_written_is_saved_elsewhere(
    cli: Cli,
    server: Any,
    empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A disk that fails at the last moment does not lose an image that is paid for."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    real = os.link

    def full(source: Path, target: Path) -> None:
        if Path(target).is_relative_to(elsewhere):
            real(source, target)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(
        Path,
        "replace",
        lambda self, target: self.rename(target) if elsewhere in self.parents else full(self, target),
    )
    done = cli("generate", PROMPT, "-o", "o.png", "-q")
    assert done.code == 0
    assert Path(done.out.strip()).is_relative_to(elsewhere)
    assert "could not be written" in done.err
    assert [path.name for path in empty_folder.iterdir() if path.name.endswith(".part")] == []


async def answer_with_url(*_: Any, **__: Any) -> ImageResult:
    """A server that keeps its images."""
    return ImageResult((Image(url="https://example.com/o.png"),))


def test_a_picture_behind_a_url_is_not_passed_off_as_a_file(
    cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it can be fetched is said, and stdout stays a list of files."""
    monkeypatch.setattr(ImagesClient, "generate", answer_with_url)
    done = cli("generate", PROMPT, "-q")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: a paid image was not fetched")
    assert "https://example.com/o.png\n" in done.err


def test_a_finished_picture_is_reported_although_interrupted(
    cli: Cli, server: Any, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while it is being shown comes too late to lose it."""

    async def show(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("openai_images.cli.progress.PlainProgress.show", show)
    done = cli("generate", PROMPT, "--partial-images", "0", "-o", "o.png")
    assert (done.code, done.out) == (130, "o.png\n")
    assert done.err.splitlines()[-1] == "error: interrupted: the image was finished"
    assert names(empty_folder) == ["o.png"]


def test_verbose_logs_what_the_client_does(cli: Cli, server: Any) -> None:
    """Attempts and statuses; never the key nor the prompt."""
    done = cli("generate", PROMPT, "-v", "-o", "o.png")
    assert done.code == 0
    assert "openai_images: attempt 1: status 200" in done.err
    assert server.api_key not in done.err
    assert PROMPT not in done.err
