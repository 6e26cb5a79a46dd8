"""What a run will do, decided before anything is sent: from what is asked, what the journal says, and what is there.

Rules: pure. What is done is never sent again; what may have been billed only when asked for, and so is what failed and
what was deleted. What is behind a URL is fetched, which costs nothing, before anything is sent. An item whose request
is not the one in the journal stops the run before anything is sent, unless it was never paid for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import frozen

from openai_images.batch.asked import Asked
from openai_images.batch.ledger import Ledger
from openai_images.batch.models import BatchOptions, BatchPlan
from openai_images.errors import BatchFolderError

__all__ = ["Found", "make_plan", "refuse_changes", "refuse_lost_rows"]

_SHOWN = 10


@frozen(kw_only=True)
class Found:
    """What the folder showed: keys of done items whose pictures are gone, or not what was written, and what to tell."""

    missing: Collection[str] = frozenset()
    altered: Collection[str] = frozenset()
    notes: Sequence[str] = ()


def refuse_changes(asked: Iterable[Asked], ledger: Ledger) -> None:
    """Raise `BatchFolderError` where something that may have been paid for is now asked for differently."""
    changed = [one.key for one in asked if _is_changed(one, ledger) and _was_paid(one, ledger)]
    if changed:
        shown = ", ".join(repr(key[:40]) for key in changed[:_SHOWN])
        more = f" and {len(changed) - _SHOWN:,} more" if len(changed) > _SHOWN else ""
        items = "1 item is" if len(changed) == 1 else f"{len(changed):,} items are"
        msg = (
            f"{items} not what this folder's journal has under the same key, and may have been paid for already: "
            f"{shown}{more}; nothing was sent. Use another folder, give new prompts keys of their own or put them "
            "behind the old ones, or go back to the old prompts and parameters"
        )
        raise BatchFolderError(msg)


def refuse_lost_rows(strays: Sequence[str], folder: str) -> None:
    """Raise `BatchFolderError` where pictures of what would be sent are there, and the journal does not know them."""
    if strays:
        shown = ", ".join(repr(name[:80]) for name in strays[:_SHOWN])
        more = f" and {len(strays) - _SHOWN:,} more" if len(strays) > _SHOWN else ""
        images = "1 image is" if len(strays) == 1 else f"{len(strays):,} images are"
        msg = (
            f"{images} in {folder!r} that no row of the journal knows, with the names of items that would be sent, and "
            f"paid for again: {shown}{more}; nothing was sent. journal.jsonl has lost rows: restore it. To have them "
            "generated again, move these images to another folder first"
        )
        raise BatchFolderError(msg)


def make_plan(asked: Sequence[Asked], ledger: Ledger, found: Found, options: BatchOptions) -> BatchPlan:
    """The plan of a run."""
    states = {one.key: _state(one, ledger, found) for one in asked}
    wanted = {"pending"}
    wanted |= {"failed"} if options.retry_failed else set()
    wanted |= {"unknown", "away"} if options.retry_unknown else set()
    wanted |= {"missing"} if options.retry_missing else set()
    to_send = {one.key for one in asked if states[one.key] in wanted}
    same = _shared(asked, states, to_send) if options.dedupe else {}
    states |= {key: states[leader] for key, leader in same.items() if leader not in to_send}

    def of(state: str) -> tuple[str, ...]:
        return tuple(one.key for one in asked if states[one.key] == state)

    done = of("done")
    return BatchPlan(
        total=len(asked),
        done=done,
        away=of("away"),
        pending=of("pending"),
        failed=of("failed"),
        unknown=of("unknown"),
        missing=of("missing"),
        adopted=tuple(key for key in done if ledger.of_key(key).adopted),
        altered=tuple(key for key in done if key in found.altered),
        changed=tuple(one.key for one in asked if _is_changed(one, ledger)),
        removed=tuple(
            key for key, record in ledger.records.items() if key not in states and record.state != "pending"
        ),
        to_send=tuple(one.key for one in asked if one.key in to_send and one.key not in same),
        same=same,
        notes=tuple(found.notes),
        spent=ledger.spending.known,
        unpriced=ledger.spending.unpriced,
    )


def _state(one: Asked, ledger: Ledger, found: Found) -> str:
    if _is_changed(one, ledger):
        return "pending"
    return "missing" if one.key in found.missing else ledger.of_key(one.key).state


def _is_changed(one: Asked, ledger: Ledger) -> bool:
    """Whether the journal has another request under this key."""
    return ledger.of_key(one.key).request not in ("", one.digest)


def _was_paid(one: Asked, ledger: Ledger) -> bool:
    return ledger.of_key(one.key).state in ("done", "away", "unknown")


def _shared(asked: Iterable[Asked], states: Mapping[str, str], to_send: Collection[str]) -> dict[str, str]:
    """For each item that need not be sent, the one with the same request that stands for it."""
    groups: dict[str, list[str]] = {}
    for one in asked:
        groups.setdefault(one.digest, []).append(one.key)
    same: dict[str, str] = {}
    for group in groups.values():
        waiting = [key for key in group if key in to_send]
        leader = _leader(group, states, waiting)
        same |= {key: leader for key in waiting if key != leader}
    return same


def _leader(group: Sequence[str], states: Mapping[str, str], waiting: Sequence[str]) -> str:
    """The one that is done; else the one that is fetched, sent by choice, or settled, in this order; else the first."""
    by_choice = [key for key in waiting if states[key] != "pending"]
    settled = [key for key in group if key not in waiting and states[key] in ("failed", "unknown")]
    done = [key for state in ("done", "away") for key in group if states[key] == state]
    return next(iter([*done, *by_choice, *settled, *group]))
