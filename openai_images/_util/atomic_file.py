"""Files that appear complete or not at all: written as a part file, then moved to their name.

Invariants: a part file's name starts with a dot and ends in `.part`; nothing that exists is overwritten unless asked
to.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO


def part_path(folder: Path, name: str) -> Path:
    """A temporary name for `name` in `folder`, unlike any other."""
    return folder / f".{name}.{os.urandom(4).hex()}.part"


def create_part(path: Path) -> BinaryIO:
    """Create the temporary file, and its folder if need be; unbuffered. Raises OSError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    # Not mkstemp: that makes a file only its owner may read, and the picture would keep those rights.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    return os.fdopen(descriptor, "wb", buffering=0)


def open_part(folder: Path, name: str) -> tuple[BinaryIO, Path]:
    """Create a new temporary file for `name` in `folder`, which is made if need be. Raises OSError."""
    path = part_path(folder, name)
    return create_part(path), path


def publish(part: Path, target: Path, *, overwrite: bool) -> Path:
    """Move a finished temporary file to `target`, or to the first free of `target-2`, `-3`, …; give the path taken."""
    if overwrite and not target.is_dir():  # a folder cannot be replaced, and the picture is paid for
        part.replace(target)
        return target
    taken, number = target, 1
    while not _claim(part, taken):
        number += 1
        taken = target.with_name(f"{target.stem}-{number}{target.suffix}")
    return taken


def _claim(part: Path, target: Path) -> bool:
    """Move `part` to `target` unless that exists: a hard link never overwrites, in one step."""
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: an empty file holds the name, then gives way
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            return False
        try:
            part.replace(target)
        except BaseException:
            target.unlink()
            raise
        return True
    part.unlink()
    return True
