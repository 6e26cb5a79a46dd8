"""`openai-images edit`, from the words typed to the requests sent and the files written."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images import ImagesClient
from tests.cli.conftest import names
from tests.helpers.server_thread import serving

PROMPT = "make it night"
Cli = Callable[..., Any]


@pytest.fixture
def otter(empty_folder: Path, pictures: dict[str, bytes]) -> str:
    """An image in the current folder."""
    (empty_folder / "otter.png").write_bytes(pictures["png"])
    return "otter.png"


@pytest.fixture
def mask(empty_folder: Path) -> str:
    """A mask of its size, transparent everywhere."""
    return layer(empty_folder / "mask.png", (48, 32))


def layer(path: Path, size: tuple[int, int]) -> str:
    """A transparent PNG."""
    from PIL import Image

    Image.new("RGBA", size).save(path)
    return path.name


class Edits:
    """What `client.edit` and `client.stream_edit` were asked for, and would have sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[dict[str, Any]] = []
        real = ImagesClient.edit

        async def edit(client: ImagesClient, prompt: str, **params: Any) -> Any:
            self.asked.append({"prompt": prompt, **params})
            return await real(client, prompt, **params)

        monkeypatch.setattr(ImagesClient, "edit", edit)


@pytest.fixture
def edits(monkeypatch: pytest.MonkeyPatch) -> Edits:
    """Listens to the client."""
    return Edits(monkeypatch)


def stdin_of(data: bytes) -> io.TextIOWrapper:
    """A stdin that holds bytes."""
    return io.TextIOWrapper(io.BytesIO(data))


def test_a_path_on_stdout_and_progress_on_stderr(cli: Cli, server: Any, otter: str) -> None:
    """One image is sent as a form; its result is named after the prompt."""
    done = cli("edit", otter, "--prompt", PROMPT)
    assert (done.code, done.out) == (0, "make-it-night.png\n")
    assert [line[10:].partition(",")[0] for line in done.err.splitlines()[:-1]] == [
        "connecting",
        "sending",
        "done",
    ]
    assert done.err.splitlines()[-1].startswith("cost: $0.0")
    assert server.requests[0].path == "/v1/images/edits"
    assert names(Path()) == ["make-it-night.png", otter]


def test_every_option_travels(
    cli: Cli, pictures: Any, otter: str, mask: str, edits: Edits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was typed is what is asked for, and nothing else; a server may still have a model that has ended."""
    options = {
        "-p": PROMPT,
        "--mask": mask,
        "--input-fidelity": "high",
        "-o": "out/night.webp",
        "--n": "2",
        "--size": "1024x1536",
        "--quality": "high",
        "--model": "gpt-image-1.5",
        "--background": "opaque",
        "--compression": "70",
        "--moderation": "low",
    }
    with serving(pictures=pictures, legacy=True) as old:
        monkeypatch.setenv("OPENAI_BASE_URL", old.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", old.api_key)
        done = cli("edit", otter, otter, "-q", *(word for pair in options.items() for word in pair))
    assert done == (0, "out/night-0.webp\nout/night-1.webp\n", "")
    assert edits.asked == [
        {
            "prompt": PROMPT,
            "image": [otter, otter],
            "mask": mask,
            "input_fidelity": "high",
            "into": Path("out/night.webp"),
            "overwrite": False,
            "n": 2,
            "size": "1024x1536",
            "quality": "high",
            "model": "gpt-image-1.5",
            "background": "opaque",
            "output_format": "webp",
            "output_compression": 70,
            "moderation": "low",
        }
    ]


def test_a_markup_travels(cli: Cli, server: Any, otter: str, mask: str, edits: Edits) -> None:
    """It is the other layer."""
    assert (
        cli("edit", otter, "-p", PROMPT, "--markup", mask, "--model", "gpt-image-2.5-flare", "-q").code == 0
    )
    assert edits.asked[0]["markup"] == mask
    assert "mask" not in edits.asked[0]


def test_partial_images_are_streamed(cli: Cli, server: Any, otter: str, empty_folder: Path) -> None:
    """Each is a step on stderr, and a file where that was asked for."""
    done = cli("edit", otter, "-p", PROMPT, "--partial-images", "2", "--keep-partials", "-o", "night.png")
    assert (done.code, done.out) == (0, "night.png\n")
    assert "partial image 2 of 2" in done.err
    assert "done after 2 partial images" in done.err
    assert names(empty_folder) == ["night.partial-0.png", "night.partial-1.png", "night.png", otter]


def test_json_lines(cli: Cli, server: Any, otter: str) -> None:
    """As those of `generate`."""
    done = cli("edit", otter, "-p", PROMPT, "--json", "-q")
    line = json.loads(done.out)
    assert (line["path"], line["attempts"]) == ("make-it-night.png", 1)
    assert line["usage"]["input_tokens_details"]["image_tokens"] > 0


def test_its_own_picture_is_replaced_when_asked(cli: Cli, server: Any, otter: str, pictures: Any) -> None:
    """What is read while it is sent is not written before the answer is whole."""
    assert cli("edit", otter, "-p", PROMPT, "-o", otter, "-q").out == "otter-2.png\n"
    assert cli("edit", otter, "-p", PROMPT, "-o", otter, "-q", "--overwrite").out == "otter.png\n"
    assert server.posts == 2


@pytest.mark.parametrize("typed", ["--prompt", "IMAGE", "--mask"])
def test_stdin_once(
    cli: Cli, server: Any, otter: str, mask: str, edits: Edits, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    """It may be the prompt or any one image."""
    argv = {
        "--prompt": ["edit", otter, "-p", "-"],
        "IMAGE": ["edit", otter, "-", "-p", PROMPT],
        "--mask": ["edit", otter, "--mask", "-", "-p", PROMPT],
    }[typed]
    data = {"--prompt": PROMPT.encode(), "IMAGE": Path(otter).read_bytes(), "--mask": Path(mask).read_bytes()}
    monkeypatch.setattr("sys.stdin", stdin_of(data[typed]))
    assert cli(*argv, "-q", "--model", "gpt-image-2.6-flare") == (0, "make-it-night.png\n", "")
    assert edits.asked[0]["prompt"] == PROMPT
    assert {
        "--prompt": edits.asked[0]["image"] == [otter],
        "IMAGE": edits.asked[0]["image"] == [otter, data[typed]],
        "--mask": edits.asked[0].get("mask") == data[typed],
    }[typed]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes")
def test_the_pipe_of_a_shell(cli: Cli, server: Any, otter: str) -> None:
    """`openai-images edit <(convert …)`: a path that can be read once."""
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(Path(otter).read_bytes()))
    writer.start()
    done = cli("edit", "pipe", "-p", PROMPT, "-q")
    writer.join(10)
    assert (done.code, done.out) == (0, "make-it-night.png\n")


def test_a_url_is_the_servers_to_fetch(cli: Cli, server: Any, otter: str) -> None:
    """The request is JSON then, with the other image in it."""
    url = "https://pictures.example/a.png?signature=s"
    assert cli("edit", url, otter, "-p", PROMPT, "-q").code == 0
    first, second = server.requests[0].json["images"]
    assert first == {"image_url": url}
    assert second["image_url"].startswith("data:image/png;base64,")


def test_a_local_stand_in(cli: Cli, otter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs no key, and says what it is."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = cli("edit", otter, "-p", PROMPT, "--local", "--size", "1024x640", "-o", "night.jpg")
    assert (done.code, done.out) == (0, "night.jpg\n")
    assert done.err.startswith("local placeholder image: ")
    assert Path("night.jpg").read_bytes().startswith(b"\xff\xd8\xff")


TWICE = "- is stdin, which can be read only once, but it is given more than once."


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "Missing argument 'IMAGE...'."),
        (["otter.png"], "the prompt is missing: --prompt TEXT is the prompt of the edit."),
        (
            ["otter.png", "-p", "  "],
            "the prompt is missing: --prompt TEXT is the prompt of the edit.",
        ),
        (
            ["otter.png", PROMPT],
            (
                "the prompt is missing: --prompt TEXT is the prompt of the edit. 'make it night' is not a file; "
                "did you mean it?"
            ),
        ),
        (
            ["a.png", PROMPT],
            (
                "the prompt is missing: --prompt TEXT is the prompt of the edit. 'make it night' is not a file; "
                "did you mean it? There is no such image: 'a.png'."
            ),
        ),
        (["a.png", "otter.png", "b.png", "-p", "x"], "there is no such image: 'a.png', 'b.png'."),
        (["otter.png", "--mask", "m.png", "-p", "x"], "there is no such image: 'm.png'."),
        (["otter.png", "", "-p", "x"], "there is no such image: ''."),
        (["x" * 5000, "-p", "x"], "there is no such image: 'xxx"),
        (["otter.png", ".", "-p", "x"], "a folder is not an image; name the images in it: '.'."),
        (["-", "-", "-p", "x"], TWICE),
        (["-", "-p", "-"], TWICE),
        (["otter.png", "--mask", "-", "--markup", "-", "-p", "x"], TWICE),
        (
            ["otter.png", "-p", "x", "-o", "a.jpg", "--format", "png"],
            "-o ends in .jpg, but --format says png",
        ),
    ],
)
def test_what_is_said_before_anything_is_sent(
    cli: Cli, server: Any, otter: str, argv: list[str], said: str
) -> None:
    """Exit code 2, nothing on stdout, nothing sent, nothing written."""
    done = cli("edit", *argv)
    assert (done.code, done.out, server.posts, names(Path())) == (2, "", 0, [otter])
    assert f"Error: {said}" in done.err


class Typing(io.StringIO):
    """A stdin at which somebody sits."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.mark.parametrize("stdin", [Typing(), None], ids=["terminal", "closed"])
def test_a_stdin_without_a_picture(
    cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch, stdin: Any
) -> None:
    """Nobody types an image: that is said instead of waiting for it."""
    monkeypatch.setattr("sys.stdin", stdin)
    done = cli("edit", "-", "-p", PROMPT)
    assert (done.code, done.out, server.posts) == (2, "", 0)
    assert "- reads an image from stdin, which is a terminal: use < FILE or a pipe." in done.err


def test_what_the_client_refuses_has_the_names_that_were_typed(
    cli: Cli, server: Any, otter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not numbers, and nothing about Python."""
    Path("empty.png").touch()
    monkeypatch.setattr("sys.stdin", stdin_of(b""))
    done = cli("edit", otter, "empty.png", "-", "-p", PROMPT, "-q")
    empty = "it is empty (accepted: an image)"
    said = f"the request was not sent: 'empty.png': {empty}; stdin: {empty}"
    assert (done.code, done.out, done.err, server.posts) == (2, "", f"error: {said}\n", 0)
    alone = cli("edit", "empty.png", "-p", PROMPT, "-q", "--json")
    assert json.loads(alone.out)["error"]["message"] == f"the request was not sent: 'empty.png': {empty}"


def test_openai_is_not_sent_what_it_refuses(cli: Cli, otter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is wrong with the images is said at once; there is no connection."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    Path("notes.txt").write_text("hello")
    done = cli("edit", otter, "notes.txt", "--mask", layer(Path("small.png"), (8, 8)), "-p", PROMPT, "-q")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: the request was not sent: 'notes.txt': its bytes are not an image of a known format (accepted: "
        "image/png, image/webp, image/jpeg); mask: it is 8x8 and the first image 48x32 (accepted: the size of the "
        "first image)\n"
    )
    many = cli("edit", *[otter] * 17, "-p", PROMPT, "-q")
    assert (many.code, many.out) == (2, "")
    assert many.err == "error: the request was not sent: image: there are 17 images (accepted: 1 to 16)\n"


def test_what_the_server_refuses_names_the_option(cli: Cli, server: Any, otter: str) -> None:
    """Its own sentence, and what to change."""
    done = cli("edit", otter, "--mask", layer(Path("small.png"), (8, 8)), "-p", PROMPT, "-q")
    first, second, _ = done.err.splitlines()
    assert (done.code, done.out) == (1, "")
    assert "mask size does not match image size" in first
    assert second.strip() == "Change --mask."


def test_a_failure_may_have_been_billed(cli: Cli, server: Any, otter: str) -> None:
    """As that of a generation, and nothing is sent again."""
    server.always("reset_after_body")
    done = cli("edit", otter, "-p", PROMPT, "-q", "--json")
    assert (done.code, server.posts) == (1, 1)
    assert json.loads(done.out)["error"]["maybe_billed"] is True
    assert "may have been billed" in done.err


def test_no_aiohttp_for_help() -> None:
    """`edit --help` answers in a blink."""
    code = "import sys; from openai_images.cli import main; main(['edit', '-h']); print('aiohttp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert "--input-fidelity" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
