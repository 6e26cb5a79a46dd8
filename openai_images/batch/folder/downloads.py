"""The folder `downloads` of a batch: images of output files while they are decoded, before they have a row.

Invariants: its files can be downloaded again, so it is emptied at the start and the end of a run; a complete image is
synced and renamed, never copied. Everything except `Downloads.new_sink` blocks.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from openai_images._util.filesystem import Disk, FileStat
from openai_images.client.files import FileSink
from openai_images.models.image import Image

_FOLDER = "downloads"
_FLUSH = 1024 * 1024
"""Bytes of an image that are gathered before a thread writes them: each step costs as much CPU time as half of them."""


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
