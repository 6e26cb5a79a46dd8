"""How a run begins: a folder becomes a plan, with its journal mended and every picture that is there accounted for.

Rules: nothing is sent. What was changed in the input is told before anything is written but the mending. Each step
leaves the folder so that a crash behind it loses nothing. All of it blocks and is called in a thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from attrs import define, field, frozen

from openai_images._version import __version__
from openai_images.batch.filesystem import Disk
from openai_images.batch.folder import Folder, OpenJournal, Paths
from openai_images.batch.inventory import Stock
from openai_images.batch.journal import FORMAT, files_field
from openai_images.batch.journal_reader import Row, SavedFile
from openai_images.batch.ledger import Ledger
from openai_images.batch.models import BatchOptions, BatchPlan
from openai_images.batch.naming import Names
from openai_images.batch.plan import Asked, Found, make_plan, refuse_changes, refuse_lost_rows
from openai_images.catalog.prices import PUBLISHED_PRICES
from openai_images.errors import ConfigurationError

__all__ = ["Opened", "open_batch"]


@define
class Opened:
    """A batch whose folder is claimed: what `open_batch` gives."""

    folder: Folder
    journal: OpenJournal
    ledger: Ledger
    plan: BatchPlan
    stems: Mapping[str, str] = field(repr=False)
    kept: Mapping[str, tuple[SavedFile, ...]] = field(repr=False)

    def close(self) -> None:
        """Let go of it all."""
        self.journal.close()
        self.folder.release()


@frozen
class _Means:
    disk: Disk
    paths: Paths
    options: BatchOptions
    at: str


def open_batch(disk: Disk, root: Path, asked: Sequence[Asked], options: BatchOptions, at: str) -> Opened:
    """Claim the folder and find out what is to be done. Raises `BatchFolderError`, `ConfigurationError` and OSError."""
    means = _Means(disk, Paths(root), options, at)
    folder = Folder(disk, means.paths)
    try:
        folder.claim()
        journal = folder.open_journal()
        try:
            return _opened(means, folder, journal, asked)
        except BaseException:
            journal.close()
            raise
    except BaseException:
        folder.release()
        raise


def _opened(means: _Means, folder: Folder, journal: OpenJournal, asked: Sequence[Asked]) -> Opened:
    ledger = Ledger.of(journal.found, {one.key: one.estimate for one in asked})
    journal.forget()
    refuse_changes(asked, ledger)
    stock = Stock(means.disk, means.paths)
    notes = list(journal.found.notes)
    _write(journal, ledger, stock.adopted(asked, ledger, means.at))
    try:
        _write(journal, ledger, stock.brought_home(asked, ledger, means.at))
    except OSError as error:
        notes.append(f"pictures that were saved elsewhere could not be brought here yet ({error.strerror})")
    notes += stock.sweep(ledger)
    judged = {
        one.key: stock.judge(ledger.of_key(one.key))
        for one in asked
        if ledger.of_key(one.key).state == "done"
    }
    found = Found(
        missing={key for key, state in judged.items() if state == "missing"},
        altered={key for key, state in judged.items() if state == "altered"},
        notes=notes,
    )
    plan = make_plan(asked, ledger, found, means.options)
    refuse_lost_rows(stock.strays(plan.to_send, ledger), str(means.paths.images))
    _refuse_unknown_costs(asked, plan, ledger, means.options)
    kept = _kept(asked, plan, ledger, stock)
    stems = _stems(asked, plan, ledger, stock, kept)
    rows = _shared_rows(asked, plan, ledger, means.at)
    _write(journal, ledger, [*rows, _begun(plan, means.at)])
    return Opened(folder, journal, ledger, plan, stems, kept)


def _write(journal: OpenJournal, ledger: Ledger, rows: Sequence[Row]) -> None:
    journal.add(rows)
    for row in rows:
        ledger.add(row)


def _begun(plan: BatchPlan, at: str) -> Row:
    row = {"state": "begun", "key": None, "format": FORMAT, "at": at, "version": __version__}
    return {**row, "items": plan.total, "to_send": len(plan.to_send)}


def _shared_rows(asked: Sequence[Asked], plan: BatchPlan, ledger: Ledger, at: str) -> list[Row]:
    """The rows of items whose request was answered for another one in an earlier run."""
    rows: list[Row] = []
    for one in asked:
        leader = plan.same.get(one.key)
        if leader is not None and ledger.of_key(leader).state == "done":
            files = files_field(ledger.of_key(leader).files)
            row = {"state": "done", "key": one.key, "at": at, "request": one.digest, "same_as": leader}
            rows.append({**row, "files": files})
    return rows


def _kept(
    asked: Sequence[Asked], plan: BatchPlan, ledger: Ledger, stock: Stock
) -> dict[str, tuple[SavedFile, ...]]:
    """The pictures of items of which only the missing ones are to be asked for."""
    found: dict[str, tuple[SavedFile, ...]] = {}
    to_send, to_fetch = set(plan.to_send), set(plan.to_fetch)
    for one in asked:
        record = ledger.of_key(one.key)
        if one.key in to_send and one.key not in to_fetch and record.stem and record.request == one.digest:
            kept = stock.kept(record) if record.partial else ()
            if one.rest(len(kept), PUBLISHED_PRICES) is not None:
                found[one.key] = kept
    return found


def _stems(
    asked: Sequence[Asked], plan: BatchPlan, ledger: Ledger, stock: Stock, kept: Collection[str]
) -> dict[str, str]:
    """The names of the files to come; those in the journal stay, as far as they are free."""
    to_send = {*plan.to_send, *plan.to_fetch}
    names = Names(stock.stems)
    for key, record in ledger.records.items():
        if key not in to_send and record.stem:
            names.take(record.stem, record.pictures)
    stems: dict[str, str] = {}
    for key in (*plan.to_fetch, *kept):  # some of its pictures may be there under this name
        if ledger.of_key(key).stem:
            stems[key] = ledger.of_key(key).stem
            names.take(stems[key], ledger.of_key(key).pictures)
    for one in asked:
        stem = ledger.of_key(one.key).stem
        wanted = one.key in to_send and one.key not in stems
        if wanted and stem and names.is_free(stem, one.pictures):
            names.take(stem, one.pictures)
            stems[one.key] = stem
    for one in asked:
        if one.key in to_send and one.key not in stems:
            stems[one.key] = names.give(one.key, one.pictures)
    return stems


def _refuse_unknown_costs(
    asked: Sequence[Asked], plan: BatchPlan, ledger: Ledger, options: BatchOptions
) -> None:
    """A budget can be kept only where it is known what things may cost."""
    if options.budget is None:
        return
    to_send: Collection[str] = set(plan.to_send)
    unknown = [one for one in asked if one.key in to_send and one.estimate is None]
    if unknown:
        models = ", ".join(sorted({repr(one.request.model)[:60] for one in unknown})[:3])
        msg = (
            f"a budget needs prices, and what {len(unknown):,} of the requests may cost is not known (model {models}); "
            "nothing was sent. Name a model, size and quality with a published price, give prices, or leave the budget "
            "out"
        )
        raise ConfigurationError(msg)
    if ledger.spending.unpriceable:
        msg = (
            f"a budget needs to know what was spent, and {ledger.spending.unpriceable:,} earlier requests of this "
            "folder have neither a cost nor an estimate; nothing was sent. Use another folder, or leave the budget out"
        )
        raise ConfigurationError(msg)
