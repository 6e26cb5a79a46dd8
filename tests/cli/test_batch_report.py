"""What is told of each request of a batch as it ends."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from openai_images import (
    DownloadError,
    Failed,
    GenerateRequest,
    Image,
    ImageResult,
    ImagesError,
    ModerationBlockedError,
    PartialResultError,
    StreamInterruptedError,
    Succeeded,
)
from openai_images.cli.batch_progress import BatchDisplay
from openai_images.cli.batch_report import BatchReporter
from openai_images.cli.console import Console

REQUEST = GenerateRequest("a red fox\nin the snow, and more than anybody else may read")
BEGINNING = "a red fox\\nin the snow, and more than any…"


def told(outcome: Any, *, as_json: bool = False) -> tuple[str, str]:
    """Both streams after one outcome."""
    console = Console(io.StringIO(), io.StringIO(), as_json=as_json)
    BatchReporter(console, "out/").report_outcome(outcome, BatchDisplay(console))
    streams: Any = console.out.stream, console.err.stream
    return streams[0].getvalue(), streams[1].getvalue()


def blocked(stage: str, *categories: str) -> ModerationBlockedError:
    """A refusal for safety."""
    error = ModerationBlockedError("a long letter", status_code=400)
    error.stage, error.categories = stage, categories
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            blocked("input", "violence", "other"),
            "blocked k: the safety system blocked the prompt (violence, other)",
        ),
        (blocked("output"), "blocked k: the safety system blocked the image"),
        (blocked("unknown"), "blocked k: the safety system blocked this"),
        (StreamInterruptedError("it broke"), "unknown k: it broke"),
        (DownloadError("it is\nelsewhere"), "away k: it is elsewhere"),
        (OSError(28, "No space left on device"), "failed k: [Errno 28] No space left on device"),
        (ImagesError("x" * 500), f"failed k: {'x' * 159}…"),
        (
            PartialResultError("half", result=None, errors=[StreamInterruptedError("it broke")]),
            "unknown k: half",
        ),
    ],
)
def test_a_failure_is_a_line(error: Exception, said: str) -> None:
    """What it is, whose it is with the beginning of its prompt unless that is hidden, and why; the same in JSON."""
    outcome = Failed(7, "k", REQUEST, error)  # type: ignore[arg-type]
    assert told(outcome) == ("", f"{said}\n".replace(" k:", f" k ({BEGINNING}):"))
    assert told(evolve(outcome, show_prompt=False)) == ("", f"{said}\n")
    record = json.loads(told(outcome, as_json=True)[0])
    assert (record["key"], record["index"], record["state"]) == ("k", 7, said.split(maxsplit=1)[0])
    assert record["error"]["type"] == type(error).__name__


def test_a_path_is_as_the_user_would_type_it(tmp_path: Path) -> None:
    """One that had to be written elsewhere is whole."""
    here = Image(path=Path("out/images/k.png").absolute())
    elsewhere = Image(path=tmp_path / "k.png")
    out, _ = told(Succeeded(0, "k", REQUEST, ImageResult((here, elsewhere))))
    assert out == f"out/images/k.png\n{elsewhere.path}\n"
