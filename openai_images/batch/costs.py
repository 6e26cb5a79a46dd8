"""`read_batch_costs`: what the requests of a batch's folder took, by model, from its journal.

Invariants: reads only, so a batch may be running; money counts as in the ledger: a request that may have been billed
and whose cost nobody knows is `unpriced`, never 0; a model or a count that the journal does not have is None.
Must not: guess what a folder without a journal cost.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from openai_images._util.json import is_object
from openai_images.batch.journal import FORMAT
from openai_images.batch.journal_reader import JournalRow, parse_journal
from openai_images.batch.ledger import Ledger, Spending
from openai_images.errors import BatchFolderError

_JOURNAL: Final = "journal.jsonl"
_IMAGES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg"})
_EXTRA_FIELDS: Final = ("model", "usage", "svg_usage", "same_as")
_MAX_NAMED: Final = 3
_MAX_TOKENS: Final = 2**63


@frozen(kw_only=True)
class ModelCosts:
    """What one model took: `model` is None where the journal does not name it.

    `images` are those that came; `input_tokens` and `output_tokens` are sums of the responses that have them, None if
    none has. `cost` US dollars are known, None if no cost is; `unpriced` requests are not in it: they cost
    `unpriced_estimate` at most, None if that is not known either.
    """

    model: str | None
    images: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None
    unpriced: int = 0
    unpriced_estimate: Decimal | None = Decimal(0)


@frozen(kw_only=True)
class BatchCosts:
    """What the requests of all runs of one folder took, by model; `notes` tell which rows could not be read."""

    folder: Path
    """The batch's folder."""
    models: tuple[ModelCosts, ...]
    """What each model took."""
    notes: tuple[str, ...] = ()


def read_batch_costs(folder: str | os.PathLike[str]) -> BatchCosts:
    """Sum the journal in a batch's folder; what is in flight counts as unpriced. Blocks.

    Raises `BatchFolderError`, which says what the folder is, if it is not a batch's, and OSError if it cannot be read.

    `folder` is the one given as `out`, or as `--out`.
    """
    root = Path(folder)
    if not (root / _JOURNAL).is_file():
        raise BatchFolderError(f"{str(root)!r} is not the folder of a batch: {_describe(root)}")
    contents = parse_journal((root / _JOURNAL).read_bytes(), _EXTRA_FIELDS)
    if not contents.rows:
        raise BatchFolderError(f"{str(root / _JOURNAL)!r} has no row that a batch wrote")
    if max((row.get("format", 0) for row in contents.rows if row["state"] == "begun"), default=0) > FORMAT:
        raise BatchFolderError(
            f"the journal in {str(root)!r} was written by a newer version of this package; use that one"
        )
    ledger = _CostLedger.from_journal(contents, {})
    return BatchCosts(folder=root, models=ledger.costs(), notes=tuple(contents.notes))


def _describe(root: Path) -> str:
    """Say what is there in place of a batch."""
    if not root.exists():
        return "there is nothing with this name"
    if not root.is_dir():
        return f"it is a file; name the folder that has a {_JOURNAL}"
    paths = sorted(root.iterdir())
    batches = [str(path) for path in paths if (path / _JOURNAL).is_file()]
    if batches:
        more = " …" if len(batches) > _MAX_NAMED else ""
        return f"batches are in folders of it; name those: {' '.join(batches[:_MAX_NAMED])}{more}"
    images = sum(path.suffix.lower() in _IMAGES for path in paths)
    if images:
        return f"it holds {images:,} images and no {_JOURNAL}, and only batches record what their images cost"
    return f"it has no {_JOURNAL}" if paths else "it is empty"


@define
class _ModelSums:
    """What was counted for one model."""

    spending: Spending = field(factory=Spending)
    input_tokens: int | None = None
    output_tokens: int | None = None
    images: int = 0

    def add_tokens(self, row: JournalRow) -> None:
        """Add the counts of a response: those of the image model, and of the author of an SVG."""
        for usage in (row.get("usage"), row.get("svg_usage")):
            if is_object(usage):
                self.input_tokens = _add(self.input_tokens, usage, "input_tokens")
                self.output_tokens = _add(self.output_tokens, usage, "output_tokens")


def _add(total: int | None, usage: Mapping[str, Any], name: str) -> int | None:
    count = usage.get(name)
    return (total or 0) + count if type(count) is int and 0 <= count <= _MAX_TOKENS else total


@define
class _CostLedger(Ledger):
    """A ledger that also sums by model: that of an item's last request, by key in `_models`."""

    _models: dict[str, str | None] = field(factory=dict[str, "str | None"], init=False)
    _sums: dict[str | None, _ModelSums] = field(factory=dict["str | None", _ModelSums], init=False)
    _sharing: set[str] = field(factory=set[str], init=False)

    def add(self, row: JournalRow) -> None:
        """Count a row, for the model of its item's last request."""
        key = row.get("key")
        if isinstance(key, str):
            if row["state"] == "sent":
                model = row.get("model")
                self._models[key] = model if isinstance(model, str) and model else None
            elif row.get("same_as"):
                self._sharing.add(key)
            self._sum(key).add_tokens(row)
        super().add(row)

    def _charge(self, key: str, cost: Decimal | None, estimate: Decimal | None) -> None:
        super()._charge(key, cost, estimate)
        self._sum(key).spending.charge(cost, estimate)

    def close_open(self) -> None:
        """Count also what is at the provider."""
        super().close_open()
        for key, request in self._open.items():
            self._charge(key, None, request.estimate)

    def _sum(self, key: str) -> _ModelSums:
        return self._sums.setdefault(self._models.get(key), _ModelSums())

    def costs(self) -> tuple[ModelCosts, ...]:
        """The sums by model, in the order in which they were first used."""
        for key, record in self.records.items():
            if key not in self._sharing:  # its files are another item's
                self._sum(key).images += len(record.files)
        counted = [(m, s) for m, s in self._sums.items() if s != _ModelSums()]
        return tuple(
            ModelCosts(
                model=model,
                images=sums.images,
                input_tokens=sums.input_tokens,
                output_tokens=sums.output_tokens,
                cost=sums.spending.known,
                unpriced=sums.spending.unpriced,
                unpriced_estimate=None if sums.spending.unpriceable else sums.spending.estimated,
            )
            for model, sums in counted
        )
