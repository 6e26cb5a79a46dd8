"""The outcomes of a batch: paths or JSON lines on stdout, failures on stderr.

Invariants: a stdout that is lost is reported once and stops nothing.
Must not: print a prompt.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from openai_images import DownloadError, Failed, ImagesError, ModerationBlockedError, Outcome, Succeeded
from openai_images.cli.batch_progress import BatchDisplay
from openai_images.cli.console import Console
from openai_images.cli.report import report_from, usage_record
from openai_images.cli.text import truncate

_LONGEST_REASON = 160
_STYLES = {"away": "magenta", "failed": "red", "blocked": "yellow", "unknown": "magenta"}


class BatchReporter:
    """Reports each outcome."""

    def __init__(self, console: Console, out: str) -> None:
        self._console = console
        self._out = Path(out)
        self._root = Path(os.path.abspath(out))  # noqa: PTH100  as the batch does
        self._is_lost = console.out.is_lost  # the shell closed it: nothing to report

    def report_outcome(self, outcome: Outcome, display: BatchDisplay) -> None:
        """Print the images of an outcome to stdout, or its failure to stderr."""
        if isinstance(outcome, Succeeded):
            for image in outcome.result.images:
                self.print_line(self._display_path(image.path))
            self.print_record(self._success_record(outcome))
            return
        state = _failure_state(outcome.error)
        display.failure(f"{state} {outcome.key}: {_error_line(outcome.error)}", _STYLES[state])
        self.print_record(_failure_record(outcome, state))

    def print_line(self, text: str) -> None:
        """Print a line on stdout, unless `--json`."""
        if not self._console.as_json:
            self._check(is_taken=self._console.print_result(text))

    def print_record(self, record: dict[str, Any]) -> None:
        """Print a JSON line on stdout, if `--json`."""
        if self._console.as_json:
            self._check(is_taken=self._console.print_record(record))

    def _check(self, *, is_taken: bool) -> None:
        if not is_taken and not self._is_lost:
            self._is_lost = True
            self._console.print_message(
                f"stdout takes nothing more; what is done is in {str(self._out)!r}", "yellow"
            )

    def _display_path(self, path: Path | None) -> str:
        """The path as the user would type it; absolute if it is outside the folder."""
        if path is not None and path.is_relative_to(self._root):
            path = self._out / path.relative_to(self._root)
        return str(path)

    def _success_record(self, outcome: Succeeded) -> dict[str, Any]:
        result = outcome.result
        images = [
            {
                "path": self._display_path(image.path),
                "media_type": image.media_type,
                "width": image.width,
                "height": image.height,
                "bytes": image.nbytes,
            }
            for image in result.images
        ]
        return {
            "key": outcome.key,
            "index": outcome.index,
            "state": "done",
            "images": images,
            "size": result.size,
            "quality": result.quality,
            "usage": usage_record(result),
            "request_id": result.request_id,
            "attempts": result.attempts,
            "elapsed": round(result.elapsed, 3),
        }


def read_unknown_keys(journal: Path) -> set[str]:
    """Read from the journal the keys whose outcome is unknown."""
    states: dict[str, str] = {}
    with suppress(OSError), journal.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, TypeError, KeyError, RecursionError):
                row: dict[str, Any] = json.loads(line)
                states[row["key"]] = row["state"]
    return {key for key, state in states.items() if state in ("sent", "unknown")}


def _failure_record(outcome: Failed, state: str) -> dict[str, Any]:
    error = outcome.error
    about: dict[str, Any] = {"error": {"type": type(error).__name__, "message": str(error)}}
    if isinstance(error, ImagesError):
        about = report_from(error).record()
    return {"key": outcome.key, "index": outcome.index, "state": state, **about}


def _error_line(error: Exception) -> str:
    """The error in one line; a moderation error without the server's long text."""
    if isinstance(error, ModerationBlockedError):
        what = {"input": "the prompt", "output": "the picture"}.get(error.stage, "this")
        categories = f" ({', '.join(error.categories)})" if error.categories else ""
        return truncate(f"the safety system refused {what}{categories}", _LONGEST_REASON)
    return truncate(
        report_from(error).message if isinstance(error, ImagesError) else str(error), _LONGEST_REASON
    )


def _failure_state(error: BaseException) -> str:
    if isinstance(error, ModerationBlockedError):
        return "blocked"
    if isinstance(error, DownloadError):
        return "away"
    several = [error, *getattr(error, "errors", ())]
    return "unknown" if any(getattr(one, "maybe_billed", False) for one in several) else "failed"
