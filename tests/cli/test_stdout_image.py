"""`-o -`: one image on stdout, and nothing else; and what a call cost, on stderr and in JSON."""

import errno
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from openai_images import Image, ImageResult, ImagesClient, Usage
from openai_images.cli import main
from openai_images.cli.console import Console
from openai_images.cli.image_reporter import ImageReporter, cost_note
from tests.cli.conftest import Terminal, names

Cli = Callable[..., Any]
COMMAND = [sys.executable, "-m", "openai_images"]


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


class Bytes(io.TextIOWrapper):
    """A stdout with bytes behind it."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.data = self.buffer


def run(*argv: str) -> tuple[int, bytes, str]:
    """Exit code, bytes on stdout, text on stderr."""
    out, err = Bytes(), io.StringIO()
    code = main(argv, out, err)
    out.flush()
    data: Any = out.buffer
    return code, data.getvalue(), err.getvalue()


@pytest.mark.parametrize("more", [[], ["--partial-images", "1"], ["--format", "jpeg"]])
def test_the_picture_is_all_of_stdout(
    server: Any, empty_folder: Path, temporary: Path, pictures: dict[str, bytes], more: list[str]
) -> None:
    """No path, no file is left, and stderr says what it cost."""
    code, data, err = run("generate", "x", "-o", "-", *more)
    assert (code, data) == (0, pictures["jpeg" if "jpeg" in more else "png"])
    assert (names(empty_folder), names(temporary)) == ([], [])
    assert err.splitlines()[-1].startswith("cost: $0.")


def test_an_edit_on_stdout(server: Any, pictures: dict[str, bytes]) -> None:
    """As `generate` does."""
    Path("a.png").write_bytes(pictures["png"])
    assert run("edit", "a.png", "-p", "x", "-o", "-", "-q") == (0, pictures["png"], "")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["-n", "2"], "-o - writes one image; leave --n out, or name a file."),
        (["--json"], "-o - needs stdout for the image; leave --json out"),
        (
            ["--partial-images", "2", "--keep-partials"],
            "-o - writes the finished image only; leave --keep-p",
        ),
    ],
)
def test_what_does_not_go_with_it(server: Any, argv: list[str], said: str) -> None:
    """A sentence, exit code 2, nothing sent."""
    code, data, err = run("generate", "x", "-o", "-", *argv)
    assert (code, data, server.posts) == (2, b"", 0)
    assert said in err


@pytest.mark.parametrize(
    ("out", "said"), [(Terminal(), "stdout is a terminal"), (io.StringIO(), "takes only text")]
)
def test_a_stdout_that_is_no_place_for_a_picture(server: Any, out: io.StringIO, said: str) -> None:
    """It would be unreadable there, or lost: it is said before anything is paid for."""
    err = io.StringIO()
    assert (main(["generate", "x", "-o", "-"], out, err), server.posts) == (2, 0)
    assert said in err.getvalue()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_loses_no_picture(server: Any, temporary: Path, pictures: dict[str, bytes]) -> None:
    """It is kept, stderr says where, and the exit code is 1."""
    with suppress(OSError), Path("/dev/full").open("w") as out:
        err = io.StringIO()
        assert main(["generate", "x", "-o", "-", "-q"], out, err) == 1
    (kept,) = temporary.glob("*/*.png")
    assert kept.read_bytes() == pictures["png"]
    assert err.getvalue() == (
        f"warning: stdout is closed; the image is {str(kept)!r}\n"
        "error: stdout could not be written: No space left on device\n"
    )


def test_a_failure_leaves_stdout_empty(server: Any, temporary: Path) -> None:
    """And no folder; a finished image that an error carries is named on stderr."""
    server.always("status:500")
    assert run("generate", "x", "-o", "-", "-q")[:2] == (1, b"")
    server.always("cut_mid_event")
    code, data, _ = run("generate", "x", "-o", "-", "--partial-images", "1", "-q")
    assert (code, data, names(temporary)) == (1, b"", [])


def test_a_closed_stdout_is_said_first(server: Any) -> None:
    """By a shell that took it away."""
    done = subprocess.run(
        " ".join([*COMMAND, "generate x -o - >&-"]), check=False, shell=True, capture_output=True, timeout=60
    )
    assert (done.returncode, server.posts) == (2, 0)
    assert b"-o - writes to stdout, which is closed" in done.stderr


def test_json_has_the_prompt_and_the_cost(cli: Cli, server: Any) -> None:
    """Prompt, model, cost, tokens and seconds; what is the whole call's stands in the first line only."""
    done = cli("generate", "a heron", "-n", "2", "--json", "-q", "-o", "o")
    first, second = (json.loads(line) for line in done.out.splitlines())
    assert (
        (first["prompt"], first["model"]) == ("a heron", "gpt-image-2") == (second["prompt"], second["model"])
    )
    assert (first["tokens"], first["seconds"]) == (first["usage"]["total_tokens"], first["elapsed"])
    assert 0 < float(first["cost"]) < 1
    assert [second[name] for name in ("usage", "cost", "tokens")] == [None] * 3
    assert second["seconds"] == first["seconds"]


def test_a_local_picture_costs_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The price of a model is not passed off as a bill."""
    result = made(output_tokens=272)
    assert (
        cost_note(result, is_local=True)
        == "cost: nothing; gpt-image-2 would take $0.0082 (272 output tokens), 1.9 s"
    )

    async def generate(*_: object, **__: object) -> ImageResult:
        return made(output_tokens=None)

    monkeypatch.setattr(ImagesClient, "generate", generate)
    assert cli("generate", "x", "--local").err.splitlines()[-1] == "cost: nothing, 1.9 s"


def made(output_tokens: int | None, model: str = "gpt-image-2") -> ImageResult:
    """A result with this usage."""
    usage = None if output_tokens is None else Usage(input_tokens=9, output_tokens=output_tokens)
    return ImageResult((Image.from_bytes(b"GIF89a"),), usage=usage, model=model, elapsed=1.9)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (made(272), "cost: $0.0082 (272 output tokens), 1.9 s"),
        (made(1), "cost: under $0.0001 (1 output token), 1.9 s"),
        (made(272, "mine"), "cost: unknown (272 output tokens; no price is known for 'mine'), 1.9 s"),
        (made(None), "cost: unknown (the server sent no token counts), 1.9 s"),
        (made(2 * 10**9), "cost: unknown (the server's token counts are not sufficient), 1.9 s"),
    ],
)
def test_what_is_said_of_the_cost(result: ImageResult, said: str) -> None:
    """Never zero for what nobody knows."""
    assert cost_note(result, is_local=False) == said


def reporter(out: io.TextIOWrapper, err: io.StringIO, *, to_stdout: bool) -> ImageReporter:
    """One whose images are all in memory, as when their files could not be written."""
    return ImageReporter(Console(out, err), Path("o"), "x", is_local=False, to_stdout=to_stdout)


def test_an_image_in_memory_needs_no_file(temporary: Path, pictures: dict[str, bytes]) -> None:
    """Its bytes go to stdout, and nothing is said of a folder."""
    out, err = Bytes(), io.StringIO()
    result = ImageResult((Image.from_bytes(pictures["png"]),))
    assert reporter(out, err, to_stdout=True).report_result(result) == 0
    data: Any = out.data
    assert (data.getvalue(), names(temporary)) == (pictures["png"], [])
    assert temporary.name not in err.getvalue()


def test_an_image_that_fits_nowhere(pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says what is lost, and goes on."""

    def full(**_: str) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    out, err = Bytes(), io.StringIO()
    assert reporter(out, err, to_stdout=False).report_images([Image.from_bytes(pictures["png"])]) == 1
    assert err.getvalue().startswith("error: cannot write to 'o', nor to a temporary folder: No space left")
