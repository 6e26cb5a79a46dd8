"""The names of items, claims and records in shared storage.

Invariants: pure; an item's id depends only on its request and on the number of equal requests before it, not on other
items or on keys.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from openai_images._util.filenames import stem_from_key
from openai_images.batch.items.resolved_item import ResolvedItem

CLAIMS: Final = "claims"
RECORDS: Final = "records"
IMAGES: Final = "images"
INPUTS: Final = "inputs"
RUNS: Final = "runs"

_SHORT_ID = 12
_ATTEMPT = re.compile(
    r"(?:claims|records)/(?P<id>[0-9a-f]{64})\.(?P<attempt>[0-9]{1,9})(?:-(?P<added>[0-9]{1,9}))?(?:\.json)?"
)


def item_id(digest: str, sample: int) -> str:
    """Return the id of an item: number `sample`, from 0, of those whose request has this digest."""
    return hashlib.sha256(f"{digest}.{sample}".encode()).hexdigest()


def item_ids(items: Iterable[ResolvedItem]) -> dict[str, str]:
    """Return the id of each item, by its key."""
    samples: Counter[str] = Counter()
    ids: dict[str, str] = {}
    for item in items:
        ids[item.key] = item_id(item.digest, samples[item.digest])
        samples[item.digest] += 1
    return ids


def item_stem(key: str, id_: str) -> str:
    """Return the name of an item's files without suffix."""
    return f"{stem_from_key(key)}-{id_[:_SHORT_ID]}"


def attempt_name(id_: str, attempt: int) -> str:
    """Return the name of an attempt in rows."""
    return f"{id_}.{attempt}"


def claim_name(id_: str, attempt: int) -> str:
    """Return the name of an attempt's claim."""
    return f"{CLAIMS}/{id_}.{attempt}"


def record_name(id_: str, attempt: int) -> str:
    """Return the name of an attempt's record."""
    return f"{RECORDS}/{id_}.{attempt}.json"


def added_name(id_: str, attempt: int, number: int) -> str:
    """Return the name of a row that another process adds to an attempt's record; `number` counts from 1."""
    return f"{RECORDS}/{id_}.{attempt}-{number}.json"


class RecordName(NamedTuple):
    """The parts of a claim's or record's name; `added` is the number of an added row, 0 for the record itself."""

    id: str
    number: int
    added: int = 0


def parse_record(name: str) -> RecordName | None:
    """Parse the name of a claim or record; None for another name."""
    match = _ATTEMPT.fullmatch(name)
    return None if match is None else RecordName(match["id"], int(match["attempt"]), int(match["added"] or 0))
