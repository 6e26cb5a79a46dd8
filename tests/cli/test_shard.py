"""`batch --shard` and `batch-status`: several processes on one folder, and all of them together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def prompts(empty_folder: Path) -> str:
    """A file of eight prompts."""
    Path("prompts.txt").write_text("".join(f"otter {number}\n" for number in range(8)))
    return "prompts.txt"


def test_shards(cli: Cli, server: Any, prompts: str) -> None:
    """Each does its part and says what that is; limits and budget are divided; the status is that of all."""
    printed = 0
    for number in (1, 2):
        done = cli(
            *("batch", prompts, "--out", "out", "--shard", f"{number}/2"),
            *("--budget", "8", "--images-per-minute", "600000", "--quality", "low", "--size", "1024x1024"),
        )
        assert done.code == 0, done.err
        assert f"shard {number} of 2: " in done.err
        assert "300000 of 600000 images per minute, $4.00 of the budget of $8.00" in done.err
        assert "openai-images batch-status out" in done.err
        printed += len(done.out.splitlines())
        assert all(Path(line).is_file() for line in done.out.splitlines())
        status = cli("batch-status", "out", "--json")
        record = json.loads(status.out)
        assert (record["summary"]["done"], record["runs"]) == (printed, number)
        assert status.code == (0 if printed == 8 else 1)
    assert printed == 8
    status = cli("batch-status", "out")
    assert status.out.splitlines()[0] == "8 of 8 requests done"
    assert f"contact sheet: {Path('out').absolute()}/index.html" in status.out
    assert "otter 7" in Path("out/index.html").read_text()


def test_what_is_unknown(cli: Cli, server: Any, prompts: str) -> None:
    """It is listed with its worker, and what can be done about it."""
    assert cli("batch", prompts, "--out", "out", "--shard", "1/1").code == 0
    [record] = [path for path in Path("out/records").iterdir() if '"00003"' in path.read_text()]
    record.unlink()
    for path in Path("out/images").glob("00003-*"):
        path.unlink()
    status = cli("batch-status", "out")
    assert status.code == 1
    assert "7 of 8 requests done, 1 unknown" in status.out
    assert "unknown 00003: claimed by " in status.out
    assert "--retry-unknown sends them again, and may pay twice" in status.err
    again = cli("batch", prompts, "--out", "out")
    assert (again.code, again.out) == (1, "")
    assert "unknown: 00003: it was sent and no image came back" in again.err
    again = cli("batch", prompts, "--out", "out", "--retry-unknown")
    assert (again.code, len(again.out.splitlines())) == (0, 1)


def test_why_it_is_unknown(cli: Cli, server: Any, prompts: str) -> None:
    """Where the process saw its end it says why, in the place of who has claimed it."""
    server.script("close_after_body")
    assert cli("batch", prompts, "--out", "out", "--shard", "1/1").code == 1
    status = cli("batch-status", "out")
    [line] = [line for line in status.out.splitlines() if line.startswith("unknown ")]
    assert "claimed by" not in line
    assert "may have been billed" in line
    [claim] = json.loads(cli("batch-status", "out", "--json").out)["claims"]
    assert (claim["worker"], claim["attempt"]) == ("", 1)
    assert claim["reason"]


def test_a_dry_run(cli: Cli, server: Any, prompts: str) -> None:
    """It says what the shard would send, and writes nothing."""
    done = cli("batch", prompts, "--out", "out", "--shard", "1/2", "--dry-run")
    assert done.code == 0
    assert "dry run: nothing was sent" in done.err
    assert "shard 1 of 2" in done.err
    assert not Path("out").exists()
    assert not server.requests


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--shard", "0/4"), "there is no shard 0 of 4"),
        (("--shard", "x"), "'x' is not a shard such as 3/16"),
        (("--out", "memory://run"), "an item could be paid for twice"),
    ],
)
def test_what_cannot_be_done(cli: Cli, server: Any, prompts: str, argv: tuple[str, ...], said: str) -> None:
    """It is said before anything is sent."""
    done = cli("batch", prompts, "--out", "out", *argv)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not server.requests


def test_no_shared_batch(cli: Cli, server: Any, prompts: str) -> None:
    """A folder of one machine is no shared batch, and shards do not take it."""
    assert cli("batch", prompts, "--out", "out").code == 0
    status = cli("batch-status", "out")
    assert (status.code, status.out) == (2, "")
    assert "it has no folder 'claims'" in status.err
    shard = cli("batch", prompts, "--out", "out", "--shard", "1/2")
    assert (shard.code, shard.out) == (2, "")
    assert "the folder of a batch on one machine" in shard.err


def test_stand_ins_and_a_models_pictures(cli: Cli, server: Any, prompts: str) -> None:
    """They never share a folder, on many machines either."""
    assert cli("batch", prompts, "--out", "out", "--shard", "1/1").code == 0
    mixed = cli("batch", prompts, "--out", "out", "--shard", "1/1", "--local")
    assert mixed.code == 2
    assert "the images in 'out' are by a model" in mixed.err
