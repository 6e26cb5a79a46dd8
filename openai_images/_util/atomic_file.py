"""Files that appear complete or not at all: written to a part file, then moved to their name.

Invariants: a part file's name starts with a dot and ends in `.part`; an existing file is overwritten only on request.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Final

_WRITE_SIZE: Final = 256 * 1024


def part_path(folder: Path, name: str) -> Path:
    """Return a unique temporary path for `name` in `folder`."""
    return folder / f".{name}.{os.urandom(4).hex()}.part"


def create_part(path: Path) -> FileIO:
    """Create a part file, unbuffered, and its folder if it is missing. Raises OSError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    # Not mkstemp: only the owner may read its files, and the image would keep those permissions.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    return os.fdopen(descriptor, "wb", buffering=0)


def open_part(folder: Path, name: str) -> tuple[FileIO, Path]:
    """Create a new part file for `name` in `folder`, which is created if it is missing. Raises OSError."""
    path = part_path(folder, name)
    try:
        return create_part(path), path
    except OSError as error:
        raise named_error(error, path, folder / name) from error.__cause__


def named_error(error: OSError, part: Path, target: Path) -> OSError:
    """Return the error of a part file with the name of its target, which the user knows."""
    if error.filename == str(part):
        error.filename = str(target)
    return error


def replace_file(folder: Path, name: str, pieces: Iterable[bytes | str]) -> Path:
    """Write the file `name` (texts in UTF-8), replacing an older one, and return its path. Raises OSError."""
    file, part = open_part(folder, name)
    try:
        with BufferedWriter(file, _WRITE_SIZE) as buffered:
            for piece in pieces:
                buffered.write(piece.encode("utf-8", "replace") if isinstance(piece, str) else piece)
        return publish(part, folder / name, overwrite=True)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def remove_parts(folder: Path, name: str) -> None:
    """Remove the part files of `name` that killed processes left; no other process may write it. Raises OSError."""
    for part in folder.glob(f".{name}.*.part"):
        part.unlink(missing_ok=True)


def publish(part: Path, target: Path, *, overwrite: bool) -> Path:
    """Move a complete part file to `target`, or to a free name of `target-2`, `-3`, …; return that path.

    The name is the first free one, unless files in the middle of the series were removed.
    """
    if overwrite and not target.is_dir():  # a folder cannot be replaced, and the image is paid for
        part.replace(target)
        return target
    path, number = target, 1
    while not create_new(part, path):
        number = _next_free(target, number)
        path = _numbered(target, number)
    return path


def _next_free(target: Path, taken: int) -> int:
    """Return a number above `taken` whose file does not exist, while the previous number's file does.

    Doubles the step, then bisects: trying every number would cost n² attempts for n files of one name.
    """
    step = 1
    while os.path.lexists(_numbered(target, taken + step)):
        taken += step
        step *= 2
    free = taken + step
    while free - taken > 1:
        middle = (taken + free) // 2
        if os.path.lexists(_numbered(target, middle)):
            taken = middle
        else:
            free = middle
    return free


def _numbered(target: Path, number: int) -> Path:
    return target.with_name(f"{target.stem}-{number}{target.suffix}")


def create_new(part: Path, target: Path) -> bool:
    """Move `part` to `target` unless that exists, atomically: a hard link never overwrites. Raises OSError."""
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links: an empty file reserves the name, then is replaced
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
