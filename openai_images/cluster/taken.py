"""What was claimed of an item since a run was planned: by another run, or by this one, whose engine runs it twice.

Invariants: an attempt that was provably not executed does not count. Blocks.
"""

from __future__ import annotations

from attrs import define, field

from openai_images.batch.journal_reader import JournalRow
from openai_images.cluster.claim_store import read_rows
from openai_images.cluster.job import ItemSpec
from openai_images.cluster.names import claim_name, record_name
from openai_images.cluster.storage import Storage


@define
class Taken:
    """The last `attempt` at an item, and the `rows` of one that was claimed since it was planned, if it counts."""

    attempt: int
    rows: list[JournalRow] = field(factory=list[JournalRow])


def find_taken(storage: Storage, item: ItemSpec) -> Taken:
    """Look for attempts after the one that was planned with; those not executed do not count. Raises OSError."""
    attempt = item.attempt
    while storage.exists(claim_name(item.id, attempt + 1)):
        attempt += 1
        try:
            rows = read_rows(storage, record_name(item.id, attempt))
        except FileNotFoundError:
            rows = []
        rows = rows or read_rows(storage, claim_name(item.id, attempt)) or [{"state": "sent"}]
        if rows[-1]["state"] != "refused":
            return Taken(attempt, [{**row, "key": item.key} for row in rows])
    return Taken(attempt)
