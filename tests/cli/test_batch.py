"""`openai-images batch`, from a file of prompts to a folder of images."""

import io
import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Terminal, names

Cli = Callable[..., Any]
CHEAP = ("--quality", "low", "--size", "1024x1024")


@pytest.fixture
def prompts(empty_folder: Path) -> str:
    """A file of three prompts."""
    (empty_folder / "prompts.txt").write_text("a red fox\n\na blue heron\na green frog\n")
    return "prompts.txt"


def lines(text: str) -> list[str]:
    """Sorted, as images come in any order."""
    return sorted(text.splitlines())


def records(text: str) -> list[dict[str, Any]]:
    """JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def test_paths_on_stdout_and_words_on_stderr(
    cli: Cli, server: Any, prompts: str, pictures: dict[str, bytes]
) -> None:
    """An image for each prompt in the folder, with a journal and a page; what was not given is not sent."""
    done = cli("batch", prompts, "--out", "out", *CHEAP)
    assert (done.code, lines(done.out)) == (0, [f"out/images/0000{n}.png" for n in (1, 2, 3)])
    first, cost, *_, counts, spent, page = done.err.splitlines()
    assert first == "3 requests to do"
    assert cost.startswith("estimated cost: at most $0.018")
    assert counts == "3 of 3 requests done"
    assert spent.endswith(" images/min, $0.0177 spent")
    assert page == "contact sheet: out/index.html"
    assert Path("out/images/00002.png").read_bytes() == pictures["png"]
    assert names(Path("out")) == [
        "batch.lock",
        "images",
        "index.html",
        "journal.jsonl",
        "metadata.jsonl",
        "pictures.csv",
        "thumbs",
    ]
    asked = {"model": "gpt-image-2", "quality": "low", "size": "1024x1024"}
    assert sorted(request.json.pop("prompt") for request in server.requests) == [
        "a blue heron",
        "a green frog",
        "a red fox",
    ]
    assert [request.json for request in server.requests] == [asked] * 3


def test_again_sends_only_what_is_missing(cli: Cli, server: Any, prompts: str) -> None:
    """Once all is done there is nothing to do; prompts put behind the others are all that is sent."""
    cli("batch", prompts, "--out", "out")
    done = cli("batch", prompts, "--out", "out")
    assert (done.code, done.out, server.posts) == (0, "", 3)
    assert done.err.splitlines()[0] == "resuming: 3 done, nothing to do"
    with Path(prompts).open("a") as file:
        file.write("a grey owl\n")
    done = cli("batch", prompts, "--out", "out")
    assert (done.code, done.out, server.posts) == (0, "out/images/00004.png\n", 4)
    assert done.err.splitlines()[0] == "resuming: 3 done, 1 to do"
    assert "4 of 4 requests done" in done.err


def test_options_are_for_rows_that_say_nothing_else(cli: Cli, server: Any) -> None:
    """A CSV file with a column for each parameter, and keys that name the images."""
    Path("rows.csv").write_text("key,prompt,size,n\nfox,a red fox,1536x1024,\n../heron,a blue heron,,2\n")
    argv = ["--model", "gpt-image-2.6-flare", "--quality", "high", "--format", "webp", "--compression", "70"]
    done = cli(
        "batch", "rows.csv", "--out", "out/", *argv, "--background", "opaque", "--moderation", "low", "-q"
    )
    assert (done.code, done.err) == (0, "")
    assert lines(done.out) == ["out/images/fox.webp", "out/images/heron-0.webp", "out/images/heron-1.webp"]
    shared = {
        "model": "gpt-image-2.6-flare",
        "quality": "high",
        "output_format": "webp",
        "output_compression": 70,
        "background": "opaque",
        "moderation": "low",
    }
    assert sorted((request.json for request in server.requests), key=str) == [
        {"prompt": "a blue heron", "n": 2, **shared},
        {"prompt": "a red fox", "size": "1536x1024", **shared},
    ]


def test_pictures_of_each_prompt(cli: Cli, server: Any) -> None:
    """`--n` is a parameter as well."""
    Path("one.jsonl").write_text('{"prompt": "a red fox", "key": "fox"}\n')
    assert lines(cli("batch", "one.jsonl", "--out", "out", "--n", "2", "-q").out) == [
        "out/images/fox-0.png",
        "out/images/fox-1.png",
    ]


@pytest.mark.parametrize(
    ("text", "argv", "prompts_sent"),
    [
        (b"a red fox\na blue heron\n", [], ["a blue heron", "a red fox"]),
        (b' \n{"prompt": "a red fox"}\n', [], ["a red fox"]),
        ('\ufeff{"prompt": "ein F\u00fcchslein"}\n'.encode(), [], ["ein F\u00fcchslein"]),
        ('{"prompt": "a red fox"}\n'.encode("utf-16"), [], ["a red fox"]),
        (b"prompt\na red fox\n", ["--input-format", "csv"], ["a red fox"]),
        (b"{a red fox}\n", ["--input-format", "txt"], ["{a red fox}"]),
    ],
)
def test_rows_from_stdin(
    cli: Cli,
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    text: bytes,
    argv: list[str],
    prompts_sent: list[str],
) -> None:
    """`-` is JSON Lines where it begins with an object, else a prompt a line, unless it is said."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="ascii"))
    assert cli("batch", "-", "--out", "out", *argv, "-q").code == 0
    assert sorted(request.json["prompt"] for request in server.requests) == prompts_sent


def test_failures_are_said_at_once_and_counted(cli: Cli, server: Any, prompts: str) -> None:
    """A refusal for safety, a mistake and an unknown outcome differ, and exit code 1 says that something is missing."""
    server.script("moderation_400", "status:400", "status:500")
    done = cli("batch", prompts, "--out", "out", "--concurrency", "1")
    assert (done.code, done.out) == (1, "")
    *_, blocked, failed, unknown, counts, money, hint, _, warning = done.err.splitlines()
    assert blocked == "blocked 00001 (a red fox): the safety system blocked the prompt (other)"
    assert failed.startswith("failed 00002 (a blue heron): the server answered 400 (invalid_value): ")
    assert unknown.startswith("unknown 00003 (a green frog): the server answered 500 (server_error): ")
    assert counts == "0 of 3 requests done, 2 failed (1 blocked by moderation), 1 unknown"
    assert re.fullmatch(r"in \d+ s, 1 request of unknown cost", money)
    assert hint == "--retry-failed sends failed requests again; the reasons are in out/index.html"
    assert warning == (
        "unknown: 00003: it was sent and no image came back, so it may have been billed; "
        "--retry-unknown sends it again, and may pay twice"
    )


def test_what_failed_is_sent_again_only_when_asked(cli: Cli, server: Any, prompts: str) -> None:
    """Failures with one option, unknown outcomes with another; until then the exit code stays 1."""
    server.script("status:400", "status:500")
    cli("batch", prompts, "--out", "out", "--concurrency", "1")
    done = cli("batch", prompts, "--out", "out")
    assert (done.code, server.posts) == (1, 3)
    assert done.err.splitlines()[0] == (
        "resuming: 1 done, 1 failed (--retry-failed sends them again), "
        "1 unknown (may have been billed; --retry-unknown sends them again), nothing to do"
    )
    done = cli("batch", prompts, "--out", "out", "--retry-failed")
    assert (done.code, done.out, server.posts) == (1, "out/images/00001.png\n", 4)
    assert "1 failed (sent again now)" in done.err
    assert "unknown: 00002: " in done.err
    done = cli("batch", prompts, "--out", "out", "--retry-unknown", "-q")
    assert done == (0, "out/images/00002.png\n", "")


def test_a_picture_that_is_gone(cli: Cli, server: Any, prompts: str) -> None:
    """It was paid for once: it is made again only when asked for."""
    cli("batch", prompts, "--out", "out")
    Path("out/images/00002.png").unlink()
    done = cli("batch", prompts, "--out", "out")
    assert (done.code, server.posts) == (1, 3)
    assert "1 missing (done, but their images are missing; --retry-missing sends them again)" in done.err
    assert "2 of 3 requests done, 1 missing\n" in done.err
    assert cli("batch", prompts, "--out", "out", "--retry-missing", "-q") == (0, "out/images/00002.png\n", "")


def test_the_same_request_once(cli: Cli, server: Any) -> None:
    """With `--dedupe`; each row has its outcome."""
    Path("same.txt").write_text("a red fox\na red fox\na red fox\n")
    done = cli("batch", "same.txt", "--out", "out", "--dedupe")
    assert (done.code, server.posts) == (0, 1)
    assert done.out.splitlines() == ["out/images/00001.png"] * 3
    assert "2 requests share the images of an identical one\n" in done.err


def test_json_lines(cli: Cli, server: Any, prompts: str, pictures: dict[str, bytes]) -> None:
    """One for the plan, one for each request, one for the end."""
    server.script("ok", "moderation_400:output", "status:500")
    done = cli("batch", prompts, "--out", "out", *CHEAP, "--json", "--concurrency", "1", "-q")
    plan, first, second, third, summary = records(done.out)
    assert done.code == 1
    assert plan["plan"]["total"] == plan["plan"]["to_send"] == 3
    assert float(plan["plan"]["at_most"]) < 0.02
    assert (first["key"], first["index"], first["state"]) == ("00001", 0, "done")
    picture = {"path": "out/images/00001.png", "media_type": "image/png", "width": 48, "height": 32}
    assert first["images"] == [{**picture, "bytes": len(pictures["png"])}]
    assert first["usage"]["total_tokens"] > 0
    assert (second["state"], second["error"]["type"]) == ("blocked", "ModerationBlockedError")
    assert (third["state"], third["error"]["maybe_billed"], third["error"]["status_code"]) == (
        "unknown",
        True,
        500,
    )
    assert third["request_id"].startswith("req_")
    assert summary["summary"].pop("elapsed") >= 0
    assert summary["summary"] == {
        "total": 3,
        "done": 1,
        "away": 0,
        "failed": 1,
        "blocked": 1,
        "unknown": 1,
        "missing": 0,
        "not_started": 0,
        "unknown_keys": ["00003"],
        "spent": "0.00589",
        "unpriced": 1,
        "stopped": None,
    }


def test_a_budget_stops_in_time(cli: Cli, server: Any, prompts: str) -> None:
    """Nothing is started that might not fit; a larger budget goes on, and counts what was spent before."""
    done = cli("batch", prompts, "--out", "out", *CHEAP, "--budget", "0.01", "--concurrency", "1")
    assert (done.code, server.posts) == (1, 1)
    assert "budget: $0.01 for all runs of this folder\n" in done.err
    assert "1 of 3 requests done, 2 not started\n" in done.err
    assert "the next request might exceed the budget of $0.01: raise --budget to continue\n" in done.err
    done = cli("batch", prompts, "--out", "out", *CHEAP, "--budget", "$1")
    assert (done.code, server.posts) == (0, 3)
    assert "budget: $1.00 for all runs of this folder, $0.0059 of it spent before\n" in done.err
    assert "$0.0118 spent, $0.0177 in all runs\n" in done.err


@pytest.mark.parametrize(
    ("fault", "said", "stopped"),
    [("quota_429", "insufficient_quota", "quota"), ("status:401", "OPENAI_API_KEY", "key")],
)
def test_what_concerns_all_of_them_ends_the_batch(
    cli: Cli, server: Any, prompts: str, fault: str, said: str, stopped: str
) -> None:
    """It is said once, nothing is marked as failed, and the next run goes on."""
    server.script("ok", fault)
    done = cli("batch", prompts, "--out", "out", "--concurrency", "1", "--json")
    *_, error, summary = records(done.out)
    assert (done.code, server.posts) == (1, 2)
    assert said in error["error"]["message"]
    assert (summary["summary"]["not_started"], summary["summary"]["stopped"]) == (2, stopped)
    assert done.err.count("error: ") == 1
    assert "1 of 3 requests done, 2 not started\n" in done.err
    assert "run the same command again to send the remaining requests\n" in done.err
    assert cli("batch", prompts, "--out", "out", "-q").code == 0


def test_a_server_that_is_not_there(
    cli: Cli, server: Any, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, and then the batch ends instead of failing row by row."""
    from attrs import evolve

    from openai_images.cli.batch_job import BatchJob

    patient = BatchJob.batch_options.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(BatchJob, "batch_options", property(lambda job: evolve(patient(job), max_outage=0)))
    done = cli("batch", prompts, "--out", "out", "--base-url", "http://127.0.0.1:1/v1")
    assert (done.code, done.out, server.posts) == (1, "", 0)
    assert "error: the batch stopped because the server stayed unreachable: " in done.err
    assert "0 of 3 requests done, 3 not started\n" in done.err


def test_a_folder_that_is_full(cli: Cli, server: Any, prompts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is finished is there; the words say what to do, and the next run goes on."""
    from openai_images import Batch

    async def fail(_: Batch) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Batch, "__anext__", fail)
    done = cli("batch", prompts, "--out", "out")
    assert (done.code, done.out) == (1, "")
    assert "error: cannot write to 'out': No space left on device\n" in done.err
    assert "Check the folder, then run the same command again.\n" in done.err
    monkeypatch.undo()


def test_interrupted_before_the_first_request(
    cli: Cli, server: Any, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent, and it says so."""

    def interrupt(*_: Any, **__: Any) -> list[str]:
        signal.raise_signal(signal.SIGINT)
        return []

    monkeypatch.setattr("openai_images.cli.batch.plan_lines", interrupt)
    # Whoever runs the tests in the background has SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        done = cli("batch", prompts, "--out", "out", "-q")
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == (130, "", "error: interrupted: nothing was sent\n")
    assert server.posts == 0


def test_a_budget_needs_prices(cli: Cli, server: Any, prompts: str) -> None:
    """A model without one is refused, until the user gives it a price."""
    argv = (
        "batch",
        prompts,
        "--out",
        "out",
        "--model",
        "their-model",
        "--size",
        "1024x1024",
        "--budget",
        "1",
    )
    done = cli(*argv)
    assert (done.code, done.out, server.posts) == (2, "", 0)
    assert "a budget needs prices" in done.err
    assert "estimated cost: unknown (no price is known for 'their-model')" in cli(*argv[:6], "--dry-run").err


def test_a_dry_run_sends_nothing(
    cli: Cli, server: Any, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what would be done and what it may cost, needs no key, and leaves no folder behind."""
    monkeypatch.delenv("OPENAI_API_KEY")
    done = cli("batch", prompts, "--out", "out", *CHEAP, "--dry-run", "--budget", "3")
    assert (done.code, done.out, server.posts, Path("out").exists()) == (0, "", 0, False)
    first, cost, head, row, budget, last = done.err.splitlines()
    assert head.split() == ["model", "requests", "images", "estimated", "cost"]
    assert row.split() == ["gpt-image-2", "3", "3", "at", "most", "$0.0181"]
    assert (first, budget) == ("3 requests to do", "budget: $3.00 for all runs of this folder")
    assert cost.startswith("estimated cost: at most $0.018")
    assert last == "dry run: nothing was sent"


def test_a_dry_run_of_a_batch_that_was_begun(cli: Cli, server: Any, prompts: str) -> None:
    """It tells what is left, and what an option would change."""
    server.script("status:400")
    cli("batch", prompts, "--out", "out", "--concurrency", "1")
    done = cli("batch", prompts, "--out", "out", "--dry-run", "--retry-failed", "--json", "-q")
    assert (done.code, done.err, server.posts) == (0, "", 3)
    assert records(done.out)[0]["plan"]["to_send"] == 1


def test_without_a_key_nothing_is_painted(cli: Cli, prompts: str) -> None:
    """It says which two ways there are."""
    done = cli("batch", prompts, "--out", "out")
    assert (done.code, done.out, Path("out").exists()) == (2, "", False)
    assert done.err.startswith("error: no API key: set OPENAI_API_KEY")
    assert "--local" in done.err


def test_stand_ins_say_so(cli: Cli, prompts: str) -> None:
    """They need no key, cost nothing, and the folder and its page say what they are."""
    done = cli("batch", prompts, "--out", "out", "--local", "--size", "1024x640")
    assert (done.code, len(done.out.splitlines())) == (0, 3)
    assert done.err.startswith("local placeholder image: ")
    assert "estimated cost: nothing (placeholder images); at the API at most $" in done.err
    assert "nothing is billed (the API's price would be $" in done.err
    assert "not generated by a model" in Path("out/stand-ins.txt").read_text()
    assert "not generated by a model" in Path("out/index.html").read_text()


def test_stand_ins_and_pictures_are_never_mixed(cli: Cli, server: Any, prompts: str) -> None:
    """A folder of the one is refused to the other; a folder for which nothing was sent is free."""
    argv = ("--budget", "1", "--model", "their-model")
    assert cli("batch", prompts, "--out", "out", "--local", *argv).code == 2
    assert Path("out/journal.jsonl").exists()
    assert cli("batch", prompts, "--out", "out").code == 0
    for more in ([], ["--dry-run"]):
        done = cli("batch", prompts, "--out", "out", "--local", *more)
        assert (done.code, done.out) == (2, "")
        assert (
            "the images in 'out' are by a model, and those of this run would be by placeholders" in done.err
        )
    assert cli("batch", prompts, "--out", "painted", "--local").code == 0
    done = cli("batch", prompts, "--out", "painted")
    assert (done.code, server.posts) == (2, 3)
    assert "the images in 'painted' are by local placeholders" in done.err


def test_a_reader_that_leaves_loses_nothing(cli: Cli, server: Any, prompts: str) -> None:
    """The images are files: all of them are made, and the exit code says that stdout was not written."""
    from openai_images.cli import main

    class Left(io.StringIO):
        """Nobody reads any more."""

        def write(self, text: str) -> int:
            """Cannot."""
            raise BrokenPipeError

    for number, argv in enumerate(([], ["--json"]), 1):
        errors = io.StringIO()
        assert main(["batch", prompts, "--out", f"out{number}", *argv], Left(), errors) == 1
        assert "3 of 3 requests done" in errors.getvalue()
    assert server.posts == 6


def test_a_terminal_that_is_closed_loses_nothing(
    cli: Cli, server: Any, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither stream can be written, and every image arrives."""
    from openai_images.cli import main

    class Closed(Terminal):
        """Nobody is there."""

        def write(self, text: str) -> int:
            """Cannot."""
            raise OSError(5, "Input/output error")

    monkeypatch.setenv("TERM", "xterm-256color")
    assert main(["batch", prompts, "--out", "out"], Closed(), Closed()) == 1
    assert names(Path("out/images")) == ["00001.png", "00002.png", "00003.png"]


def test_on_a_terminal(cli: Cli, server: Any, prompts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A region that is taken away in the end, and the cursor is back."""
    monkeypatch.setenv("TERM", "xterm-256color")
    done = cli("batch", prompts, "--out", "out", err=Terminal())
    assert (done.code, len(done.out.splitlines())) == (0, 3)
    assert done.err.index("\x1b[?25l") < done.err.index("0 s so far") < done.err.index("\x1b[2K")
    assert done.err.endswith("contact sheet: out/index.html\n")
    assert done.err.rindex("\x1b[?25h") > done.err.rindex("\x1b[2K")


@pytest.mark.parametrize("argv", [["-v"], ["-q"], ["--json"], []])
def test_no_prompt_and_no_key_in_either_stream(cli: Cli, server: Any, argv: list[str]) -> None:
    """Not even where the server repeats them; the page and the records have them, and what failed its beginning."""
    Path("secret.txt").write_text(
        "a red fox in the snow at dawn, in oil on canvas, as nobody else may read\n" * 3
    )
    server.script("ok", "echo_secrets")
    done = cli("batch", "secret.txt", "--out", "out", "--concurrency", "1", *argv)
    assert done.code == 1
    for text in (done.out, done.err, Path("out/journal.jsonl").read_text()):
        assert "nobody else" not in text
        assert server.api_key not in text
    shown = ("index.html", "pictures.csv", "metadata.jsonl")
    assert all("nobody else" in Path("out", name).read_text() for name in shown)
    assert "(a red fox in the snow" in done.err
    server.script("echo_secrets")
    done = cli("batch", "secret.txt", "--out", "out", "--no-prompts", "--retry-failed", *argv)
    assert (done.code, "red fox" in done.out + done.err) == (1, False)
    assert not any("nobody else" in Path("out", name).read_text() for name in shown)


def test_small_copies_for_the_page(
    cli: Cli, server: Any, prompts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Pillow is there; without it the page shows the images themselves."""
    cli("batch", prompts, "--out", "with", "-q")
    assert len(names(Path("with/thumbs/images"))) == 3
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert cli("batch", prompts, "--out", "without", "-q").code == 0
    assert not Path("without/thumbs").exists()
