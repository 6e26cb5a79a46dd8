"""The plan, outcomes and summary of a batch, as text and as JSON lines.

Invariants: every count that is not zero is printed, with advice; a lost stdout is reported once and stops nothing.
Must not: print more than the beginning of a prompt (with a failure); report an unknown cost as zero, or the price of a
placeholder image as billed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from attrs import frozen

from openai_images import (
    BatchSummary,
    DownloadError,
    Image,
    ImagesError,
    ModerationBlockedError,
    Outcome,
    Succeeded,
)
from openai_images.cli.batch_progress import BatchDisplay
from openai_images.cli.console import (
    Console,
    decimal_text,
    dollars,
    duration,
    images_per_minute,
    plural,
    truncate,
)
from openai_images.cli.error_report import name_options, report_from
from openai_images.cli.image_reporter import call_record, image_record

_MAX_REASON_LENGTH = 160
_MAX_UNKNOWN_KEYS = 20
_RETRY_UNKNOWN = "--retry-unknown sends requests again whose images cannot be fetched, and may pay twice"
_NEW_PROMPT = "requests that moderation blocked need another prompt"
_RETRY_FAILED = "--retry-failed sends failed requests again"
_STYLES = {"away": "magenta", "failed": "red", "blocked": "yellow", "unknown": "magenta"}


class BatchReporter:
    """Reports each outcome."""

    def __init__(self, console: Console, out: str) -> None:
        self._console = console
        self._out = Path(out)
        self._root = Path(os.path.abspath(out))  # noqa: PTH100  as the batch does
        self._is_lost = console.out.is_lost  # closed by the shell: nothing to report

    def report_outcome(self, outcome: Outcome, display: BatchDisplay) -> None:
        """Print the images of an outcome to stdout, or its failure to stderr."""
        if isinstance(outcome, Succeeded):
            result, state = outcome.result, "done"
            paths = [self._display_place(image) for image in result.images]
            for path in () if self._console.as_json else paths:
                self._check(is_taken=self._console.print_result(path))
            images = [image_record(*each) for each in zip(result.images, paths, strict=True)]
            about = {"images": images, **call_record(result, "size", "quality")}
        else:
            error, state = outcome.error, _failure_state(outcome.error)
            prompt = f" ({outcome.prompt_beginning})" if outcome.prompt_beginning else ""
            display.failure(f"{state} {outcome.key}{prompt}: {_error_line(error)}", _STYLES[state])
            about = {"error": {"type": type(error).__name__, "message": str(error)}}
            if isinstance(error, ImagesError):
                about = report_from(error).record()
        self.print_record({"key": outcome.key, "index": outcome.index, "state": state, **about})

    def print_record(self, record: dict[str, Any]) -> None:
        """Print a JSON line on stdout, if `--json`."""
        if self._console.as_json:
            self._check(is_taken=self._console.print_record(record))

    def _check(self, *, is_taken: bool) -> None:
        if not is_taken and not self._is_lost:
            self._is_lost = True
            self._console.print_message(
                f"warning: stdout is closed; finished images are in {str(self._out)!r}", "yellow"
            )

    def _display_place(self, image: Image) -> str:
        """Return the path as the user would type it, absolute outside the folder; the URL if there is no path."""
        path = image.path
        if path is None and image.url is not None:
            return image.url
        if path is not None and path.is_relative_to(self._root):
            path = self._out / path.relative_to(self._root)
        return str(path)


def _error_line(error: Exception) -> str:
    """Return the error in one line; a moderation error without the server's long text."""
    if isinstance(error, ModerationBlockedError):
        what = {"input": "the prompt", "output": "the image"}.get(error.stage, "this")
        categories = f" ({', '.join(error.categories)})" if error.categories else ""
        line = f"the safety system blocked {what}{categories}"
    else:
        line = report_from(error).message if isinstance(error, ImagesError) else str(error)
    return truncate(line, _MAX_REASON_LENGTH)


def _failure_state(error: BaseException) -> str:
    if isinstance(error, ModerationBlockedError):
        return "blocked"
    if isinstance(error, DownloadError):
        return "away"
    errors = [error, *getattr(error, "errors", ())]
    return "unknown" if any(getattr(each, "maybe_billed", False) for each in errors) else "failed"


@frozen(kw_only=True)
class RunSummary:
    """The end of a run; `out` is the folder as the user typed it, `spent_before` the cost of earlier runs."""

    summary: BatchSummary
    out: str
    images_per_minute: float = 0.0
    spent_before: Decimal | None = None
    budget: Decimal | None = None
    unknown: Sequence[str] = ()
    is_local: bool = False
    is_shared: bool = False

    @property
    def lines(self) -> list[str]:
        """The lines to print."""
        sheet = f"contact sheet: {self._sheet}"
        if self.is_shared:
            sheet = f"all processes together, and the contact sheet: openai-images batch-status {self.out}"
        return [self._counts, self._pace, *self._advice, sheet]

    @property
    def status_lines(self) -> list[str]:
        """The lines for `batch-status`, which does not run the batch."""
        money = self._pace.partition(", ")[2]
        return [self._counts, money, *self._advice]

    @property
    def record(self) -> dict[str, Any]:
        """The JSON line."""
        summary = self.summary
        names = ("total", "done", "away", "failed", "blocked", "unknown", "missing", "not_started")
        record: dict[str, Any] = {name: getattr(summary, name) for name in names}
        record |= {"incomplete": summary.incomplete} if summary.incomplete else {}
        record |= {"submitted": summary.submitted} if summary.submitted else {}
        record |= {"unknown_keys": list(self.unknown), "spent": decimal_text(summary.spent)}
        record |= {"unpriced": summary.unpriced, "stopped": summary.reason or None}
        return {"summary": record | {"elapsed": round(summary.elapsed, 3)}}

    @property
    def exit_code(self) -> int:
        """0 if every request is done, else 1."""
        return 0 if self.summary.done == self.summary.total else 1

    @property
    def _spent(self) -> Decimal | None:
        """The cost of this run, also of images that were complete only after it was abandoned; None if it has none."""
        total = self.summary.spent
        return None if total is None else (total - (self.spent_before or 0)) or None

    @property
    def _counts(self) -> str:
        summary = self.summary
        blocked = (summary.blocked, "blocked by moderation")
        of_these = ", ".join(_not_zero(blocked, (summary.incomplete, "with only some of the images")))
        parts = _not_zero(
            (summary.failed, f"failed ({of_these})" if of_these else "failed"),
            (summary.unknown, "unknown"),
            (summary.away, "behind a URL"),
            (summary.submitted, "at the provider"),
            (summary.missing, "missing"),
            (summary.not_started, "not started"),
        )
        return ", ".join([f"{summary.done:,} of {plural(summary.total, 'request')} done", *parts])

    @property
    def _pace(self) -> str:
        summary, parts = self.summary, [f"in {duration(self.summary.elapsed)}"]
        if self.images_per_minute:
            parts.append(images_per_minute(self.images_per_minute))
        if self.is_local:
            would = "" if self._spent is None else f" (the API's price would be {dollars(self._spent)})"
            parts.append(f"nothing is billed{would}")
            return ", ".join(parts)
        if self._spent is not None:
            parts.append(f"{dollars(self._spent)} spent")
        if summary.spent is not None and summary.spent != self._spent:
            parts.append(f"{dollars(summary.spent)} in all runs")
        if summary.unpriced:
            unpriced = f"{plural(summary.unpriced, 'request')} of unknown cost"
            parts.append(unpriced if summary.spent is None else f"not counting {unpriced}")
        return ", ".join(parts)

    @property
    def _advice(self) -> list[str]:
        summary, parts = self.summary, list[str]()
        if summary.submitted:
            parts.append(
                "batches at the provider continue without this machine and end within 24 hours: run the same command "
                "again to collect them (with --economy), or add --cancel to cancel them"
            )
        if summary.reason == "budget":
            of = "" if self.budget is None else f" of {dollars(self.budget)}"
            parts.append(f"the next request might exceed the budget{of}: raise --budget to continue")
            parts += [f"assumed: {name_options(summary.assumed_cost)}"] if summary.assumed_cost else []
        elif summary.not_started:
            parts.append("run the same command again to send the remaining requests")
        if summary.failed:
            hint = _NEW_PROMPT if summary.blocked == summary.failed else _RETRY_FAILED
            parts.append(f"{hint}; the reasons are in {self._sheet}")
        if summary.incomplete:
            parts.append(
                "for requests with only some of their images, --retry-missing requests only the missing ones"
            )
        if summary.away:
            parts.append(
                "images that are not downloaded yet are paid for: run the same command again soon, as URLs expire (the "
                f"journal has them); {_RETRY_UNKNOWN}"
            )
        if summary.missing:
            parts.append("--retry-missing sends requests again whose images are gone")
        return parts

    @property
    def warning(self) -> str:
        """The keys whose outcome is unknown; "" if there are none."""
        number, shown = self.summary.unknown, self.unknown[:_MAX_UNKNOWN_KEYS]
        if not number:
            return ""
        more = f"{number - len(shown):,} more, see {self._sheet}" if number > len(shown) else ""
        keys = " and ".join(filter(None, [", ".join(shown), more]))
        it, was, them = ("it", "was", "it") if number == 1 else ("they", "were", "them")
        return (
            f"unknown: {keys}: {it} {was} sent and no image came back, so {it} may have been billed; "
            f"--retry-unknown sends {them} again, and may pay twice"
        )

    @property
    def _sheet(self) -> str:
        return os.path.join(self.out, "index.html")  # noqa: PTH118  as the user would type it


def _not_zero(*counts: tuple[int, str]) -> list[str]:
    return [f"{number:,} {words}" for number, words in counts if number]
