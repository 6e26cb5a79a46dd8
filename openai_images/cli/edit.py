"""`openai-images edit`: one call with images.

Invariants: as in `generate.py`; files are checked before anything is sent; the server fetches URLs.
Must not: check images (the client does, and its errors get the names that were typed).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import ClassVar

import click
from attrs import evolve, field, frozen

from openai_images import ImagesClient, ImagesError, RequestInvalidError
from openai_images.cli.console import Console, Streams, join_limited
from openai_images.cli.error_report import ErrorReport
from openai_images.cli.files import STDIN, has_piped_stdin, read_stdin_bytes
from openai_images.cli.generate import GenerateCommand, GenerateOptions, Verbs, run_call

_URL_PREFIXES = ("http://", "https://", "data:")
_MAX_NAMES = 5


@frozen(kw_only=True)
class EditOptions(GenerateOptions):
    """Options of `edit`."""

    images: tuple[str, ...] = field(repr=False)
    mask: str | None = field(default=None, repr=False)
    markup: str | None = field(default=None, repr=False)
    input_fidelity: str | None = None

    @property
    def image_arguments(self) -> list[str]:
        """All arguments that name an image."""
        return [*self.images, *(layer for layer in (self.mask, self.markup) if layer is not None)]


def run_edit(options: EditOptions, streams: Streams) -> int:
    """Edit, report, and return the exit code. Raises click.UsageError."""
    return run_call(EditCommand(options, options.make_console(streams)))


class EditCommand(GenerateCommand):
    """One edit."""

    send_stage: ClassVar[str] = "sending, then waiting for the first byte"

    def __init__(self, options: EditOptions, console: Console) -> None:
        _check_images(options)
        super().__init__(options, console)
        self._names = options.images
        values = {
            "image": [_read_image(name) for name in options.images],
            "mask": options.mask and _read_image(options.mask),
            "markup": options.markup and _read_image(options.markup),
        }
        self._params |= {name: value for name, value in values.items() if value is not None}

    def verbs(self, client: ImagesClient) -> Verbs:
        """Return the client's methods to call."""
        return client.edit, client.stream_edit

    def make_report(self, error: ImagesError) -> ErrorReport:
        """Report a failure with the names of files in place of `image[0]`."""
        report = super().make_report(error)
        if not isinstance(error, RequestInvalidError):
            return report
        message = re.sub(r"\bimage\[(\d+)\](?=: )", lambda found: self._name(int(found[1])), report.message)
        if len(self._names) == 1:
            message = re.sub(r"\bimage(?=: )", lambda _: self._name(0), message)
        return evolve(report, message=message)

    def _name(self, number: int) -> str:
        name = self._names[number]
        return "stdin" if name == STDIN else repr(name)


def _check_images(options: EditOptions) -> None:
    files = [name for name in options.image_arguments if name != STDIN and not name.startswith(_URL_PREFIXES)]
    missing = [name for name in files if not os.path.exists(name)]  # noqa: PTH110  Path's raises if too long
    if options.prompt_file is None and not (options.prompt or "").strip():
        message = "the prompt is missing: --prompt TEXT is the prompt of the edit."
        texts = [name for name in missing if " " in name or not PurePath(name).suffix]
        if texts:
            message += f" {_join_quoted(texts[:1])} is not a file; did you mean it?"
        if images := [name for name in missing if name not in texts]:
            message += f" There is no such image: {_join_quoted(images)}."
        raise click.UsageError(message)
    if missing:
        raise click.UsageError(f"there is no such image: {_join_quoted(missing)}.")
    if folders := [name for name in files if os.path.isdir(name)]:  # noqa: PTH112  as above
        raise click.UsageError(f"a folder is not an image; name the images in it: {_join_quoted(folders)}.")
    if [*options.image_arguments, options.prompt, options.prompt_file].count(STDIN) > 1:
        raise click.UsageError("- is stdin, which can be read only once, but it is given more than once.")


def _join_quoted(names: Sequence[str]) -> str:
    return join_limited([repr(name) for name in names], _MAX_NAMES)


def _read_image(name: str) -> str | bytes:
    """Return a path or URL unchanged, or the bytes of stdin. Raises click.UsageError."""
    if name != STDIN:
        return name
    if not has_piped_stdin():
        raise click.UsageError("- reads an image from stdin, which is a terminal: use < FILE or a pipe.")
    return read_stdin_bytes("an image")
