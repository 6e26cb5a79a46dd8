"""The cards of a batch's contact sheet, from where its items stand.

Rules: an item whose pictures are gone is shown as failed, with what to do; pictures that had to be saved elsewhere
are named, as a page in the folder cannot show them. Writing the page blocks, and spoils nothing: a page that cannot
be written is told in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from openai_images.batch.contact_sheet import STOPPED, Card, Totals, write_sheet
from openai_images.batch.models import BatchOptions, BatchSummary
from openai_images.batch.plan import Asked, Standing

__all__ = ["cards_of", "write_page"]

_log = logging.getLogger("openai_images")

_NOT_FETCHED = "its picture is paid for, and was not fetched yet; the journal has its URL"
_GONE = "it was done, and its pictures are gone; retry_missing sends it again"


def cards_of(asked: Iterable[Asked], standing: Standing) -> Iterator[Card]:
    """A card for each item, in their order."""
    for one in asked:
        record, state = standing.record(one.key), standing.state(one.key)
        reason = "" if state in ("done", "pending") else record.reason
        if state == "failed" and record.blocked:
            state = "blocked"
        elif state in ("failed", "unknown") and record.is_incomplete:
            reason = f"{len(record.files)} of {record.pictures} images: {reason}"
        elif state == "away":
            reason = reason or _NOT_FETCHED
        elif state == "missing":
            state, reason = "failed", _GONE
        away = [file.name for file in record.files if Path(file.name).is_absolute()]
        if away:
            reason = "; ".join(filter(None, [reason, f"saved as {', '.join(away)}"]))
        files = [] if reason == _GONE else [file for file in record.files if file.name not in away]
        yield Card(
            one.key,
            one.request.prompt,
            state,
            tuple(file.name for file in files),
            width=files[0].width if files else None,
            height=files[0].height if files else None,
            reason=reason,
            cost=record.cost,
            seconds=record.seconds,
        )


def write_page(root: Path, cards: Iterable[Card], summary: BatchSummary, options: BatchOptions) -> None:
    """Write `index.html`, as well as it goes."""
    totals = Totals(
        title=root.name or "Batch",
        spent=summary.spent,
        unpriced=summary.unpriced,
        elapsed=summary.elapsed,
        stopped=summary.reason if summary.reason in STOPPED else "",
        note=options.note,
    )
    try:
        write_sheet(root, cards, totals, thumbnail=options.thumbnail)
    except OSError as error:
        _log.warning("index.html could not be written to %s (%s)", root, error.strerror)
