"""`openai-images costs`: the costs of batches, by folder and model, from their journals.

Invariants: nothing is sent or written; unknown costs have their own column and are not in a sum; the placeholder images
of `--local` cost nothing. If one folder is not a batch's, nothing is summed.
Must not: import anything of a batch but its public reader.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen

from openai_images import BatchCosts, BatchFolderError, ConfigurationError, ModelCosts, read_batch_costs
from openai_images.cli.command_runner import OutputOptions
from openai_images.cli.console import Console, Streams, decimal_text, dollars, plural, printable, table_lines
from openai_images.cli.error_report import report_error, report_from

_PLACEHOLDERS = "stand-ins.txt"
"""The file that `batch --local` leaves in its folder."""

_Number = TypeVar("_Number", int, Decimal)
_COLUMNS = ("folder", "model", "images", "tokens in", "tokens out", "cost", "unknown cost")


@frozen(kw_only=True)
class CostsOptions(OutputOptions):
    """Options of `costs`."""

    folders: tuple[str, ...]


def run_costs(options: CostsOptions, streams: Streams) -> int:
    """Print the costs of the folders and return the exit code."""
    console = options.make_console(streams)
    try:
        folders = list(_read(options.folders, console))
    except ConfigurationError as error:
        return report_error(console, report_from(error), error)
    billed = [model for folder in folders if not folder.is_local for model in folder.costs.models]
    total = _sum(billed)
    if options.as_json:
        for folder in folders:
            console.print_record(folder.record())
        console.print_record({"total": _record(total)})
        return 0
    for line in _table(folders, total):
        console.print_result(line)
    for line in _notes(folders, total):
        console.print_note(line)
    return 0


@frozen
class FolderCosts:
    """The costs of a folder, with its name as typed; if `is_local`, they were never billed."""

    name: str
    costs: BatchCosts
    is_local: bool

    def record(self) -> dict[str, Any]:
        """Return the JSON line."""
        models = [{"model": model.model, **_record(model)} for model in self.costs.models]
        return {
            "folder": self.name,
            "local": self.is_local,
            "models": models,
            **_record(_sum(self.costs.models)),
            "notes": list(self.costs.notes),
        }


def _read(names: Sequence[str], console: Console) -> Iterator[FolderCosts]:
    """Read each folder once. Raises `ConfigurationError`, which names all folders that are not batches."""
    problems: list[str] = []
    paths: set[str] = set()
    for name in names:
        try:
            path = os.path.realpath(name)
            if path in paths:
                console.print_note(f"{name} was named twice; it is counted once")
                continue
            paths.add(path)
            yield FolderCosts(name, read_batch_costs(name), (Path(name) / _PLACEHOLDERS).exists())
        except BatchFolderError as error:
            problems.append(str(error))
        except (OSError, ValueError) as error:  # ValueError: a name that no file system accepts
            problems.append(f"cannot read {name!r}: {getattr(error, 'strerror', None) or error}")
    if problems:
        raise ConfigurationError("; ".join(problems))


def _sum(models: Sequence[ModelCosts]) -> ModelCosts:
    estimates = [model.unpriced_estimate for model in models if model.unpriced_estimate is not None]
    return ModelCosts(
        model=None,
        images=sum(model.images for model in models),
        input_tokens=_total([model.input_tokens for model in models]),
        output_tokens=_total([model.output_tokens for model in models]),
        cost=_total([model.cost for model in models]),
        unpriced=sum(model.unpriced for model in models),
        unpriced_estimate=sum(estimates, Decimal(0)) if len(estimates) == len(models) else None,
    )


def _total(values: Sequence[_Number | None]) -> _Number | None:
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known else None


def _record(costs: ModelCosts) -> dict[str, Any]:
    return {
        "images": costs.images,
        "input_tokens": costs.input_tokens,
        "output_tokens": costs.output_tokens,
        "cost": decimal_text(costs.cost),
        "unpriced": costs.unpriced,
        "unpriced_at_most": decimal_text(costs.unpriced_estimate),
    }


def _table(folders: Sequence[FolderCosts], total: ModelCosts) -> list[str]:
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for folder in folders:
        name = f"{folder.name} (local)" if folder.is_local else folder.name
        models = folder.costs.models or (ModelCosts(model="nothing was sent"),)
        rows += [
            (printable("" if number else name), printable(model.model or "not recorded"), *_cells(model))
            for number, model in enumerate(models)
        ]
    rows.append(("total", "", *_cells(total)))
    return table_lines(rows, left={1})


def _cells(costs: ModelCosts) -> tuple[str, str, str, str, str]:
    return (
        f"{costs.images:,}",
        _count(costs.input_tokens),
        _count(costs.output_tokens),
        "-" if costs.cost is None else dollars(costs.cost),
        plural(costs.unpriced, "request") if costs.unpriced else "-",
    )


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _notes(folders: Sequence[FolderCosts], total: ModelCosts) -> Iterator[str]:
    for folder in folders:
        for note in folder.costs.notes:
            yield f"{folder.name}: {note}"
    if total.unpriced:
        was, them = ("It was", "it") if total.unpriced == 1 else ("They were", "them")
        most = total.unpriced_estimate
        bound = "" if most is None else f", {dollars(most, 'ROUND_UP')} at most by the estimates"
        yield (
            f"unknown cost: {plural(total.unpriced, 'request')} not in the sum. {was} sent and may have been billed; "
            f"the cost of {them} is unknown{bound}; requests in flight count here"
        )
    if any(folder.is_local for folder in folders):
        yield "local: drawn on this machine and not billed, so not in the total; amounts are the API's prices"
