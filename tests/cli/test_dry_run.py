"""`openai-images batch --dry-run`: it refuses what a run would refuse, and says what each model may cost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.server_thread import serving

Cli = Callable[..., Any]
OPENAI = ("--base-url", "https://api.openai.com/v1")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, so that a run refuses for no other reason."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


def both(cli: Cli, *argv: str) -> tuple[Any, Any]:
    """A run, and a dry run in its place."""
    dry = cli("batch", *argv, "--dry-run")
    assert not Path("out").exists()
    return cli("batch", *argv), dry


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--size", "10x10"], "'00001' and 1 more: size: '10x10': "),
        (["--model", "gpt-image-1"], "'00001' and 1 more: model: OpenAI ended 'gpt-image-1' on 2026-10-23"),
        (["--matrix", "n=1,2000"], ": n must be a whole number from 1 to 1,000"),
        (["--budget", "1", "--model", "their-model"], "a budget needs prices"),
    ],
)
def test_what_a_run_refuses(cli: Cli, argv: list[str], said: str) -> None:
    """All requests are checked before the first one is sent, each problem once; and likewise without sending."""
    run, dry = both(cli, "-p", "a fox", "-p", "a crow", "--out", "out", *OPENAI, *argv)
    assert (run.code, dry.code, run.out, dry.out) == (2, 2, "", "")
    assert run.err == dry.err
    assert said in dry.err
    assert "nothing was sent" in dry.err


def test_what_is_doubtful_is_not_said_to_be_sent(cli: Cli) -> None:
    """Only a run sends it."""
    argv = ("-p", "a fox", "--out", "out", "--quality", "ultra", "--base-url", "http://127.0.0.1:1/v1")
    dry = cli("batch", *argv, "--dry-run")
    assert dry.code == 0
    assert "; the server decides\n" in dry.err
    assert "sent" not in dry.err.replace("nothing was sent", "")


@pytest.mark.parametrize("out", ["file/out", "x" * 300, "in/file/out/deep"])
def test_a_folder_that_cannot_be_made(cli: Cli, out: str) -> None:
    """It is found without making it, and nothing is left of the search."""
    Path("in").mkdir()
    for file in ("file", "in/file"):
        Path(file).write_text("")
    for more in ([], ["--dry-run"]):
        done = cli("batch", "-p", "a fox", "--out", out, *OPENAI, *more)
        assert (done.code, done.out) == (2, "")
        assert f"error: cannot write to '{out}': " in done.err
        assert "Nothing was sent. Choose another folder with --out." in done.err
    assert sorted(path.name for path in Path().iterdir()) == ["file", "in"]
    assert [path.name for path in Path("in").iterdir()] == ["file"]


def test_a_folder_to_be_made(cli: Cli) -> None:
    """Its place is tried, and left as it was."""
    Path("in").mkdir()
    assert cli("batch", "-p", "a fox", "--out", "in/a/b", *OPENAI, "--dry-run").code == 0
    assert list(Path("in").iterdir()) == []


def test_a_budget_without_room(cli: Cli, server: Any) -> None:
    """A run would send nothing and exit with 1; so does a dry run."""
    argv = ("-p", "a fox", "--out", "out", "--size", "1024x1024", "--quality", "high", "--budget", "0.01")
    run, dry = both(cli, *argv)
    assert (run.code, dry.code, server.posts) == (1, 1, 0)
    assert "it is not enough for the first request: nothing would be sent; raise --budget\n" in dry.err
    dry = cli("batch", *argv[:-1], "0.3", "-p", "a crow", "--dry-run")
    assert dry.code == 0
    assert "it may not be enough for all: requests that do not fit are not started\n" in dry.err
    dry = cli("batch", *argv, "--max-image-cost", "0.005", "--dry-run")
    assert (dry.code, "no room" in dry.err) == (0, False)


def test_a_request_of_a_server_of_ones_own_is_not_judged(cli: Cli, server: Any) -> None:
    """Nor are those of --local, whatever the environment names."""
    argv = ("batch", "-p", "a fox", "--out", "out", "--model", "gpt-image-1", "--dry-run")
    assert cli(*argv).code == 0
    assert cli(*argv, "--local").code == 0
    assert cli(*argv, *OPENAI).code == 2


def test_only_what_is_sent_is_judged(
    cli: Cli, pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done stays done when its model ends."""
    argv = ("batch", "-p", "a fox", "--out", "out", "--model", "gpt-image-1")
    with serving(pictures=pictures, legacy=True) as running:
        monkeypatch.setenv("OPENAI_API_KEY", running.api_key)
        assert cli(*argv, "--base-url", running.base_url).code == 0
    done = cli(*argv, *OPENAI)
    assert (done.code, done.err.splitlines()[0]) == (0, "resuming: 1 done, nothing to do")
    assert cli(*argv, "-p", "a crow", *OPENAI).code == 2


def test_a_table_of_costs(cli: Cli) -> None:
    """A line for each model, a range for `auto`, and a sum that counts what is known."""
    rows = [
        {"prompt": "a fox", "n": 3},
        {"prompt": "a crow", "model": "gpt-image-2.5-flare", "size": "1024x1024", "quality": "low"},
        {"prompt": "a hen", "model": "their-model"},
    ]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    argv = ("batch", "rows.jsonl", "--out", "out", "--base-url", "http://127.0.0.1:1/v1", "--dry-run")
    done = cli(*argv)
    assert done.code == 0
    assert done.err.splitlines()[2:-1] == [
        "  model                requests  images  estimated cost",
        "  gpt-image-2                 1       3  $0.0145 to $2.14",
        "  gpt-image-2.5-flare         1       1  at most $0.006",
        "  their-model                 1       1  unknown",
        "  total                       3       5  $0.0205 to $2.15 for 2 of them",
    ]
    plan = json.loads(cli(*argv, "--json", "-q").out)["plan"]
    assert [each["model"] for each in plan["by_model"]] == [
        "gpt-image-2",
        "gpt-image-2.5-flare",
        "their-model",
    ]
    assert plan["by_model"][0] == {
        "model": "gpt-image-2",
        "requests": 1,
        "images": 3,
        "at_least": "0.014535",
        "at_most": "2.135025",
    }
    assert plan["by_model"][2]["at_most"] is None


def test_a_key_that_cannot_be_sent(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is needed, and one that is there is checked."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u200btest")
    run, dry = both(cli, "-p", "a fox", "--out", "out", *OPENAI)
    assert (run.code, dry.code) == (2, 2)
    assert run.err == dry.err
