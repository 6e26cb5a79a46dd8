"""Stores images: complete, synced, and under their names, or else in a fallback folder.

Invariants: an image is written to a part file, synced, and renamed; nothing is overwritten. An image that the batch's
folder does not take is paid for nevertheless: it goes to a temporary folder, and stays in memory, in the exception,
where even that fails. `save` blocks and is called in a thread.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve, frozen

from openai_images._util.atomic_file import part_path
from openai_images.batch.filesystem import Disk
from openai_images.batch.journal_reader import StoredFile
from openai_images.batch.naming import file_stems
from openai_images.models import media
from openai_images.models.image import Image


class ImageNotStoredError(OSError):
    """A paid image could not be stored as it should; `images` holds it, in memory or by its path."""

    def __init__(self, message: str, images: Sequence[Image]) -> None:
        super().__init__(message)
        self.images = tuple(images)


@frozen
class StoredImages:
    """Images on disk, and the error of the batch's folder where they are in the fallback folder."""

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
        """Store these images of an item that asks for `expected`, `before` of which are on disk already.

        Raises `ImageNotStoredError`.
        """
        number = before + len(images)
        stems = file_stems(stem, expected if expected > 1 else number)
        stems = stems if len(stems) >= number else file_stems(stem, number)
        named = list(zip(stems[before:], images, strict=False))
        try:
            return self._store_in(self._root / "images", named)
        except OSError as error:
            try:
                return evolve(self._store_in(self._fallback_folder(), named), error=error)
            except OSError:
                why = error.strerror or type(error).__name__
                msg = f"the picture could not be written to {str(self._root / 'images')!r} ({why}), nor anywhere else"
                raise ImageNotStoredError(msg, images) from None

    def _store_in(self, folder: Path, named: Sequence[tuple[str, Image]]) -> StoredImages:
        parts: list[tuple[Path, Path, Image, int]] = []
        try:
            for stem, image in named:
                # The next run must not adopt a damaged image.
                name = f"{stem}{'.damaged' if image.flaw else ''}{media.suffix(image.media_type)}"
                part = part_path(folder, name)
                parts.append((part, folder / name, image, self._write(part, image.data)))
            paths = [self._disk.publish(part, target) for part, target, _, _ in parts]
        except OSError:
            for part, *_ in parts:
                self._remove_part(part)
            raise
        images: list[Image] = []
        files: list[StoredFile] = []
        for path, (_, _, image, written) in zip(paths, parts, strict=True):
            name = f"images/{path.name}" if folder.parent == self._root else str(path)
            facts = (image.nbytes, image.sha256, written, image.width, image.height, image.media_type)
            files.append(StoredFile(name, *facts))
            images.append(evolve(image, data=None, path=path))
        return StoredImages(tuple(images), tuple(files))

    def _write(self, part: Path, data: bytes) -> int:
        """Write and sync a file; returns its modification time."""
        descriptor = self._disk.create(part)
        try:
            self._disk.write(descriptor, data)
            self._disk.sync(descriptor)
            return self._disk.stat(descriptor).written
        except OSError:
            self._remove_part(part)
            raise
        finally:
            self._disk.close(descriptor)

    def _remove_part(self, part: Path) -> None:
        try:
            self._disk.remove(part)
        except OSError:
            return

    def _fallback_folder(self) -> Path:
        if self._fallback is None:
            self._fallback = Path(tempfile.mkdtemp(prefix="openai-images-saved-"))
        return self._fallback
