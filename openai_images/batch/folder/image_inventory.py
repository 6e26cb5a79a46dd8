"""The image files of a batch's folder: complete, orphaned, missing, altered, or in a fallback folder.

Invariants: a file's bytes decide whether it is complete; a done image is hashed only if its size or time differs from
its row; nothing is overwritten. Blocks; called in a thread.
Must not: remove a complete image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import evolve

from openai_images._util.atomic_file import part_path
from openai_images._util.filenames import casefold_name, image_stems, stem_from_key, stem_of
from openai_images._util.filesystem import Disk, FileStat, write_file
from openai_images.batch.folder.folder import Paths
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import done_row
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile
from openai_images.batch.journal.ledger import ItemRecord, Ledger
from openai_images.models import media
from openai_images.models.completeness import flaw_of

_SUFFIXES = media.SUFFIXES
_PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.part", re.DOTALL)
_MAX_DIGITS = 10
_CHUNK = 256 * 1024


class ImageInventory:
    """The images of a folder at the time of creation. Raises OSError."""

    def __init__(self, disk: Disk, paths: Paths) -> None:
        self._disk = disk
        self._paths = paths
        self._files: dict[str, FileStat] = disk.list_files(paths.images)
        self._listings = {paths.images: self._files}
        self._part_targets = {name: match["name"] for name in self._files if (match := _PART.fullmatch(name))}
        self._parts: dict[str, list[str]] = {}
        for name, target in self._part_targets.items():
            self._parts.setdefault(target, []).append(name)

    @property
    def stems(self) -> Iterator[str]:
        """The file names without suffixes, except part files."""
        return (stem_of(name) for name in self._files if name not in self._part_targets)

    def lost_images(self, keys: Iterable[str], ledger: Ledger) -> list[str]:
        """Return images without a row that have the names of items with these keys: their rows were lost."""
        keys = list(keys)
        candidates: dict[str, list[str]] = {}
        for name in self._files if keys else ():
            target = self._part_targets.get(name, name)
            stem = casefold_name(stem_of(target))
            base, _, number = stem.rpartition("-")
            is_numbered = number.isdecimal() and len(number) < _MAX_DIGITS
            is_known = stem in ledger.stems or (is_numbered and int(number) < ledger.stems.get(base, 0))
            if not is_known and target.lower().endswith((*_SUFFIXES, ".jpeg", ".bin")):
                for owner in {stem, base} if is_numbered else {stem}:
                    candidates.setdefault(owner, []).append(name)
        names = {name for key in keys for name in candidates.get(casefold_name(stem_from_key(key)), ())}
        return sorted(filter(self._is_complete, names))

    def verify(self, record: ItemRecord) -> str:
        """Return whether the images of a done item are "there", "missing" or "altered"."""
        verdicts = {self._verify_file(file) for file in record.files}
        if "missing" in verdicts or not verdicts:
            return "missing"
        return "altered" if "altered" in verdicts else "there"

    def present_files(self, record: ItemRecord) -> tuple[StoredFile, ...]:
        """Return the existing images of an incomplete item."""
        return tuple(file for file in record.kept_files if self._verify_file(file) != "missing")

    def adopt_orphans(self, items: Iterable[ResolvedItem], ledger: Ledger) -> list[JournalRow]:
        """Return rows for items whose images are complete without a row; rename part files of such images."""
        records = {item.key: ledger.get(item.key) for item in items}
        records = {key: record for key, record in records.items() if record.state in ("unknown", "away")}
        if not records:
            return []
        done_names = {
            file.name for record in ledger.records.values() for file in record.files if record.state == "done"
        }
        rows: list[JournalRow] = []
        for key, record in records.items():
            if names := self._complete_files(record, done_names):
                files = [self._place(name, target) for name, target in names]
                rows.append(done_row(key, record.request, files, adopted=True))
        if rows:
            self._disk.sync_folder(self._paths.images)
        return rows

    def move_back(self, items: Iterable[ResolvedItem], ledger: Ledger) -> list[JournalRow]:
        """Move images from fallback folders into this one; return rows for their items."""
        rows: list[JournalRow] = []
        for item in items:
            record = ledger.get(item.key)
            outside = any(file.is_outside for file in record.files)
            if record.state == "done" and outside and self.verify(record) == "there":
                files = [self._move_file(file) if file.is_outside else file for file in record.files]
                rows.append(done_row(item.key, record.request, files, moved=True))
        if rows:
            self._disk.sync_folder(self._paths.images)
        return rows

    def clean_up(self, ledger: Ledger) -> list[str]:
        """Remove truncated part files of earlier runs, and part files of done images.

        A complete image of an incomplete item is renamed and reported in a note.
        """
        partial: list[str] = []
        if not self._part_targets:
            return partial
        states = {
            name: record.state
            for record in ledger.records.values()
            for name in image_stems(record.stem, record.image_count)
        }
        for name, target in self._part_targets.items():
            state = states.get(Path(target).stem) if name in self._files else None
            if state is None:
                continue
            if state == "done" or not self._is_complete(name):
                self._disk.remove(self._paths.images / name)
                del self._files[name]
            else:
                partial.append(self._place(name, target).name)
        if partial:
            self._disk.sync_folder(self._paths.images)
        return [f"{name} is one of several images of an item; the others are missing" for name in partial]

    def _verify_file(self, file: StoredFile) -> str:
        folder, _, name = file.name.rpartition("/")
        listing = self._files
        if folder != "images":
            path = self._paths.root / file.name
            listing, name = self._listing(path.parent), path.name
        entry = listing.get(name)
        if entry is None:
            return "missing"
        is_same = entry.size == file.nbytes and (
            entry.written == file.written or self._disk.digest(self._paths.root / file.name) == file.sha256
        )
        return "there" if is_same else "altered"

    def _listing(self, folder: Path) -> dict[str, FileStat]:
        if folder not in self._listings:
            self._listings[folder] = self._disk.list_files(folder)
        return self._listings[folder]

    def _complete_files(self, record: ItemRecord, done_names: Iterable[str]) -> list[tuple[str, str]]:
        """Return each image's file and its final name; empty if one is missing."""
        files: list[tuple[str, str]] = []
        for stem in image_stems(record.stem, record.image_count):
            targets = [stem + suffix for suffix in _SUFFIXES]
            names = [
                (name, name) for name in targets if name in self._files and f"images/{name}" not in done_names
            ]
            names += [(name, target) for target in targets for name in self._parts.get(target, ())]
            file = next((pair for pair in names if self._is_complete(pair[0])), None)
            if file is None:
                return []
            files.append(file)
        return files

    def _is_complete(self, name: str) -> bool:
        path, size = self._paths.images / name, self._files[name].size
        pieces = (self._disk.read(path, start, _CHUNK) for start in range(0, size, _CHUNK))
        return flaw_of(pieces) is None

    def _place(self, name: str, target: str) -> StoredFile:
        """Rename an image to its final name."""
        path = self._paths.images / name
        if name != target:
            descriptor = self._disk.open(path)
            try:
                self._disk.sync(descriptor)
            finally:
                self._disk.close(descriptor)
            path = self._disk.publish(path, self._paths.images / target)
            self._files[path.name] = self._files.pop(name)
        entry = self._files[path.name]
        width, height = media.pixel_size(self._disk.read(path, 0, media.HEAD_BYTES)) or (None, None)
        media_type = media.media_type(self._disk.read(path, 0, 4096))
        name, digest = f"images/{path.name}", self._disk.digest(path)
        return StoredFile(name, entry.size, digest, entry.written, width, height, media_type)

    def _move_file(self, file: StoredFile) -> StoredFile:
        outside = Path(file.name)
        part = part_path(self._paths.images, outside.name)
        entry = write_file(self._disk, part, self._disk.read(outside))
        path = self._disk.publish(part, self._paths.images / outside.name)
        self._files[path.name] = entry
        return evolve(file, name=f"images/{path.name}", written=entry.written)
