"""What `generate` and `edit` take besides a prompt in words: files, short options, `--param`, gif and svg."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROMPT = "a heron at dawn"
Cli = Callable[..., Any]


@pytest.fixture
def prompt_file(empty_folder: Path) -> str:
    """A file with a prompt, as an editor of Windows saves it."""
    (empty_folder / "prompt.txt").write_bytes(f"\ufeff{PROMPT}\r\n".encode())
    return "prompt.txt"


@pytest.mark.parametrize("argv", [["@prompt.txt"], ["--prompt-file", "prompt.txt"]])
def test_a_prompt_from_a_file(cli: Cli, server: Any, prompt_file: str, argv: list[str]) -> None:
    """Its text is sent, and names the picture."""
    assert cli("generate", *argv, "-q") == (0, "a-heron-at-dawn.png\n", "")
    assert server.requests[0].json["prompt"] == PROMPT


def test_a_prompt_of_an_edit_from_a_file(
    cli: Cli, server: Any, prompt_file: str, pictures: dict[str, bytes]
) -> None:
    """As `-p @FILE` or by its option."""
    Path("o.png").write_bytes(pictures["png"])
    for argv in (["-p", "@prompt.txt"], ["--prompt-file", "prompt.txt"]):
        assert cli("edit", "o.png", *argv, "-q").code == 0
    texts = [part.text for request in server.requests for part in request.parts if part.name == "prompt"]
    assert texts == [PROMPT] * 2


def test_a_prompt_file_that_is_stdin(cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere."""
    monkeypatch.setattr("sys.stdin", io.StringIO(PROMPT))
    assert cli("generate", "--prompt-file", "-", "-q").code == 0
    assert server.requests[0].json["prompt"] == PROMPT


@pytest.mark.parametrize(("argument", "prompt"), [("@@home", "@home"), ("@", "@"), ("a @ b", "a @ b")])
def test_a_prompt_with_an_at_sign(cli: Cli, server: Any, argument: str, prompt: str) -> None:
    """Only one that begins it is special, and two stand for one."""
    assert cli("generate", argument, "-q", "-o", "o").code == 0
    assert server.requests[0].json["prompt"] == prompt


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["@nothing.txt"], "from 'nothing.txt': No such file or directory; a prompt that begins with @ is"),
        (["--prompt-file", "nothing.txt"], "cannot be read from 'nothing.txt': No such file or directory."),
        (["--prompt-file", "\0"], "cannot be read from"),
        (["x", "--prompt-file", "prompt.txt"], "leave the other one out"),
        ([], "Missing argument 'PROMPT'"),
        (["x", "--param", "seed"], "--param 'seed' should look like seed=7"),
        (["x", "--param", "size=1024x1024"], "--param size=…: use --size."),
        (["x", "--param", "output_format=png"], "use --format."),
        (["x", "--param", "stream=true"], "use --partial-images N."),
        (["x", "--frames", "4"], "--frames is for gif: add --format gif, or -o FILE.gif."),
        (["x", "--frames", "4", "-o", "a.png"], "--frames is for gif"),
        (["x", "--svg-model", "m", "--format", "gif"], "--svg-model is for svg"),
    ],
)
def test_what_cannot_be_meant(cli: Cli, server: Any, prompt_file: str, argv: list[str], said: str) -> None:
    """It is said in a sentence, with exit code 2, and nothing is sent."""
    done = cli("generate", *argv)
    assert (done.code, done.out, server.posts) == (2, "", 0)
    assert said in done.err


def test_short_options(cli: Cli, server: Any) -> None:
    """-n, -m and -s are --n, --model and --size; of `batch` as well."""
    assert cli("generate", "x", "-n", "2", "-m", "gpt-image-2.6-flare", "-s", "1024x1536", "-q").code == 0
    sent = {"prompt": "x", "n": 2, "model": "gpt-image-2.6-flare", "size": "1024x1536"}
    assert server.requests[0].json == sent
    Path("p.txt").write_text("x\n")
    argv = ("-m", "gpt-image-2.6-flare", "-s", "1024x1536", "-n", "2", "-q")
    assert cli("batch", "p.txt", "--out", "o", *argv).code == 0
    assert server.requests[1].json == sent


def test_parameters_without_an_option(cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON if it is any, else text; known ones are the client's own, and the rest goes into the body."""
    asked: dict[str, Any] = {}

    async def generate(_: object, prompt: str, **params: Any) -> Any:
        asked.update(params)
        raise KeyboardInterrupt

    monkeypatch.setattr("openai_images.ImagesClient.generate", generate)
    params = [
        "seed=7",
        "steps=[1, 2]",
        "sampler=euler a",
        "x=NaN",
        "y=",
        "z=a=b",
        "on=true",
        "off=null",
        's="7"',
    ]
    known = ["complexity=low", "user=123", "frame_duration_ms=50", "style=vivid"]
    argv = [word for text in (*params, *known) for word in ("--param", text)]
    assert cli("generate", "x", *argv, "-q").code == 130
    own = {"complexity": "low", "user": "123", "frame_duration_ms": 50, "style": "vivid"}
    assert {name: asked[name] for name in own} == own
    assert asked["extra_body"] == {
        "seed": 7,
        "steps": [1, 2],
        "sampler": "euler a",
        "x": "NaN",
        "y": "",
        "z": "a=b",
        "on": True,
        "off": None,
        "s": "7",
    }


def test_parameters_without_an_option_of_a_batch(cli: Cli, server: Any) -> None:
    """The same for all rows that do not say otherwise; a matrix may have what has an option here."""
    Path("p.jsonl").write_text('{"prompt": "x"}\n{"prompt": "y", "extra_body": {"seed": 8}}\n')
    flare = ("-m", "gpt-image-2.6-flare", "-q")
    params = ("--param", "seed=7", "--param", "complexity=low")
    assert cli("batch", "p.jsonl", "--out", "a", *flare, *params).code in (0, 1)
    sent = sorted((request.json for request in server.requests), key=lambda body: str(body["prompt"]))
    assert [(body["seed"], body["complexity"]) for body in sent] == [(7, "low"), (8, "low")]
    server.requests.clear()
    gif = ("--format", "gif", "-s", "512x512", *flare)
    assert cli("batch", "-p", "x", "--out", "b", "--frames", "4", *gif).code == 0
    assert cli("batch", "-p", "x", "--out", "c", "--matrix", "frames=3,5", *gif).code == 0
    assert cli("batch", "-p", "x", "--out", "d", "--format", "svg", "--svg-model", "gpt-9", *flare).code in (
        0,
        1,
    )
    assert [request.json.get("frame_count") for request in server.requests] == [4, 3, 5, None]
    assert server.requests[-1].json["svg"] == {"model": "gpt-9"}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--param", "size=1024x1024"], "--param size=…: use --size."),
        (["--param", "complexity=low", "--matrix", "complexity=low,high"], "--param complexity and --matrix"),
        (["--frames", "4", "--matrix", "frames=3,5"], "--frames and --matrix frames=… are the same"),
        (["--svg-model", "m", "--matrix", "svg={}"], "--svg-model and --matrix svg=… are the same"),
        (["--format", "gif", "--matrix", "format=gif"], "--format and --matrix format=… are the same"),
        (["--frames", "4", "--format", "png"], "--frames is for gif: write --format gif."),
    ],
)
def test_what_cannot_be_meant_of_a_batch(cli: Cli, server: Any, argv: list[str], said: str) -> None:
    """It is said before anything is sent."""
    done = cli("batch", "-p", "x", "--out", "o", *argv)
    assert (done.code, done.out, server.posts) == (2, "", 0)
    assert said in done.err


def test_a_gif_and_an_svg(cli: Cli, server: Any) -> None:
    """By suffix or by format, with what only they have."""
    flare = ("-m", "gpt-image-2.6-flare", "-q")
    assert cli("generate", "x", "-o", "o.gif", "--frames", "4", "-s", "256x256", *flare).code in (0, 1)
    assert cli("generate", "x", "--format", "svg", "--svg-model", "gpt-9", *flare).code in (0, 1)
    gif, svg = (request.json for request in server.requests)
    assert (gif["output_format"], gif["frame_count"]) == ("gif", 4)
    assert (svg["output_format"], svg["svg"]) == ("svg", {"model": "gpt-9"})


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--quality", "hihg"], "quality: there is no 'hihg'; did you mean high?"),
        (["-m", "gpt-imgae-2"], "model: there is no 'gpt-imgae-2'; did you mean gpt-image-2?"),
        (["-s", "1024*1024"], "size: there is no '1024*1024'; did you mean 1024x1024?"),
        (["-s", "1000x1000"], "the nearest, 1008x1008"),
        (["-m", "dall-e-3"], "OpenAI ended 'dall-e-3' on 2026-05-12"),
        (["--param", "complexity=low"], "complexity: gpt-image-2 does not take it"),
    ],
)
def test_certain_mistakes_are_refused_before_the_key_is_used(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, argv: list[str], said: str
) -> None:
    """At OpenAI's hosts: exit code 2, and no connection is made."""

    async def connect(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("aiohttp.TCPConnector.connect", connect)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    done = cli("generate", "x", *argv, "-q")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: the request was not sent: ")
    assert said in done.err
    assert "validate=" not in done.err


def test_an_address_without_scheme_or_path(cli: Cli, server: Any) -> None:
    """The whole one is said: before anything is sent, and where a server knows no such path."""
    done = cli("generate", "x", "--base-url", "localhost:8000", "-q")
    assert (done.code, server.posts) == (2, 0)
    assert done.err.endswith("; did you mean http://localhost:8000/v1?\n")
    done = cli("generate", "x", "--base-url", server.base_url.removesuffix("/v1"), "-q")
    assert done.code == 1
    assert f"perhaps it is {server.base_url} (--base-url, or OPENAI_BASE_URL)" in done.err
