"""The objects in shared storage: their names, and the rows of claims, records, inputs and runs.

Invariants: an item's id depends only on its request and on the number of equal requests before it, not on other items
or on keys. A claim that was created after the plan counts unless its attempt was certainly not executed. An input is
stored once, under the digest of its contents, for reports only; without `record_prompts` it has no prompt. Blocks.
Must not: create claims, or replace a record.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Final, NamedTuple

from attrs import fields_dict

from openai_images._util.filenames import stem_from_key
from openai_images._util.json import is_object
from openai_images.batch.items.models import BatchOptions
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import encode_row
from openai_images.batch.journal.journal_reader import JournalRow, parse_line
from openai_images.batch.journal.ledger import Ledger
from openai_images.batch.sheet.sheet_entries import encode_plain, plain_parameters
from openai_images.cluster.job import ItemSpec
from openai_images.cluster.storage import Storage
from openai_images.models.requests import GenerateRequest

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


def add_row(storage: Storage, id_: str, attempt: int, row: JournalRow) -> None:
    """Store a row about an attempt that this process has not claimed; no rows are replaced. Raises OSError."""
    data = encode_row(row)
    for number in count(1):
        if storage.create(added_name(id_, attempt, number), data):
            return


def read_lines(storage: Storage, name: str, added: int | None = None) -> list[bytes]:
    """Return the lines of a claim, or of a record and its `added` rows (None: look for them). Raises OSError.

    Lines with the state "done" come last: no row of another process overrides them.
    """
    lines: list[bytes] = []
    with suppress(FileNotFoundError):
        lines += row_lines(storage.read(name))
    attempt = parse_record(name) if name.startswith(RECORDS) else None
    if attempt is not None:
        with suppress(FileNotFoundError):
            for number in count(1) if added is None else range(1, added + 1):
                lines += row_lines(storage.read(added_name(attempt.id, attempt.number, number)))
    return sorted(lines, key=_is_done) if added != 0 else lines


def read_rows(storage: Storage, name: str) -> list[JournalRow]:
    """Return the rows of a claim, or of a record with its added rows; none if it does not exist. Raises OSError."""
    return [json.loads(line) for line in read_lines(storage, name)]


def read_settled(storage: Storage, id_: str, attempt: int, *, fetches: bool) -> list[JournalRow]:
    """Return the rows of an attempt whose images exist, so that nothing must be sent; otherwise none. Raises OSError.

    The images are stored, or remote; with `fetches`, remote images do not count: the caller knows of them.
    """
    if not attempt:
        return []
    rows = read_rows(storage, record_name(id_, attempt))
    ledger = Ledger()
    for row in rows:
        ledger.add({**row, "key": ""})
    record = ledger.get("")
    is_stored = record.state == "done" and all(
        file.is_outside or storage.exists(file.name) for file in record.files
    )
    return rows if is_stored or (record.state == "away" and not fetches) else []


def row_lines(data: bytes) -> list[bytes]:
    """Return the lines of a claim, a record or a journal that contain exactly one row."""
    return [line for line in data.splitlines(keepends=True) if len(parse_line(line).rows) == 1]


def _is_done(line: bytes) -> bool:
    return bool(json.loads(line)["state"] == "done")


class LaterClaim(NamedTuple):
    """The last `attempt` that counts, and its `rows` if it was created, or ended, after the plan."""

    attempt: int
    rows: list[JournalRow]


def find_taken(storage: Storage, item: ItemSpec) -> LaterClaim:
    """Check the attempt known to the plan, and all later ones. Raises OSError."""
    attempt = item.attempt
    counted, rows = attempt, read_settled(storage, item.id, attempt, fetches=item.work.remote is not None)
    while storage.exists(claim_name(item.id, attempt + 1)):
        attempt += 1
        names = (record_name(item.id, attempt), claim_name(item.id, attempt))
        found = read_rows(storage, names[0]) or read_rows(storage, names[1]) or [{"state": "sent"}]
        if not all(row["state"] in ("sent", "refused") for row in found) or found[-1]["state"] == "sent":
            counted, rows = attempt, found
    return LaterClaim(counted if rows else attempt, [{**row, "key": item.key} for row in rows])


_FIELDS = frozenset(fields_dict(GenerateRequest)) - {"extra_body", "svg"}


def write_input(
    storage: Storage, items: Sequence[ResolvedItem], ids: Mapping[str, str], options: BatchOptions
) -> str:
    """Store the input, a line for each item, and return its name. Raises OSError."""
    lines = [
        encode_plain(
            {
                "key": item.key,
                "id": ids[item.key],
                "request": item.digest,
                **plain_parameters(item.request, prompts=options.record_prompts),
            }
        )
        for item in items
    ]
    data = "".join(f"{line}\n" for line in lines).encode(errors="replace")
    name = f"{INPUTS}/{hashlib.sha256(data).hexdigest()}.jsonl"
    if not storage.exists(name):
        storage.create(name, data)
    return name


def read_runs(storage: Storage) -> list[JournalRow]:
    """Return the runs, newest last, sorted by the number of earlier runs each found (clocks differ). Raises OSError."""
    runs: list[JournalRow] = []
    for entry in storage.list(RUNS):
        with suppress(ValueError):
            run: object = json.loads(storage.read(entry.name))
            if is_object(run):
                runs.append(run)
    return sorted(runs, key=_order)


def _order(run: JournalRow) -> tuple[int, str]:
    earlier = run.get("earlier")
    return earlier if isinstance(earlier, int) else 0, str(run.get("at", ""))


def read_input(storage: Storage, name: str) -> tuple[list[ResolvedItem], dict[str, str]]:
    """Return the items of an input, without what reports do not need, and their ids by key. Raises OSError."""
    items: list[ResolvedItem] = []
    ids: dict[str, str] = {}
    for line in storage.read(name).splitlines():
        try:
            row: Any = json.loads(line)
            key, id_, digest = str(row["key"]), str(row["id"]), str(row["request"])
        except (ValueError, KeyError, TypeError):
            continue
        values: dict[str, Any] = {"prompt": ""}
        values |= {name: row[name] for name in _FIELDS if isinstance(row.get(name), str | int)}
        request = GenerateRequest(**values)
        items.append(ResolvedItem(len(items), key, request, digest))
        ids[key] = id_
    return items, ids
