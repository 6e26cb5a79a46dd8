"""The files that a command names: where its images go and in which format, and texts from a file or stdin.

A prompt `@FILE` is read from a file, `@@` begins a prompt with `@`, `-` is stdin; a file or stdin is UTF-8, UTF-16 with
a BOM, or in the locale's encoding.
Invariants: contradictions are usage errors before anything is sent, and so is a stdin that is absent or unreadable.
Must not: let a prompt choose a folder (names made from it are letters, digits and hyphens); send a file name as the
prompt.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
import tempfile
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from openai_images._util.filenames import RESERVED, encodable, extends, shorten

STDIN = STDOUT = "-"
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


def read_prompt(argument: str | None, file: str | None) -> str:
    """Return the prompt that PROMPT (or `--prompt`) or `--prompt-file` gives. Raises click.UsageError."""
    if argument is not None and file is not None:
        raise click.UsageError("--prompt-file names the prompt; leave the other one out.")
    if file is not None:
        prompt = read_stdin_text("the prompt") if file == STDIN else _read_file(file)
    elif argument is None:
        raise click.UsageError("the prompt is missing.")
    elif argument == STDIN:
        prompt = read_stdin_text("the prompt")
    elif argument.startswith("@@"):
        prompt = argument[1:]
    elif argument.startswith("@") and len(argument) > 1:
        prompt = _read_file(argument[1:], "; a prompt that begins with @ is written @@")
    else:
        prompt = argument
    return _check(prompt)


def _read_file(name: str, advice: str = "") -> str:
    try:
        data = Path(name).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise click.UsageError(f"the prompt cannot be read from {name!r}: {why}{advice}.") from None
    return decode_text(data, f"{name!r} has the prompt")


def _check(prompt: str) -> str:
    if not prompt.strip():
        raise click.UsageError("the prompt is empty.")
    try:
        # Python makes lone surrogates from bytes that the locale cannot decode (in the locale C from all non-ASCII).
        return (os.fsencode(prompt).decode() if re.search("[\ud800-\udfff]", prompt) else prompt).strip()
    except UnicodeError:
        raise click.UsageError("the prompt holds bytes that are not UTF-8; convert it.") from None


def has_piped_stdin() -> bool:
    """Return whether stdin is a file or a pipe."""
    try:
        return sys.stdin is not None and not sys.stdin.isatty()
    except ValueError:  # closed
        return False


def read_stdin_bytes(what: str) -> bytes:
    """Read all of stdin; `what` names it in errors. Raises click.UsageError."""
    stdin: Any = sys.stdin
    if stdin is None:
        raise click.UsageError(f"- reads {what} from stdin, which is closed; use < FILE or a pipe.")
    try:
        data: Any = getattr(stdin, "buffer", stdin).read()  # a stdin in memory may be text
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise click.UsageError(f"- reads {what} from stdin, which cannot be read: {why}.") from None
    return data.encode(errors="surrogatepass") if isinstance(data, str) else data or b""


def read_stdin_text(what: str) -> str:
    """Read all of stdin as text. Raises click.UsageError."""
    return decode_text(read_stdin_bytes(what), f"- reads {what} from stdin")


@contextmanager
def reading(file: str) -> Generator[None]:
    """Raise click.UsageError if the file that is read cannot be read."""
    try:
        yield
    except OSError as error:
        raise click.UsageError(f"cannot read {file!r}: {error.strerror or type(error).__name__}.") from None


def decode_text(data: bytes, source: str) -> str:
    """Decode a file or stdin; `source` names it in errors. Raises click.UsageError."""
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encodings = ["utf-16"] if marked else ["utf-8-sig", getattr(sys.stdin, "encoding", None) or "utf-8"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    raise click.UsageError(f"{source}, but its text is not UTF-8; convert it.")
