"""The inputs and runs of a batch in shared storage, for its status over all machines.

Invariants: an input is stored once, under the digest of its contents; without `record_prompts` it has no prompt. It is
only for reports: which items are sent depends on the input of the run alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from attrs import fields_dict

from openai_images._util.json import is_object
from openai_images.batch.items.models import BatchOptions
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal_reader import JournalRow
from openai_images.batch.sheet.sheet_entries import encode_plain, plain_parameters
from openai_images.cluster.storage import Storage
from openai_images.cluster.storage_names import INPUTS, RUNS
from openai_images.models.requests import GenerateRequest

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
