"""The folder `downloads` of a batch: images of output files while they are decoded, before they have a row.

Invariants: its files can be downloaded again, so it is emptied at the start and the end of a run; a complete image is
synced and renamed, never copied. Everything except `Downloads.new_sink` blocks.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from openai_images.batch.download_sink import Blocks, DownloadSink
from openai_images.batch.filesystem import Disk, FileStat
from openai_images.models.image import Image

_FOLDER = "downloads"


class Downloads:
    """The sinks of the line being read, and their files."""

    def __init__(self, root: Path) -> None:
        self._folder = root / _FOLDER
        self._sinks: dict[Path, DownloadSink] = {}
        self._blocks = Blocks()
        self._count = 0

    def clear(self) -> None:
        """Remove the folder and its contents. Raises OSError."""
        if self._folder.is_dir():
            shutil.rmtree(self._folder)

    def new_sink(self) -> DownloadSink:
        """Make the sink of the next image."""
        self._count += 1
        sink = DownloadSink(self._folder / f"{self._count}.part", self._blocks)
        self._sinks[sink.part] = sink
        return sink

    @property
    def due(self) -> list[DownloadSink]:
        """The sinks that need a flush."""
        return [sink for sink in self._sinks.values() if sink.needs_flush]

    def take(self) -> dict[Path, DownloadSink]:
        """Return the sinks of the line that was read, and forget them."""
        sinks, self._sinks = self._sinks, {}
        return sinks


def complete(image: Image, sinks: dict[Path, DownloadSink]) -> Image:
    """Write the rest of an image and close its file, whose name ends in its digest.

    After a write error the image is in memory.
    """
    sink = None if image.path is None else sinks.pop(image.path, None)
    if sink is None:
        return image
    sink.flush()
    return sink.publish(image, sink.part.with_name(f"{sink.part.stem}-{sink.digest}.image"), overwrite=True)


def discard(sinks: dict[Path, DownloadSink]) -> None:
    """Remove the files of these sinks."""
    for sink in sinks.values():
        sink.discard()


def is_downloaded(image: Image, root: Path) -> bool:
    """Whether the image is in this folder."""
    return image.path is not None and image.path.parent == root / _FOLDER


def sync_download(disk: Disk, path: Path) -> tuple[FileStat, str]:
    """Flush a complete file to the disk itself; return its size and time, and its SHA-256. Raises OSError."""
    descriptor = disk.open(path)
    try:
        disk.sync(descriptor)
        return disk.stat(descriptor), path.stem.rpartition("-")[2]
    finally:
        disk.close(descriptor)


def publish_download(disk: Disk, path: Path, target: Path, digest: str) -> Path:
    """Rename an image to `target`, where an earlier run may already have stored it without a row. Raises OSError."""
    if target.is_file() and disk.digest(target) == digest:
        disk.remove(path)
        return target
    return disk.publish(path, target)
