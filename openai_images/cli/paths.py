"""Where the images of a command go, and in which format.

Invariants: pure, except for asking whether a path is a folder; contradictions are usage errors before anything is sent.
Must not: let a prompt choose a folder: names made from prompts are letters with their marks, digits and hyphens.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import click

from openai_images._util.filenames import RESERVED, encodable, extends, shorten

_LONGEST, _LONGEST_BYTES = 40, 120

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


def slugify(prompt: str) -> str:
    """Make a file name from a prompt: at most 40 characters and 120 bytes, cut at the end of a word."""
    name = ""
    for word in _words(prompt[:400]):
        longer = f"{name}-{word}" if name else _first(word)
        if len(longer) > _LONGEST or len(longer.encode()) > _LONGEST_BYTES:
            break
        name = longer
    return f"image-{name}".rstrip("-") if not name or name in RESERVED else name


def _words(text: str) -> list[str]:
    """The words in lower case: letters and digits, with their marks and joiners."""
    kept = ""
    for letter in encodable(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())):
        is_part = letter.isalnum() or (kept[-1:].strip() and extends(letter))
        kept += letter if is_part else " "
    return [word.rstrip("\u200c\u200d") for word in kept.split()]


def _first(word: str) -> str:
    if len(word) > _LONGEST:  # `shorten` looks at the letter after the cut
        word = shorten(word[: _LONGEST + 1], len(word[:_LONGEST].encode()))
    return shorten(word, _LONGEST_BYTES)


def output_format(output: str | None, wanted: str | None) -> str | None:
    """Choose the format from `--format` or the suffix of `-o`; None if neither names one. Raises click.UsageError."""
    named = None if wanted is None else {"jpg": "jpeg"}.get(wanted.lower(), wanted.lower())
    suffix = "" if output is None else Path(output).suffix.lower()
    if suffix in _NEVER_MADE:
        raise click.UsageError(f"-o ends in {suffix}, which the API does not make; use .png, .jpg or .webp.")
    by_suffix = _BY_SUFFIX.get(suffix)
    if named and by_suffix and named != by_suffix:
        raise click.UsageError(f"-o ends in {suffix}, but --format says {named}; leave one of them out.")
    return named or by_suffix


def output_path(output: str | None, prompt: str) -> Path:
    """Return the file or stem that `-o` names, or a name from the prompt in its folder. Raises click.UsageError."""
    if output is None:
        return Path(slugify(prompt))
    if output in ("", "-"):
        raise click.UsageError("-o needs the name of a file or a folder; a picture is not written to stdout.")
    if output.endswith(("/", os.sep)) or os.path.isdir(output):  # noqa: PTH112  Path's raises if too long
        return Path(output) / slugify(prompt)
    return Path(output)
