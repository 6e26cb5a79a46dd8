"""`read_batch_costs`: costs and tokens of a batch's folder, by model, from its journal.

Invariants: reads only, so a batch may be running; costs are those of the ledger: a request that may have been billed
for an unknown cost is `unpriced`, never 0; a model or count that is not in the journal is None.
Must not: guess the cost of a folder without a journal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from openai_images._util.json import is_object
from openai_images.batch.journal.journal import FORMAT
from openai_images.batch.journal.journal_reader import JournalRow, parse_journal
from openai_images.batch.journal.ledger import Ledger, Spending
from openai_images.errors import BatchFolderError

_JOURNAL: Final = "journal.jsonl"
_IMAGES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg"})
_EXTRA_FIELDS: Final = ("model", "usage", "svg_usage", "same_as")
_MAX_NAMED: Final = 3
_MAX_TOKENS: Final = 2**63


@frozen(kw_only=True)
class ModelCosts:
    """Costs and tokens of one model; `model` is None if the journal does not name it.

    `images` is the number of images received; `input_tokens` and `output_tokens` are sums over the responses that have
    them, or None. `cost` is the sum of known costs in US dollars, or None. It does not include `unpriced` requests,
    which cost `unpriced_estimate` at most (None: unknown).
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
    """Costs and tokens of all runs of a folder, by model; `notes` name the rows that could not be read."""

    folder: Path
    """The batch's folder."""
    models: tuple[ModelCosts, ...]
    """Costs and tokens of each model."""
    notes: tuple[str, ...] = ()


def read_batch_costs(folder: str | os.PathLike[str]) -> BatchCosts:
    """Add up the journal in a batch's folder; requests in flight count as unpriced. Blocks.

    `folder` is the `out` of a `Batch`, or the `--out` of the command line. Raises `BatchFolderError` if it is not a
    batch folder, and OSError if it cannot be read.
    """
    root = Path(folder)
    if not (root / _JOURNAL).is_file():
        raise BatchFolderError(f"{str(root)!r} is not the folder of a batch: {_describe(root)}")
    contents = parse_journal((root / _JOURNAL).read_bytes(), _EXTRA_FIELDS)
    if not contents.rows:
        raise BatchFolderError(f"{str(root / _JOURNAL)!r} has no row of a batch")
    if max((row.get("format", 0) for row in contents.rows if row["state"] == "begun"), default=0) > FORMAT:
        raise BatchFolderError(
            f"the journal in {str(root)!r} is from a newer version of this package; use that version"
        )
    ledger = _CostLedger.from_journal(contents, {})
    return BatchCosts(folder=root, models=ledger.costs(), notes=tuple(contents.notes))


def _describe(root: Path) -> str:
    """Say what the folder is, if not a batch folder."""
    if not root.exists():
        return "it does not exist"
    if not root.is_dir():
        return f"it is a file; name the folder that has a {_JOURNAL}"
    paths = sorted(root.iterdir())
    batches = [str(path) for path in paths if (path / _JOURNAL).is_file()]
    if batches:
        more = " …" if len(batches) > _MAX_NAMED else ""
        return f"its subfolders are batches; name those: {' '.join(batches[:_MAX_NAMED])}{more}"
    images = sum(path.suffix.lower() in _IMAGES for path in paths)
    if images:
        return f"it holds {images:,} images and no {_JOURNAL}; only batches record the cost of their images"
    return f"it has no {_JOURNAL}" if paths else "it is empty"


@define
class _ModelSums:
    """The sums of one model."""

    spending: Spending = field(factory=Spending)
    input_tokens: int | None = None
    output_tokens: int | None = None
    images: int = 0

    def add_tokens(self, row: JournalRow) -> None:
        """Add the tokens of a response: of the image model, and of the model that wrote an SVG."""
        for usage in (row.get("usage"), row.get("svg_usage")):
            if is_object(usage):
                self.input_tokens = _add(self.input_tokens, usage, "input_tokens")
                self.output_tokens = _add(self.output_tokens, usage, "output_tokens")


def _add(total: int | None, usage: Mapping[str, Any], name: str) -> int | None:
    count = usage.get(name)
    return (total or 0) + count if type(count) is int and 0 <= count <= _MAX_TOKENS else total


@define
class _CostLedger(Ledger):
    """A ledger that also adds up by model; `_models` has the model of each item's last request."""

    _models: dict[str, str | None] = field(factory=dict[str, "str | None"], init=False)
    _sums: dict[str | None, _ModelSums] = field(factory=dict["str | None", _ModelSums], init=False)
    _sharing: set[str] = field(factory=set[str], init=False)

    def add(self, row: JournalRow) -> None:
        """Count a row for the model of its item's last request."""
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
        """Count requests at the provider, too."""
        super().close_open()
        for key, request in self._open.items():
            self._charge(key, None, request.estimate)

    def _sum(self, key: str) -> _ModelSums:
        return self._sums.setdefault(self._models.get(key), _ModelSums())

    def costs(self) -> tuple[ModelCosts, ...]:
        """Return the sums by model, in the order of their first use."""
        for key, record in self.records.items():
            if key not in self._sharing:  # its files belong to another item
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
