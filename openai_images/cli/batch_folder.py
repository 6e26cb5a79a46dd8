"""The folder of a batch as its command sees it: whose images it holds, and where a dry run plans.

Invariants: placeholder images and a model's never share a folder; a dry run leaves no file where no folder was.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from openai_images import ConfigurationError

_MARKER = "stand-ins.txt"
_MARKER_TEXT = (
    "The pictures in this folder are local stand-ins: painted by a program on this machine, not by a model.\n"
)
_SENT = b'"state":"sent"'


def is_url(out: str) -> bool:
    """Whether a batch is in an object store, not in a folder."""
    return "://" in out


def is_shared(out: str) -> bool:
    """Whether the batch there is one of many machines."""
    return is_url(out) or os.path.isdir(os.path.join(out, "claims"))  # noqa: PTH112, PTH118  no error for a long name


def is_marked(out: str) -> bool:
    """Whether the images there are placeholders."""
    return os.path.exists(os.path.join(out, _MARKER))  # noqa: PTH110, PTH118  no error for a long name


def mark_folder(out: str, *, local: bool) -> None:
    """Write into the folder that its images are placeholders, or remove the file that says so. Raises OSError."""
    folder = Path(out)
    if is_url(out):
        return
    if local:
        (folder / _MARKER).write_text(_MARKER_TEXT, encoding="utf-8")
    else:
        (folder / _MARKER).unlink(missing_ok=True)


@contextmanager
def planning_folder(out: str) -> Generator[str]:
    """The batch's folder, or where there is none a temporary one beside its place, that is removed. Raises OSError."""
    if _is_there(out):
        yield out
        return
    place = Path(os.path.abspath(out)).parent  # noqa: PTH100  as the batch does
    while not _is_there(place):
        place = place.parent
    # As the batch would: a disk that takes no folder, or no lock, is found here.
    with tempfile.TemporaryDirectory(prefix=".dry-run-", dir=place) as folder:
        yield folder


def _is_there(path: str | Path) -> bool:
    """Whether something has this name. Raises OSError if nothing can."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def reject_mixed_folder(out: str, *, local: bool) -> None:
    """Raise `ConfigurationError` if placeholder images and a model's would share the folder."""
    folder = Path(out)
    # `Path.exists` raises if a name is too long; the batch reports that.
    if is_url(out) or os.path.exists(folder / _MARKER) == local or not _has_requests(folder):  # noqa: PTH110
        return
    there, here = ("a model", "stand-ins") if local else ("local stand-ins", "a model")
    message = f"the pictures in {str(folder)!r} are by {there}, and those of this run would be by {here}"
    raise ConfigurationError(f"{message}; nothing was sent. Choose another folder with --out")


def _has_requests(folder: Path) -> bool:
    """Whether a request was sent for this folder, on one machine or on many."""
    with suppress(OSError):
        return _SENT in (folder / "journal.jsonl").read_bytes()
    with suppress(OSError):
        return any((folder / "claims").iterdir())
    return False
