"""What items, claims and records are called in shared storage.

Invariants: pure. An item's id depends on its request and on how many equal requests come before it, on nothing else:
neither the order of the input nor the keys of people matter.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from openai_images._util.filenames import stem_from_key
from openai_images.batch.items import ResolvedItem

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
    """The id of the item number `sample`, from 0, with this digest of its request."""
    return hashlib.sha256(f"{digest}.{sample}".encode()).hexdigest()


def item_ids(items: Iterable[ResolvedItem]) -> dict[str, str]:
    """The id of each item, by its key."""
    samples: Counter[str] = Counter()
    ids: dict[str, str] = {}
    for item in items:
        ids[item.key] = item_id(item.digest, samples[item.digest])
        samples[item.digest] += 1
    return ids


def item_stem(key: str, id_: str) -> str:
    """The name of an item's files, without suffix."""
    return f"{stem_from_key(key)}-{id_[:_SHORT_ID]}"


def attempt_name(id_: str, attempt: int) -> str:
    """An attempt, as rows name it."""
    return f"{id_}.{attempt}"


def claim_name(id_: str, attempt: int) -> str:
    """The object that claims an attempt."""
    return f"{CLAIMS}/{id_}.{attempt}"


def record_name(id_: str, attempt: int) -> str:
    """The object with the rows of an attempt."""
    return f"{RECORDS}/{id_}.{attempt}.json"


def added_name(id_: str, attempt: int, number: int) -> str:
    """The object with a row that another process than the attempt's adds to its record, `number` from 1."""
    return f"{RECORDS}/{id_}.{attempt}-{number}.json"


class RecordName(NamedTuple):
    """What a claim or record is about; `added` is the number of a row that was added to it, 0 for itself."""

    id: str
    number: int
    added: int = 0


def parse_record(name: str) -> RecordName | None:
    """The id and the number of a claim or record; None for another name."""
    match = _ATTEMPT.fullmatch(name)
    return None if match is None else RecordName(match["id"], int(match["attempt"]), int(match["added"] or 0))


def parse_attempt(name: str) -> tuple[str, int] | None:
    """The id and the number of the attempt of a claim or record; None for another name."""
    parsed = parse_record(name)
    return None if parsed is None else parsed[:2]
