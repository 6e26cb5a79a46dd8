"""The command itself: help, usage, exit codes, what it imports and what it needs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import click
import pytest

from openai_images import __version__
from openai_images.cli import main


def python(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
    )


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["generate", "--help"], ["batch", "--help"]])
def test_help_names_the_default_model(cli: Callable[..., Any], argv: list[str]) -> None:
    """Help is a result: it goes to stdout, with exit code 0."""
    done = cli(*argv)
    assert (done.code, done.err) == (0, "")
    assert "gpt-image-2" in done.out


def test_version(cli: Callable[..., Any]) -> None:
    """The version is the package's."""
    assert cli("--version") == (0, f"openai-images, version {__version__}\n", "")


def test_no_command_shows_the_help(cli: Callable[..., Any]) -> None:
    """Nothing was asked for: that is a usage error, and help on stderr."""
    done = cli()
    assert (done.code, done.out) == (2, "")
    assert "Usage: openai-images" in done.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["paint"], "No such command 'paint'"),
        (["generate"], "Missing argument 'PROMPT'"),
        (["generate", "x", "--n", "0"], "0 is not in the range"),
        (["generate", "x", "--colour", "red"], "No such option"),
        (["generate", "x", "--timeout", "0"], "0.0 is not in the range"),
        (["serve", "--port", "70000"], "70000 is not in the range"),
    ],
)
def test_usage_errors(cli: Callable[..., Any], argv: list[str], said: str) -> None:
    """What cannot be meant is said on stderr, with exit code 2."""
    done = cli(*argv)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["generate", "x", "--n", "0", "--json"],
            "Invalid value for '-n' / '--n': 0 is not in the range x>=1.",
        ),
        (["generate", "--json"], "Missing argument 'PROMPT'."),
        (["generat", "x", "--json"], "No such command 'generat'. Did you mean 'generate'?"),
        (["generate", "x", "--keep-partials", "--json"], "--keep-partials needs --partial-images N."),
        (
            ["batch", "rows.csv", "--out", "images", "--json", "--budget", "much"],
            "--budget 'much' is not an amount",
        ),
    ],
)
def test_usage_errors_as_json(cli: Callable[..., Any], argv: list[str], message: str) -> None:
    """`--json` prints a line as for every other error; stderr is the same."""
    done = cli(*argv)
    record = json.loads(done.out)
    assert done.code == 2
    assert record["error"].pop("message").startswith(message)
    assert record == {
        "error": dict.fromkeys(("status_code", "code", "param"))
        | {"type": "UsageError", "maybe_billed": False},
        "request_id": None,
        "attempts": 0,
        "elapsed": 0.0,
    }
    assert message in done.err


def test_an_argument_that_looks_like_json_is_none(cli: Callable[..., Any]) -> None:
    """After `--` it is a prompt."""
    assert cli("generate", "--n", "0", "--", "--json").out == ""


@pytest.mark.parametrize("output", [["-o", "-"], ["-o-"], ["--output", "-"], ["--output=-"]])
def test_usage_errors_leave_stdout_to_the_image(cli: Callable[..., Any], output: list[str]) -> None:
    """With `-o -` nothing but an image goes there."""
    assert cli("generate", "x", *output, "--n", "0", "--json").out == ""


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["generat", "x"], "generate"),
        (["SERVE"], "serve"),
        (["generate", "x", "--backgrund", "auto"], "--background"),
        (["batch", "x", "--out", "o", "--input-format", "cvs"], "csv"),
        (["serve", "--picture-links", "Absolut"], "absolute"),
        (["serve", "--fault", "stal"], "stall"),
    ],
)
def test_what_was_probably_meant(cli: Callable[..., Any], argv: list[str], meant: str) -> None:
    """A misspelt command, option or choice gets the near one, once."""
    done = cli(*argv)
    assert (done.code, done.out) == (2, "")
    assert f"did you mean {meant}?" in done.err.lower().replace("'", "")  # older clicks quote no option
    assert done.err.lower().count("did you mean") == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["generate", "--prompt", "x"], "The prompt is an argument."),
        (["batch", "x.txt", "--out", "o", "--resume"], "Run the same command again: it resumes by itself."),
    ],
)
def test_options_that_are_not_needed(cli: Callable[..., Any], argv: list[str], said: str) -> None:
    """What to write in place of an option that people try."""
    done = cli(*argv)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_what_an_older_click_does_not_suggest() -> None:
    """Commands are suggested with it as well."""
    from openai_images.cli.commands import cli as group
    from openai_images.cli.suggestions import with_suggestion

    error = click.UsageError("No such command 'generat'.", click.Context(group))
    suggested = with_suggestion(error)
    assert suggested.message == "No such command 'generat'. Did you mean 'generate'?"
    for text in ("No such command 'xyz'.", "the prompt is empty.", suggested.message):
        error = click.UsageError(text, click.Context(group))
        assert with_suggestion(error) is error


@pytest.mark.parametrize("command", ["generate", "batch"])
def test_help_imports_nothing_heavy(command: str) -> None:
    """`--help` needs neither aiohttp nor rich nor Pillow nor the client."""
    code = (
        f"import sys; from openai_images.cli import main; code = main(['{command}', '--help']);"
        "print(sorted({'aiohttp', 'rich', 'PIL', 'attrs', 'cattrs', 'asyncio', 'openai_images.client.client'}"
        " & sys.modules.keys()), file=sys.stderr); sys.exit(code)"
    )
    done = python("-c", code, PYTHONDEVMODE="")
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_help_answers_in_a_blink() -> None:
    """Three times in a process: what is left after the imports is next to nothing."""
    main(["--help"], sys.stderr)
    started = time.process_time()
    for _ in range(3):
        main(["--help"], sys.stderr)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("module", "argv", "named"),
    [
        ("click", ["--help"], "click"),
        ("rich", ["generate", "x"], "rich"),
        ("PIL", ["generate", "x", "--local"], "Pillow"),
        ("PIL", ["serve"], "Pillow"),
        ("PIL", ["demo"], "Pillow"),
    ],
)
def test_a_missing_extra_is_one_clear_line(module: str, argv: list[str], named: str) -> None:
    """It says what to install, with exit code 2."""
    code = f"import sys; sys.modules[{module!r}] = None\nfrom openai_images.cli import main\nsys.exit(main({argv!r}))"
    done = python("-c", code)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        f"error: this needs {named}, which is not installed: pip install 'openai-images[all]'"
    )


def test_another_missing_module_is_no_missing_extra(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation is not explained away."""
    monkeypatch.setitem(sys.modules, "openai_images.cli.serve", None)
    with pytest.raises(ModuleNotFoundError):
        cli("serve")


def test_python_m_is_the_command() -> None:
    """`python -m openai_images` passes the exit code on."""
    done = python("-m", "openai_images", "generate", "")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the prompt is empty" in done.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    """`openai-images serve --list-faults | head -1` ends quietly."""
    code = (
        "import os, sys; from openai_images.cli import main; reading, writing = os.pipe(); os.close(reading);"
        "os.dup2(writing, 1); sys.exit(main(['serve', '--list-faults']))"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (1, "")


def test_ctrl_c_outside_a_command(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the prompt is read, it ends with 130 and a word."""

    class Interrupted:
        """A stdin at which someone presses Ctrl-C."""

        def read(self) -> str:
            """Never gives anything."""
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Interrupted())
    assert cli("generate", "-") == (130, "", "interrupted\n")


def test_completion_for_shells() -> None:
    """The script that a shell evaluates is click's."""
    done = python("-m", "openai_images", _OPENAI_IMAGES_COMPLETE="zsh_source")
    assert (done.returncode, done.stderr) == (0, "")
    assert "_OPENAI_IMAGES_COMPLETE=zsh_complete" in done.stdout


def test_a_prompt_without_quotation_marks(cli: Any) -> None:
    """A shell splits it; the error of every command that takes a prompt says how to write it."""
    quoted = "Put a prompt of several words in quotation marks"
    assert quoted in cli("generate", "a", "red", "fox").err
    assert quoted in cli("a red fox").err
    assert quoted not in cli("batch", "a.txt", "b.txt", "--out", "x").err
    assert quoted not in cli("generat", "a red fox").err
