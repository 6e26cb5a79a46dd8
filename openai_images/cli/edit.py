"""`openai-images edit`: what was typed as pictures, and then a call as `generate` makes it.

Rules: a picture that is not there is told before anything is sent, and so are all others; stdin is read before the
event loop runs, so that Ctrl-C ends it; a URL is the server's to fetch. It refuses to judge pictures: the client does,
and its words are given the names that were typed.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, ClassVar

import click
from attrs import evolve, field, frozen

from openai_images import ImagesError, RequestInvalidError
from openai_images.cli import generate
from openai_images.cli.console import is_fed, read_bytes
from openai_images.cli.text import listed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from openai_images import ImageResult, ImagesClient, ImageStream
    from openai_images.cli.console import Console
    from openai_images.cli.report import Problem
    from openai_images.cli.startup import Streams

__all__ = ["Options", "run_edit"]

_STDIN = "-"
_AWAY = ("http://", "https://", "data:")
_MOST_NAMED = 5


@frozen(kw_only=True)
class Options(generate.Options):
    """What was typed."""

    images: tuple[str, ...] = field(repr=False)
    mask: str | None = field(default=None, repr=False)
    markup: str | None = field(default=None, repr=False)
    input_fidelity: str | None = None

    @property
    def pictures(self) -> list[str]:
        """All that stands for a picture."""
        return [*self.images, *(layer for layer in (self.mask, self.markup) if layer is not None)]


def run_edit(options: Options, streams: Streams) -> int:
    """Edit, report, and give the exit code. Raises click.UsageError."""
    return generate.run_generate(options, streams, lambda console: _EditJob(options, console))


class _EditJob(generate.Job):
    """One call that takes pictures with it."""

    sending: ClassVar[str] = "sending, then waiting for the first byte"

    def __init__(self, options: Options, console: Console) -> None:
        """Check the options and read stdin. Raises click.UsageError."""
        _check(options)
        super().__init__(options, console)
        self._names = options.images
        given = {
            "image": [_picture(name) for name in options.images],
            "mask": options.mask and _picture(options.mask),
            "markup": options.markup and _picture(options.markup),
            "input_fidelity": options.input_fidelity,
        }
        self._params |= {name: value for name, value in given.items() if value is not None}

    def verbs(
        self, client: ImagesClient
    ) -> tuple[Callable[..., Awaitable[ImageResult]], Callable[..., ImageStream]]:
        """Those of edits."""
        return client.edit, client.stream_edit

    def problem(self, error: ImagesError) -> Problem:
        """The client numbers the pictures, or says `image` where there is one: people know them by their names."""
        problem = super().problem(error)
        if not isinstance(error, RequestInvalidError):
            return problem
        message = re.sub(r"\bimage\[(\d+)\](?=: )", lambda found: self._name(int(found[1])), problem.message)
        if len(self._names) == 1:
            message = re.sub(r"\bimage(?=: )", lambda _: self._name(0), message)
        return evolve(problem, message=message)

    def _name(self, number: int) -> str:
        name = self._names[number]
        return "stdin" if name == _STDIN else repr(name)


def _check(options: Options) -> None:
    away = [name for name in options.pictures if name != _STDIN and not name.startswith(_AWAY)]
    absent = [name for name in away if not os.path.exists(name)]  # noqa: PTH110  Path's raises where a name is too long
    if not options.prompt.strip():
        said = "the prompt is missing: --prompt TEXT says what to make of the pictures."
        raise click.UsageError(f"{said} {_quoted(absent[:1])} is no file: was it meant?" if absent else said)
    if absent:
        raise click.UsageError(f"there is no such picture: {_quoted(absent)}.")
    if folders := [name for name in away if os.path.isdir(name)]:  # noqa: PTH112  as above
        raise click.UsageError(f"a folder is no picture, name those in it: {_quoted(folders)}.")
    if [*options.pictures, options.prompt].count(_STDIN) > 1:
        raise click.UsageError("- stands for stdin, which can be read once; it is given more than once.")


def _quoted(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names], _MOST_NAMED)


def _picture(name: str) -> str | bytes:
    """A path or URL as it is, or what stdin holds. Raises click.UsageError."""
    if name != _STDIN:
        return name
    if not is_fed():
        raise click.UsageError(
            "- reads a picture from stdin, but nothing is sent there: use < FILE or a pipe."
        )
    return read_bytes("a picture")
