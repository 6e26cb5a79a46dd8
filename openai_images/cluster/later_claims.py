"""Finds claims of an item that were created after the plan: by another run, or by this one if its engine runs it twice.

Invariants: an attempt that was certainly not executed does not count; the attempt known to the plan counts if it has
ended with images since then. Blocks.
"""

from __future__ import annotations

from contextlib import suppress

from attrs import define, field

from openai_images.batch.journal.journal_reader import JournalRow
from openai_images.cluster.claim_store import read_rows, read_settled
from openai_images.cluster.job import ItemSpec
from openai_images.cluster.storage import Storage
from openai_images.cluster.storage_names import claim_name, record_name


@define
class LaterClaim:
    """The last `attempt` that counts, and its `rows` if it was created, or ended, after the plan."""

    attempt: int
    rows: list[JournalRow] = field(factory=list[JournalRow])


def find_taken(storage: Storage, item: ItemSpec) -> LaterClaim:
    """Check the attempt known to the plan, and all later ones. Raises OSError."""
    attempt = item.attempt
    taken = LaterClaim(attempt, read_settled(storage, item.id, attempt, fetches=item.work.remote is not None))
    while storage.exists(claim_name(item.id, attempt + 1)):
        attempt += 1
        rows = _read_attempt(storage, item.id, attempt)
        if not all(row["state"] in ("sent", "refused") for row in rows) or rows[-1]["state"] == "sent":
            taken = LaterClaim(attempt, rows)
    if not taken.rows:
        return LaterClaim(attempt)
    return LaterClaim(taken.attempt, [{**row, "key": item.key} for row in taken.rows])


def _read_attempt(storage: Storage, id_: str, attempt: int) -> list[JournalRow]:
    for name in (record_name(id_, attempt), claim_name(id_, attempt)):
        with suppress(FileNotFoundError):
            return read_rows(storage, name)
    return [{"state": "sent"}]
