"""`openai-images batch` with a matrix, variables, prompts as options, and spreadsheets of people's own."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import names

Cli = Callable[..., Any]


def test_a_matrix_is_resumed(cli: Cli, server: Any) -> None:
    """The product of all, with keys that say so; a value that is added later sends what is new."""
    argv = ["batch", "-p", "a {animal}", "--out", "out", "--var", "animal=fox,heron", "--size", "1024x1024"]
    done = cli(*argv, "--matrix", "quality=low,high", "--matrix", "model=gpt-image-2,gpt-image-2.5-flare")
    assert (done.code, server.posts) == (0, 8)
    assert done.err.splitlines()[0] == "matrix: 8 requests from 1 prompt"
    assert "00001-fox-low-gpt-image-2.png" in names(Path("out/images"))
    sent = {
        tuple(request.json[name] for name in ("prompt", "quality", "model")) for request in server.requests
    }
    assert len(sent) == 8
    assert ("a heron", "high", "gpt-image-2.5-flare") in sent
    more = [
        "--matrix",
        "model=gpt-image-2,gpt-image-2.5-flare",
        "--matrix",
        "quality=medium,low",
        "--matrix",
        "quality=high",
    ]
    done = cli(*argv, *more)
    assert (done.code, server.posts) == (0, 12)
    assert "resuming: 8 done, 4 to do" in done.err


def test_values_of_a_file_and_in_quotes(cli: Cli, server: Any) -> None:
    """`@FILE` has a value on each line; a comma in quotes is part of a value."""
    Path("styles.txt").write_text("oil, thick\n\nink\n")
    argv = ("--var", "style=@styles.txt", "--var", 'mood="calm, {x}",loud', "--matrix", "format=webp,png")
    done = cli("batch", "-p", "a fox in {style}, {mood}", "--out", "out", *argv, "--json")
    assert (done.code, server.posts) == (0, 8)
    assert {request.json["prompt"] for request in server.requests} == {
        f"a fox in {style}, {mood}" for style in ("oil, thick", "ink") for mood in ("calm, {x}", "loud")
    }
    assert {request.json["output_format"] for request in server.requests} == {"webp", "png"}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--matrix", "quality"], "--matrix 'quality' should look like --matrix quality=low,high"),
        (["--var", "=a"], "--var '=a' should look like --var animal=fox,heron"),
        (["--matrix", "qualty=low"], "unknown parameter 'qualty'; did you mean 'quality'?"),
        (["--matrix", "n=1,x"], "matrix 'n': n must be a whole number"),
        (["--matrix", "quality="], "matrix 'quality' has no values"),
        (["--matrix", 'size="a'], "--matrix size: its values cannot be read"),
        (["--matrix", "size=@none.txt"], "cannot read 'none.txt': No such file or directory."),
        (["--matrix", "size=auto", "--size", "auto"], "--size and --matrix size=… are the same"),
        (["--matrix", "format=png", "--format", "png"], "--format and --matrix format=… are the same"),
        (["--var", "anmal=fox"], "'00001': {animal} has no values; did you mean {anmal}?"),
        (["--var", "animal=fox", "--var", "x=y"], "variable 'x': no prompt has {x}"),
        (["prompts.txt"], "give either FILE or --prompt TEXT, not both."),
    ],
)
def test_what_cannot_be_meant(cli: Cli, server: Any, argv: list[str], said: str) -> None:
    """It is refused before anything is sent."""
    done = cli("batch", "-p", "a {animal}", "--out", "out", *argv)
    assert (done.code, done.out, server.posts, Path("out").exists()) == (2, "", 0, False)
    assert said in done.err


def test_braces_stay_without_variables(cli: Cli, server: Any) -> None:
    """A prompt may be JSON."""
    assert cli("batch", "-p", '{{"a": {b}}}', "--out", "out", "--matrix", "quality=low").code == 0
    assert server.requests[0].json["prompt"] == '{{"a": {b}}}'


@pytest.mark.parametrize("argv", [["--prompt", " "], []])
def test_no_prompt(cli: Cli, argv: list[str]) -> None:
    """Neither a file nor a prompt, or an empty one."""
    done = cli("batch", *argv, "--out", "out")
    assert done.code == 2
    assert ("--prompt is empty." if argv else "Missing argument 'FILE' (or --prompt TEXT).") in done.err


def test_a_spreadsheet(cli: Cli, server: Any) -> None:
    """One error says which options to give; with them it runs."""
    Path("sheet.csv").write_text("ID,Caption,my notes,qualty\n7,a fox,by the sea,low\n8,a crow,,\n")
    done = cli("batch", "sheet.csv", "--out", "out")
    assert (done.code, server.posts) == (2, 0)
    assert done.err.splitlines()[1:] == [
        ("  line 1: the header has no column prompt: --prompt-column Caption uses that column"),
        "  line 1: unknown parameter 'qualty'; did you mean 'quality'?",
        (
            "  line 1: columns 'ID', 'my notes' are unknown: --key-column ID uses one as the key, --ignore-unknown "
            "ignores the others"
        ),
    ]
    argv = ("--prompt-column", "caption", "--key-column", "id", "--ignore-unknown")
    done = cli("batch", "sheet.csv", "--out", "out", *argv)
    assert (done.code, names(Path("out/images"))) == (0, ["7.png", "8.png"])
    assert done.err.startswith("warning: 'sheet.csv': column 'qualty' is ignored; did you mean 'quality'?\n")
    Path("sheet.csv").write_text("my notes,prompt\n")
    assert "--key-column 'my notes' uses it as the key" in cli("batch", "sheet.csv", "--out", "out").err


def test_comments_and_json_on_stdin(cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array is told by its beginning and its end; other text stays text."""
    for number, (data, argv, prompts) in enumerate(
        [
            (' \n[ "a fox",\n {"prompt": "a crow"}]\n', [], ["a crow", "a fox"]),
            ('["wide"] a fox\n', [], ['["wide"] a fox']),
            ("# foxes\na fox\n", ["--comments"], ["a fox"]),
        ]
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data.encode())))
        before = len(server.requests)
        assert cli("batch", "-", "--out", f"out{number}", *argv).code == 0
        assert sorted(request.json["prompt"] for request in server.requests[before:]) == prompts


def test_the_plan_says_the_number(cli: Cli) -> None:
    """Before anything is made, and in the JSON line of a dry run."""
    argv = ("--matrix", "quality=low,high", "--matrix", "size=1024x1024,1536x1024,1024x1536", "--local")
    done = cli("batch", "-p", "a fox", "-p", "a crow", "--out", "out", *argv, "--dry-run", "--json")
    assert json.loads(done.out)["plan"]["total"] == 12
    assert done.err.startswith("matrix: 12 requests from 2 prompts\n12 requests to do\n")
