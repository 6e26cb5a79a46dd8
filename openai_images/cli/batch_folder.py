"""The folder of a batch as its command sees it: whose images it holds, and where a dry run plans.

Invariants: placeholder images and a model's never share a folder; a dry run leaves no file where no folder was.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from openai_images import ConfigurationError

_MARKER = "stand-ins.txt"
_MARKER_TEXT = (
    "The pictures in this folder are local stand-ins: painted by a program on this machine, not by a model.\n"
)
_SENT = b'"state":"sent"'


def mark_folder(folder: Path, *, local: bool) -> None:
    """Write into the folder that its images are placeholders, or remove the file that says so. Raises OSError."""
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


def reject_mixed_folder(folder: Path, *, local: bool) -> None:
    """Raise `ConfigurationError` if placeholder images and a model's would share the folder."""
    try:
        # `Path.exists` raises if a name is too long; the batch reports that.
        if os.path.exists(folder / _MARKER) == local or _SENT not in (folder / "journal.jsonl").read_bytes():  # noqa: PTH110
            return
    except OSError:
        return
    there, here = ("a model", "stand-ins") if local else ("local stand-ins", "a model")
    message = f"the pictures in {str(folder)!r} are by {there}, and those of this run would be by {here}"
    raise ConfigurationError(f"{message}; nothing was sent. Choose another folder with --out")


def read_unknown_keys(journal: Path) -> set[str]:
    """Read from the journal the keys whose outcome is unknown."""
    states: dict[str, str] = {}
    with suppress(OSError), journal.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                row: dict[str, Any] = json.loads(line)
                # A request in a batch at the provider is not unknown: the batch ends, and writes its row.
                states[row["key"]] = "submitted" if row.get("batch") else row["state"]
    return {key for key, state in states.items() if state in ("sent", "unknown")}
