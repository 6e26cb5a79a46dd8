"""What `openai-images batch` refuses before anything is sent: exit code 2, and words that say what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images import Batch, ImagesClient, read_batch_items

Cli = Callable[..., Any]


@pytest.fixture
def prompts(empty_folder: Path) -> str:
    """A file of one prompt."""
    (empty_folder / "prompts.txt").write_text("a red fox\n")
    return "prompts.txt"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nothing.txt"], "cannot read 'nothing.txt': No such file or directory"),
        (["folder.csv"], "cannot read 'folder.csv': Is a directory"),
        (["prompts"], "end it in .txt, .csv, .tsv, .json or .jsonl, or add"),
        (["prompts.xlsx"], "'prompts.xlsx' is a spreadsheet; save it as CSV (UTF-8) and use that file."),
        (
            ["prompts.txt", "--budget", "much"],
            "--budget 'much' is not an amount of US dollars, such as 5 or 12.50",
        ),
        (["prompts.txt", "--budget", "NaN"], "is not an amount of US dollars"),
        (["prompts.txt", "--budget", "0"], "is not an amount of US dollars"),
        (["prompts.txt", "--local", "--base-url", "http://127.0.0.1"], "leave --base-url out"),
        (
            ["prompts.txt", "--prices", "nothing.json"],
            "cannot read 'nothing.json': No such file or directory",
        ),
        (["prompts.txt", "--concurrency", "0"], "0 is not in the range"),
        (["prompts.txt", "--input-format", "xml"], "'xml' is not one of 'txt', 'csv', 'json', 'jsonl'"),
    ],
)
def test_what_cannot_be_meant(cli: Cli, server: Any, prompts: str, argv: list[str], said: str) -> None:
    """Said on stderr; nothing on stdout, nothing sent, no folder made."""
    Path("folder.csv").mkdir()
    Path("prompts").write_text("a red fox\n")
    done = cli("batch", *argv, "--out", "out")
    assert (done.code, done.out, server.posts, Path("out").exists()) == (2, "", 0, False)
    assert said in done.err


def test_a_folder_must_be_named(cli: Cli, server: Any, prompts: str) -> None:
    """`--out` has no default: a batch belongs to its folder."""
    done = cli("batch", prompts)
    assert (done.code, done.out, server.posts) == (2, "", 0)
    assert "Missing option '--out'" in done.err


def test_bad_rows_are_told_together(cli: Cli, server: Any) -> None:
    """With their lines, and without what they say."""
    Path("rows.jsonl").write_text('{"prompt": "secret"}\n{"prompt": 7, "n": "x"}\nsecret\n{"prompt": ""}\n')
    done = cli("batch", "rows.jsonl", "--out", "out", "--json")
    assert (done.code, server.posts, Path("out").exists()) == (2, 0, False)
    assert done.err.startswith("error: 'rows.jsonl' cannot be used; nothing was sent: ")
    assert all(f"line {number}" in done.err for number in (2, 3, 4))
    assert json.loads(done.out)["error"]["type"] == "BatchInputError"
    assert "secret" not in done.out + done.err


def test_an_empty_input(cli: Cli, server: Any) -> None:
    """No prompt is a mistake, not a success."""
    Path("empty.txt").write_text("\n  \n")
    done = cli("batch", "empty.txt", "--out", "out")
    assert (done.code, done.out) == (2, "")
    assert "it contains no prompt" in done.err


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        (b"{", "prices.json is not JSON: "),
        (b"\xff\xfe\xfd", "prices.json is not UTF-8; it should look like {"),
        (b"[]", "prices.json: the prices cannot be used: they should be an object of models, not list"),
        (b'{"m": {"image_output": "free"}}', "prices.json: the prices cannot be used: 'image_output' of 'm'"),
    ],
)
def test_prices_that_are_none(cli: Cli, server: Any, prompts: str, prices: bytes, said: str) -> None:
    """What is wrong with the file, and how it should look."""
    Path("prices.json").write_bytes(prices)
    done = cli("batch", prompts, "--out", "out", "--prices", "prices.json")
    assert (done.code, done.out, server.posts) == (2, "", 0)
    assert done.err.startswith(f"error: {said}")


def test_prices_of_ones_own(cli: Cli, server: Any, prompts: str) -> None:
    """They take the place of the published ones, in estimates and in what was spent."""
    Path("prices.json").write_text('{"gpt-image-2": {"text_input": 0, "image_output": "1000"}}')
    argv = ("--size", "1024x1024", "--quality", "low", "--prices", "prices.json")
    done = cli("batch", prompts, "--out", "out", *argv)
    assert done.code == 0
    assert "estimated cost: at most $0.196 (prices in prices.json)\n" in done.err
    assert "$0.196 spent\n" in done.err


def test_an_input_that_was_changed(cli: Cli, server: Any, prompts: str) -> None:
    """A prompt that was paid for and is another one now is told, and nothing is sent."""
    assert cli("batch", prompts, "--out", "out").code == 0
    Path(prompts).write_text("a blue heron\n")
    done = cli("batch", prompts, "--out", "out")
    assert (done.code, done.out, server.posts) == (2, "", 1)
    assert "'00001'" in done.err
    assert "nothing was sent" in done.err
    assert "heron" not in done.err
    assert cli("batch", "prompts.txt", "--out", "out", "--quality", "high").code == 2


async def test_a_folder_that_is_in_use(cli: Cli, server: Any, prompts: str) -> None:
    """Two processes on one folder would pay twice."""
    async with Batch(ImagesClient(), read_batch_items(prompts), "out"):
        from asyncio import to_thread

        done = await to_thread(cli, "batch", prompts, "--out", "out")
    assert (done.code, done.out, server.posts) == (2, "", 0)
    assert "is using the batch folder" in done.err


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_folder_of_something_else(cli: Cli, server: Any, prompts: str, more: list[str]) -> None:
    """It is not touched."""
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear")
    done = cli("batch", prompts, "--out", "mine", *more)
    assert (done.code, done.out, server.posts) == (2, "", 0)
    assert "is not the folder of a batch" in done.err
    assert [path.name for path in Path("mine").iterdir()] == ["letter.txt"]


def test_a_folder_that_cannot_be_read(
    cli: Cli, server: Any, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dry run says so as well."""

    async def fail(_: Batch) -> Batch:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Batch, "__aenter__", fail)
    for more in ([], ["--dry-run"]):
        done = cli("batch", prompts, "--out", "out", *more)
        assert (done.code, done.out, server.posts) == (2, "", 0)
        assert "error: cannot write to 'out': Input/output error\n" in done.err


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_folder_that_cannot_be_made(cli: Cli, server: Any, prompts: str, more: list[str]) -> None:
    """It says why, and that nothing was sent."""
    done = cli("batch", prompts, "--out", "prompts.txt/out", *more)
    assert (done.code, server.posts) == (2, 0)
    assert done.err.splitlines()[-2].startswith("error: cannot write to 'prompts.txt/out': ")
    assert done.err.splitlines()[-1].strip() == "Nothing was sent. Choose another folder with --out."
    assert bool(done.out) == bool(more)


def test_an_unusable_base_url(cli: Cli, server: Any, prompts: str) -> None:
    """Configuration, so exit code 2."""
    done = cli("batch", prompts, "--out", "out", "--base-url", "localhost")
    assert (done.code, done.out, Path("out").exists()) == (2, "", False)
    assert "base_url" in done.err
