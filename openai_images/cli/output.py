"""The images of a command: their paths, their format, and their fields in a JSON line.

Invariants: contradictions are usage errors before anything is sent.
Must not: let a prompt choose a folder (names made from it are letters, digits and hyphens).
"""

from __future__ import annotations

import os
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import click
from attrs import fields

from openai_images import Image, ImageResult, TokenDetails, Usage
from openai_images._util.filenames import RESERVED, encodable, extends, shorten

STDOUT = "-"
_LONGEST, _LONGEST_BYTES = 40, 120
_JOINERS = "\u200c\u200d"

_FORMATS = ("png", "jpeg", "webp", "gif", "svg")
_BY_SUFFIX = {".jpg": "jpeg", ".jpe": "jpeg", **{f".{name}": name for name in _FORMATS}}
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
    """Return the words in lower case: letters and digits, with their marks and joiners."""
    kept = ""
    for letter in encodable(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())):
        is_visible = letter.isprintable() or letter in _JOINERS
        is_part = letter.isalnum() or (kept[-1:].strip() and is_visible and extends(letter))
        kept += letter if is_part else " "
    return [word.rstrip(_JOINERS) for word in kept.split()]


def _first(word: str) -> str:
    if len(word) > _LONGEST:  # `shorten` checks the letter after the cut
        word = shorten(word[: _LONGEST + 1], len(word[:_LONGEST].encode()))
    return shorten(word, _LONGEST_BYTES)


def output_format(output: str | None, wanted: str | None) -> str | None:
    """Choose the format from `--format` or the suffix of `-o`; None if neither names one. Raises click.UsageError."""
    named = None if wanted is None else {"jpg": "jpeg"}.get(wanted.lower(), wanted.lower())
    suffix = "" if output is None else Path(output).suffix.lower()
    if suffix in _NEVER_MADE:
        raise click.UsageError(
            f"-o ends in {suffix}, a format that the API does not have; use .png, .jpg or .webp."
        )
    by_suffix = _BY_SUFFIX.get(suffix)
    if named and by_suffix and named != by_suffix:
        raise click.UsageError(f"-o ends in {suffix}, but --format says {named}; leave one of them out.")
    return named or by_suffix


def output_path(output: str | None, prompt: str) -> Path:
    """Return the file or stem that `-o` names, or a name from the prompt in its folder. Raises click.UsageError.

    For `-o -` it is in a new temporary folder.
    """
    if output is None:
        return Path(slugify(prompt))
    if output == "":
        raise click.UsageError("-o needs the name of a file or a folder, or - for stdout.")
    if output == STDOUT:  # first written to a file, which is kept if stdout fails
        return Path(tempfile.mkdtemp(prefix="openai-images-")) / slugify(prompt)
    if output.endswith(("/", os.sep)) or os.path.isdir(output):  # noqa: PTH112  Path's raises if too long
        return Path(output) / slugify(prompt)
    return Path(output)


def call_record(result: ImageResult, *names: str) -> dict[str, Any]:
    """Return these fields of a result for a JSON line, then those of its call."""
    return {name: getattr(result, name) for name in names} | {
        "usage": None if result.usage is None else _usage_record(result.usage),
        "request_id": result.request_id,
        "attempts": result.attempts,
        "elapsed": round(result.elapsed, 3),
    }


def image_record(image: Image, path: str) -> dict[str, Any]:
    """Return an image's fields for a JSON line."""
    size = {"width": image.width, "height": image.height, "bytes": image.nbytes}
    return {"path": path, "media_type": image.media_type, **size}


def _usage_record(usage: Usage) -> dict[str, Any]:
    counts = _split_extra(Usage, usage.as_dict())
    for name in ("input_tokens_details", "output_tokens_details"):
        if getattr(usage, name) is not None and isinstance(counts[name], dict):
            counts[name] = _split_extra(TokenDetails, counts[name])
    return counts


def _split_extra(cls: type[Usage | TokenDetails], counts: dict[str, Any]) -> dict[str, Any]:
    """Return the known fields, None if absent, and the others as `extra`."""
    rest = dict(counts)
    known = {field.name: rest.pop(field.name, None) for field in fields(cls) if field.name != "extra"}
    return known | ({"extra": rest} if rest else {})
