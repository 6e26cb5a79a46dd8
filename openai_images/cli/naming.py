"""Where the pictures of a command go, and in which format.

Rules: pure, but for asking whether a path is a folder; what cannot be meant is a usage error, said before anything is
sent. It refuses to let a prompt choose a folder: a name made from one is letters, digits and hyphens.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import click

__all__ = ["destination", "format_of", "slug"]

_LONGEST = 40

_BY_SUFFIX = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".webp": "webp",
    ".gif": "gif",
    ".svg": "svg",
}
_NEVER_MADE = frozenset({".avif", ".bmp", ".heic", ".ico", ".pdf", ".tif", ".tiff"})

# Names that Windows keeps for devices, whatever their suffix.
_DEVICES = frozenset(
    {"aux", "con", "nul", "prn", *(f"{name}{digit}" for name in ("com", "lpt") for digit in range(1, 10))}
)


def slug(prompt: str) -> str:
    """A file name from a prompt: at most 40 letters, digits and hyphens, cut at a word where one ends."""
    plain = unicodedata.normalize("NFKC", prompt[:400]).lower()
    words = "".join(letter if letter.isalnum() else " " for letter in plain).split()
    name = ""
    for word in words:
        longer = f"{name}-{word}" if name else word[:_LONGEST]
        if len(longer) > _LONGEST:
            break
        name = longer
    return f"image-{name}".rstrip("-") if not name or name in _DEVICES else name


def format_of(output: str | None, wanted: str | None) -> str | None:
    """The format to ask for: `--format`, or what the suffix of `-o` says; None where neither does."""
    named = None if wanted is None else {"jpg": "jpeg"}.get(wanted.lower(), wanted.lower())
    suffix = "" if output is None else Path(output).suffix.lower()
    if suffix in _NEVER_MADE:
        raise click.UsageError(f"-o ends in {suffix}, which the API does not make; use .png, .jpg or .webp.")
    by_suffix = _BY_SUFFIX.get(suffix)
    if named and by_suffix and named != by_suffix:
        raise click.UsageError(f"-o ends in {suffix}, but --format says {named}; leave one of them out.")
    return named or by_suffix


def destination(output: str | None, prompt: str) -> Path:
    """The stem or file that `-o` names: a name from the prompt in the folder it names, or in the current one."""
    if output is None:
        return Path(slug(prompt))
    if output in ("", "-"):
        raise click.UsageError("-o needs the name of a file or a folder; a picture is not written to stdout.")
    if output.endswith(("/", os.sep)) or Path(output).is_dir():
        return Path(output) / slug(prompt)
    return Path(output)
