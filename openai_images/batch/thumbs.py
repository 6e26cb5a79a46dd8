"""Small copies of a batch's pictures, which its contact sheet shows: ten thousand originals are too heavy to scroll.

Rules: how a picture is made small is given as a function, since this package's core cannot; a copy appears whole or
not at all, in `thumbs/` beside the pictures, and bears its picture's time of change, so that one of an older picture
is never shown. A copy that cannot be made is left out: nothing here raises because of a picture. It refuses to
read or write outside the batch's folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from openai_images._util.atomic_file import part_path, publish
from openai_images.batch.models import Thumbnail

__all__ = ["has_thumbnail", "make_thumbnail", "make_thumbnails"]


def has_thumbnail(folder: Path, file: str) -> bool:
    """Whether the picture `file`, relative to `folder`, has a small copy of what it is now."""
    try:
        copy, picture = _thumb(folder, file).stat(), (folder / file).stat()
    except (OSError, ValueError):
        return False
    return copy.st_mtime_ns == picture.st_mtime_ns and copy.st_size > 0


def make_thumbnail(folder: Path, file: str, make: Thumbnail) -> bool:
    """Make the small copy of `file`, relative to `folder`, unless it is there; whether there is one now."""
    if not _is_inside(file):
        return False
    if has_thumbnail(folder, file):
        return True
    part = None
    try:
        target = _thumb(folder, file)
        before = (folder / file).stat()
        target.parent.mkdir(parents=True, exist_ok=True)
        part = part_path(target.parent, target.name)
        make(folder / file, part)
        os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
        publish(part, target, overwrite=True)
    except Exception:  # noqa: BLE001  imaging libraries raise anything at a broken file; the original is shown then
        if part is not None:
            part.unlink(missing_ok=True)
    return has_thumbnail(folder, file)


def make_thumbnails(folder: Path, files: Iterable[str], make: Thumbnail) -> None:
    """Make those small copies that are not there, one at a time, as each may need much memory; this blocks."""
    for file in files:
        make_thumbnail(folder, file, make)


def _thumb(folder: Path, file: str) -> Path:
    """Where the small copy of `file` belongs; sheet.js knows it too."""
    return folder / "thumbs" / f"{file}.webp"


def _is_inside(file: str) -> bool:
    """Whether this is a path below its folder: a journal may have been edited by hand."""
    path = PurePosixPath(file)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in file
