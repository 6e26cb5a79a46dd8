"""Stores the images of a batch in its folder.

Invariants: an image is written to a part file, synced, and renamed; nothing is overwritten; an image in the folder's
`downloads` is synced and renamed, not copied; a paid image that cannot be written to the folder goes to a fallback
folder, or, if that fails, stays in memory in the exception. The files in `downloads` can be downloaded again, so that
folder is emptied at the start and the end of a run. All except `Downloads.new_sink` blocks.
Must not: remove a complete image, except from a fallback folder after the row of its copy is on disk.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import evolve, frozen

from openai_images._util.atomic_file import part_path
from openai_images._util.filenames import image_stems
from openai_images._util.filesystem import Disk, FileStat, write_file
from openai_images.batch.journal.journal_reader import StoredFile
from openai_images.batch.journal.ledger import Ledger
from openai_images.client.files import FileSink
from openai_images.models import media
from openai_images.models.image import Image

_FOLDER = "downloads"
_FALLBACK_PREFIX = "openai-images-saved-"
_FLUSH = 1024 * 1024
"""Bytes of an image that are gathered before a thread writes them: each step costs as much CPU time as half of them."""


class ImageNotStoredError(OSError):
    """A paid image could not be stored; `images` holds it, in memory or by its path."""

    def __init__(self, message: str, images: Sequence[Image]) -> None:
        super().__init__(message)
        self.images = tuple(images)


def file_name(stem: str, image: Image) -> str:
    """Return the name of an image's file; `.damaged` prevents a later run from adopting it."""
    return f"{stem}{'.damaged' if image.flaw else ''}{media.file_suffix(image.media_type)}"


@frozen
class StoredImages:
    """Images on disk; `error` is that of the batch's folder if they are in the fallback folder."""

    images: tuple[Image, ...] = ()
    files: tuple[StoredFile, ...] = ()
    error: OSError | None = None


class ImageStore:
    """Stores the images of a batch below `root`."""

    def __init__(self, disk: Disk, root: Path) -> None:
        self._disk = disk
        self._root = root
        self._fallback: Path | None = None

    def save(self, stem: str, images: Sequence[Image], expected: int, before: int = 0) -> StoredImages:
        """Store images of an item for `expected` images, `before` of which are already on disk.

        Raises `ImageNotStoredError`.
        """
        count = before + len(images)
        stems = image_stems(stem, expected if expected > 1 else count)
        stems = stems if len(stems) >= count else image_stems(stem, count)
        images_by_stem = list(zip(stems[before:], images, strict=False))
        try:
            return self._store(images_by_stem)
        except OSError as error:
            try:
                return evolve(self._store_in(self._fallback_folder(), images_by_stem), error=error)
            except OSError:
                self._remove_fallback_folder()
                why = error.strerror or type(error).__name__
                msg = f"the image could not be written to {self.place!r} ({why}), nor to a temporary folder"
                raise ImageNotStoredError(msg, images) from None

    @property
    def place(self) -> str:
        """The place of the images, for messages."""
        return str(self._root / "images")

    def _store(self, images_by_stem: Sequence[tuple[str, Image]]) -> StoredImages:
        """Store images in the batch's folder. Raises OSError."""
        return self._store_in(self._root / "images", images_by_stem)

    def _store_in(self, folder: Path, images_by_stem: Sequence[tuple[str, Image]]) -> StoredImages:
        parts: list[tuple[Path, Path]] = []
        facts: list[tuple[FileStat, str]] = []
        try:
            for stem, image in images_by_stem:
                # A later run must not adopt a damaged image.
                name = file_name(stem, image)
                is_download = folder.parent == self._root and is_downloaded(image, self._root)
                part = image.path if is_download and image.path else part_path(folder, name)
                parts.append((part, folder / name))
                facts.append(
                    sync_download(self._disk, part)
                    if is_download
                    else (write_file(self._disk, part, image.data), image.sha256)
                )
            paths = [
                publish_download(self._disk, part, target, digest)
                if part.parent != folder
                else self._disk.publish(part, target)
                for (part, target), (_, digest) in zip(parts, facts, strict=True)
            ]
        except OSError:
            for part in (part for part, _ in parts if part.parent == folder):
                with suppress(OSError):
                    self._disk.remove(part)
            raise
        images: list[Image] = []
        files: list[StoredFile] = []
        for path, (stat, digest), (_, image) in zip(paths, facts, images_by_stem, strict=True):
            name = f"images/{path.name}" if folder.parent == self._root else str(path)
            about = (image.nbytes, digest, stat.written, image.width, image.height, image.media_type)
            files.append(StoredFile(name, *about))
            images.append(evolve(image, data=None, path=path))
        return StoredImages(tuple(images), tuple(files))

    def _fallback_folder(self) -> Path:
        if self._fallback is None:
            self._fallback = Path(tempfile.mkdtemp(prefix=_FALLBACK_PREFIX))
        return self._fallback

    def _remove_fallback_folder(self) -> None:
        """Remove the fallback folder if nothing could be written to it."""
        if self._fallback is not None:
            with suppress(OSError):
                self._disk.remove_folder(self._fallback)
                self._fallback = None


def remove_saved(disk: Disk, files: Iterable[StoredFile], ledger: Ledger) -> None:
    """Remove images from fallback folders after they were moved, unless another item has them, and empty folders."""
    kept = {file.name for record in ledger.records.values() for file in record.files if file.is_outside}
    for path in (Path(file.name) for file in files if file.is_outside and file.name not in kept):
        if path.parent.name.startswith(_FALLBACK_PREFIX):  # a journal may name any file
            with suppress(OSError):
                disk.remove(path)
                disk.remove_folder(path.parent)


class Downloads:
    """The sinks of the line being read, and their files."""

    def __init__(self, root: Path) -> None:
        self._folder = root / _FOLDER
        self._sinks: dict[Path, FileSink] = {}
        self._count = 0

    def clear(self) -> None:
        """Remove the folder and its contents. Raises OSError."""
        if self._folder.is_dir():
            shutil.rmtree(self._folder)

    def new_sink(self) -> FileSink:
        """Make the sink of the next image."""
        self._count += 1
        sink = FileSink(self._folder / f"{self._count}.part", _FLUSH)
        self._sinks[sink.part] = sink
        return sink

    @property
    def due(self) -> list[FileSink]:
        """The sinks that need a flush."""
        return [sink for sink in self._sinks.values() if sink.needs_flush]

    def take(self) -> dict[Path, FileSink]:
        """Return the sinks of the line that was read, and forget them."""
        sinks, self._sinks = self._sinks, {}
        return sinks


def complete(image: Image, sinks: dict[Path, FileSink]) -> Image:
    """Write the rest of an image and close its file; after a write error the image is in memory."""
    sink = None if image.path is None else sinks.pop(image.path, None)
    if sink is None:
        return image
    return sink.publish(image, sink.part.with_suffix(".image"), overwrite=True)


def discard(sinks: dict[Path, FileSink]) -> None:
    """Remove the files of these sinks."""
    for sink in sinks.values():
        sink.discard()


def is_downloaded(image: Image, root: Path) -> bool:
    """Whether the image is in this folder."""
    return image.path is not None and image.path.parent == root / _FOLDER


def sync_download(disk: Disk, path: Path) -> tuple[FileStat, str]:
    """Flush a file to the disk itself; return its size and time, and its SHA-256. Raises OSError."""
    descriptor = disk.open(path)
    try:
        disk.sync(descriptor)
        return disk.stat(descriptor), disk.digest(path)
    finally:
        disk.close(descriptor)


def publish_download(disk: Disk, path: Path, target: Path, digest: str) -> Path:
    """Rename an image to `target`, where an earlier run may already have stored it without a row. Raises OSError."""
    if target.is_file() and disk.digest(target) == digest:
        disk.remove(path)
        return target
    return disk.publish(path, target)
