"""The plan, outcomes and summary of a batch, as text and as JSON lines.

Invariants: every count that is not zero is printed, with what can be done about it; a stdout that is lost is reported
once and stops nothing.
Must not: print more of a prompt than its beginning, beside a failure; call an unknown cost zero, or the price of a
placeholder image a bill.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from attrs import frozen

from openai_images import (
    BatchPlan,
    BatchSummary,
    DownloadError,
    ImagesError,
    ModerationBlockedError,
    Outcome,
    Succeeded,
)
from openai_images.cli.batch_costs import CostEstimate
from openai_images.cli.batch_progress import BatchDisplay
from openai_images.cli.console import (
    Console,
    decimal_text,
    dollars,
    duration,
    images_per_minute,
    join_limited,
    plural,
    truncate,
)
from openai_images.cli.error_report import report_from
from openai_images.cli.output import call_record, image_record

_MAX_REASON_LENGTH = 160
_MAX_UNKNOWN_KEYS = 20
_MAX_NOTED_KEYS = 5
_RETRY_UNKNOWN = "--retry-unknown sends again what cannot be fetched, and pays twice"
_NEW_PROMPT = "what moderation blocked needs another prompt"
_RETRY_FAILED = "--retry-failed sends again what failed"
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
            result, state = outcome.result, "done"
            paths = [self._display_path(image.path) for image in result.images]
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
                f"warning: stdout takes nothing more; what is done is in {str(self._out)!r}", "yellow"
            )

    def _display_path(self, path: Path | None) -> str:
        """The path as the user would type it; absolute if it is outside the folder."""
        if path is not None and path.is_relative_to(self._root):
            path = self._out / path.relative_to(self._root)
        return str(path)


def _error_line(error: Exception) -> str:
    """The error in one line; a moderation error without the server's long text."""
    if isinstance(error, ModerationBlockedError):
        what = {"input": "the prompt", "output": "the picture"}.get(error.stage, "this")
        categories = f" ({', '.join(error.categories)})" if error.categories else ""
        line = f"the safety system refused {what}{categories}"
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


def plan_lines(plan: BatchPlan, *, economy: bool = False) -> list[str]:
    """Describe what was done before, what will be done now, and what was noticed."""
    to_send = set(plan.to_send)
    resent = ", and sent again where that fails" if to_send.intersection(plan.to_fetch) else ""
    counts = (
        (plan.done, "done", ""),
        (plan.to_fetch, "behind a URL", f"paid for; fetched now{resent}"),
        (plan.submitted, "at the provider", "collected now" if economy else "--economy collects them"),
        (plan.failed, "failed", _failed_hint(plan)),
        (plan.unknown, "unknown", "may have been billed; --retry-unknown sends them again"),
        (plan.missing, "missing", "done, but their pictures are gone; --retry-missing sends them again"),
    )
    parts: list[str] = []
    for keys, state, hint in counts:
        if keys:
            again = all(key in to_send or key in plan.same for key in keys) and keys != plan.to_fetch
            what = "sent again now" if again else hint
            parts.append(f"{len(keys):,} {state}{f' ({what})' if what else ''}")
    if not parts:
        lines = [f"{plural(plan.total, 'request')} to do"]
    else:
        parts += [f"{len(plan.pending):,} to do"] if plan.pending else []
        parts += [] if plan.to_send or plan.away or plan.submitted else ["nothing to do"]
        lines = [f"resuming: {', '.join(parts)}"]
    if plan.same:
        verb = "shares" if len(plan.same) == 1 else "share"
        lines.append(f"{plural(len(plan.same), 'request')} {verb} the pictures of an identical one")
    noticed = (
        (plan.changed, "failed before, and is another request now"),
        (plan.adopted, "the picture was there, and the journal did not know it; it does now"),
        (plan.altered, "the picture is not as it was written; it is left as it is"),
        (plan.removed, "is in the journal, and no longer in the input"),
    )
    notes = [f"{what}: {join_limited(keys, _MAX_NOTED_KEYS)}" for keys, what in noticed if keys]
    return [*lines, *(f"note: {note}" for note in (*notes, *plan.notes))]


def _failed_hint(plan: BatchPlan) -> str:
    """What can be done about failed requests, or is done now about those with only some of their images."""
    incomplete = set(plan.incomplete).intersection(plan.failed)
    hint = "--retry-failed sends them again"
    if not incomplete:
        return hint
    asked = (
        "asked for now" if incomplete.intersection(plan.to_send) else "--retry-missing asks for the others"
    )
    return f"{len(incomplete):,} with only some of the images: {asked}; {hint}"


def plan_record(plan: BatchPlan, estimate: CostEstimate) -> dict[str, Any]:
    """Make the plan's JSON line; amounts are in US dollars, null if unknown."""
    names = ("done", "away", "failed", "unknown", "missing", "pending", "to_send")
    counts = {name: len(getattr(plan, name)) for name in names}
    counts |= {"submitted": len(plan.submitted)} if plan.submitted else {}
    cost = None if estimate.unpriced else decimal_text(estimate.cost)
    money = {"at_most": cost, "spent": decimal_text(plan.spent), "by_model": estimate.records()}
    return {"plan": {"total": plan.total, **counts, **money}}


@frozen(kw_only=True)
class RunSummary:
    """How a run ended; `out` is the folder as the user wrote it, `spent` the cost of this run."""

    summary: BatchSummary
    out: str
    images_per_minute: float = 0.0
    spent: Decimal | None = None
    budget: Decimal | None = None
    unknown: Sequence[str] = ()
    is_local: bool = False

    @property
    def lines(self) -> list[str]:
        """The lines to print."""
        return [self._counts, self._pace, *self._advice, f"contact sheet: {self._sheet}"]

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
            would = "" if self.spent is None else f" (the API would have taken {dollars(self.spent)})"
            parts.append(f"nothing is billed{would}")
            return ", ".join(parts)
        if self.spent is not None:
            parts.append(f"{dollars(self.spent)} spent")
        if summary.spent is not None and summary.spent != self.spent:
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
                "what is at the provider goes on without this machine, and ends within 24 hours: run the same command "
                "again to collect it (with --economy), or add --cancel to cancel it"
            )
        if summary.reason == "budget":
            of = "" if self.budget is None else f" of {dollars(self.budget)}"
            parts.append(f"the next request might not fit into the budget{of}: raise --budget to go on")
            parts += [f"assumed: {summary.assumed_cost}"] if summary.assumed_cost else []
        elif summary.not_started:
            parts.append("run the same command again to send what was not started")
        if summary.failed:
            hint = _NEW_PROMPT if summary.blocked == summary.failed else _RETRY_FAILED
            parts.append(f"{hint}; the reasons are in {self._sheet}")
        if summary.incomplete:
            parts.append("where only some of the images came, --retry-missing asks for the missing ones only")
        if summary.away:
            parts.append(
                "what is behind a URL is paid for: run the same command again to fetch it, soon, as URLs end (the "
                f"journal has them); {_RETRY_UNKNOWN}"
            )
        if summary.missing:
            parts.append("--retry-missing sends again what was done and is gone")
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
            f"unknown: {keys}: {it} {was} sent and no picture came back, so {it} may have been billed; "
            f"--retry-unknown sends {them} again, and may pay twice"
        )

    @property
    def _sheet(self) -> str:
        return os.path.join(self.out, "index.html")  # noqa: PTH118  as the user would type it


def _not_zero(*counts: tuple[int, str]) -> list[str]:
    return [f"{number:,} {words}" for number, words in counts if number]
