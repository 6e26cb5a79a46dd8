"""Keeps a batch's stand-ins and its real pictures apart.

Rules: a folder that stand-ins are painted into says so in a file for people to read, before the first is painted; it is
never taken for one whose pictures a model made, and no stand-in goes into such a one. A folder for which nothing was
sent yet is free for either. It refuses to guess from the pictures.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from openai_images import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["mark", "refuse_mixture"]

_MARK = "stand-ins.txt"
_WORDS = (
    "The pictures in this folder are local stand-ins: painted by a program on this machine, not by a model.\n"
)
_SENT = b'"state":"sent"'


def refuse_mixture(folder: Path, *, local: bool) -> None:
    """Raise `ConfigurationError` where this run's pictures and those of the folder would not be of one kind."""
    # Not Path's `exists`, which raises where a name is too long: the batch is to say so.
    if os.path.exists(folder / _MARK) == local or not _has_sent(folder / "journal.jsonl"):  # noqa: PTH110
        return
    there, here = ("a model", "stand-ins") if local else ("local stand-ins", "a model")
    message = f"the pictures in {str(folder)!r} are by {there}, and those of this run would be by {here}"
    raise ConfigurationError(f"{message}; nothing was sent. Choose another folder with --out")


def mark(folder: Path, *, local: bool) -> None:
    """Say in the folder whether stand-ins are painted into it. Raises OSError."""
    if local:
        (folder / _MARK).write_text(_WORDS, encoding="utf-8")
    else:
        (folder / _MARK).unlink(missing_ok=True)


def _has_sent(journal: Path) -> bool:
    try:
        return _SENT in journal.read_bytes()
    except OSError:
        return False
