"""The prompt of a command: from its argument, a file, or stdin.

Invariants: `@FILE` is read from a file, `@@` begins a prompt with `@`, `-` is stdin; a file or stdin is UTF-8, UTF-16
with a BOM, or in the locale's encoding.
Must not: send a file name as the prompt.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from openai_images.cli.options import decode_text, read_stdin_text

STDIN = "-"


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
