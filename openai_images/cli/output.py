"""The images of a command: where they go, in which format, and their paths or JSON lines on stdout.

Invariants: contradictions are usage errors before anything is sent; a path is printed when its file is complete; an
image that cannot be written to its place is saved elsewhere. All of this blocks.
Must not: let a prompt choose a folder (names made from it are letters, digits and hyphens); print bytes or a prompt.
"""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from attrs import evolve, fields

from openai_images import (
    DownloadError,
    Image,
    ImageResult,
    ImagesError,
    PartialResultError,
    TokenDetails,
    Usage,
)
from openai_images._util.filenames import RESERVED, encodable, extends, shorten
from openai_images.cli.console import Console
from openai_images.cli.error_report import ErrorReport, report_error

_LONGEST, _LONGEST_BYTES = 40, 120

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


def report_result(console: Console, result: ImageResult, destination: Path) -> int:
    """Print the images of a result and return the exit code."""
    call_fields = call_record(result, "size", "quality", "background", "output_format", "created")
    return report_images(console, result.images, destination, call_fields)


def report_images(
    console: Console, images: Sequence[Image], destination: Path, call_fields: dict[str, Any] | None = None
) -> int:
    """Print the path of each image; `call_fields` are added to JSON lines. Return 1 if an image is not local."""
    known, code = call_fields or {}, 0
    for number, image in enumerate(images):
        saved = _ensure_saved(console, image, destination)
        if saved is None:
            code = 1
            continue
        if console.as_json:
            own = {"sha256": saved.sha256, "revised_prompt": saved.revised_prompt}
            record = {"index": number, **image_record(saved, str(saved.path)), **own, **known}
            is_taken = console.print_record(record)
            # Usage is of the whole call: adding up the lines must not count it twice.
            known = {**known, "usage": None}
        else:
            is_taken = console.print_result(str(saved.path))
        if not is_taken:
            console.print_message(f"stdout takes nothing; the picture is {str(saved.path)!r}", "yellow")
    return code


def report_error_images(console: Console, error: ImagesError, destination: Path) -> None:
    """Print the finished images that an error carries."""
    if isinstance(error, PartialResultError):
        report_result(console, error.result, destination)
    elif not isinstance(error, DownloadError):
        report_images(console, error.images, destination)
    elif error.response is not None:  # the error itself lists the URLs of others
        report_images(console, [one for one in error.response.images if one.nbytes], destination)
    for image in error.damaged:
        kept = _ensure_saved(console, image, destination)
        where = "" if kept is None else f" is kept in {str(kept.path)!r}"
        console.print_message(f"warning: what came in a picture's place ({image.flaw}){where}", "yellow")


def call_record(result: ImageResult, *names: str) -> dict[str, Any]:
    """Return these fields of a result for a JSON line, then those of its call."""
    return {name: getattr(result, name) for name in names} | {
        "usage": None if result.usage is None else _usage_record(result.usage),
        "request_id": result.request_id,
        "attempts": result.attempts,
        "elapsed": round(result.elapsed, 3),
    }


def image_record(image: Image, path: str) -> dict[str, Any]:
    """Return what a JSON line says of an image."""
    size = {"width": image.width, "height": image.height, "bytes": image.nbytes}
    return {"path": path, "media_type": image.media_type, **size}


def _usage_record(usage: Usage) -> dict[str, Any]:
    counts = _split_extra(Usage, usage.as_dict())
    for name in ("input_tokens_details", "output_tokens_details"):
        if getattr(usage, name) is not None and isinstance(counts[name], dict):
            counts[name] = _split_extra(TokenDetails, counts[name])
    return counts


def _split_extra(cls: type[Usage | TokenDetails], counts: dict[str, Any]) -> dict[str, Any]:
    """The known fields, None if absent, and the others as `extra`."""
    rest = dict(counts)
    known = {field.name: rest.pop(field.name, None) for field in fields(cls) if field.name != "extra"}
    return known | ({"extra": rest} if rest else {})


def _ensure_saved(console: Console, image: Image, destination: Path) -> Image | None:
    """The image with a path, saved elsewhere if need be; None if it is remote."""
    if image.path is not None:
        return image
    if image.url is not None:
        message = "a picture that is paid for was not fetched from where it is"
        report_error(console, ErrorReport(error_type="DownloadError", message=message, urls=(image.url,)))
        return None
    folder = tempfile.mkdtemp(prefix="openai-images-")
    path = image.save(Path(folder) / destination.stem)
    warning = f"warning: {str(destination)!r} could not be written; the picture is in {folder}"
    console.print_message(warning, "yellow")
    return evolve(image, path=path)
