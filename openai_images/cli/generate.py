"""`openai-images generate`: one call, its files, its progress.

Rules: whatever can be found wrong here is found before anything is sent; every finished picture is reported, also when
the call fails; partial images leave no file unless `--keep-partials`. It refuses to print a path that is not whole.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from attrs import field, frozen

from openai_images import CompletedImage, ImageResult, ImagesError, PartialImage
from openai_images.cli.console import Console
from openai_images.cli.endpoint import Endpoint, open_client
from openai_images.cli.failures import Problem, exit_code, problem_of, show_problem
from openai_images.cli.live import make_progress
from openai_images.cli.naming import destination, format_of
from openai_images.cli.progress import Progress, Step
from openai_images.cli.results import report_images, report_result
from openai_images.cli.running import run_command

if TYPE_CHECKING:
    from pathlib import Path

    from openai_images import Image, ImagesClient
    from openai_images.cli.streams import Streams

__all__ = ["Options", "run_generate"]


@frozen(kw_only=True)
class Options:
    """What was typed."""

    prompt: str = field(repr=False)
    output: str | None = None
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    model: str | None = None
    output_format: str | None = None
    partial_images: int | None = None
    keep_partials: bool = False
    background: str | None = None
    compression: int | None = None
    moderation: str | None = None
    overwrite: bool = False
    local: bool = False
    base_url: str | None = None
    timeout: float | None = None
    as_json: bool = False
    preview: bool | None = None
    verbose: bool = False
    quiet: bool = False


def run_generate(options: Options, streams: Streams) -> int:
    """Generate, report, and give the exit code. Raises click.UsageError."""
    console = Console(
        streams.out, streams.err, quiet=options.quiet, verbose=options.verbose, as_json=options.as_json
    )
    job = Job(options, console)
    return run_command(console, job.run, job.interrupted)


class Job:
    """One call."""

    def __init__(self, options: Options, console: Console) -> None:
        """Check the options. Raises click.UsageError."""
        _check(options)
        self._options = options
        self._console = console
        self._prompt = _read_prompt(options.prompt)
        self._into = destination(options.output, self._prompt)
        self._params = _params(options)
        self._wanted = options.partial_images or 0
        self._progress = Progress()
        self._attempts = 0
        self._answered = False
        self._finished: tuple[Image, ...] = ()

    async def run(self) -> int:
        """Send it, show it, report it."""
        options, console = self._options, self._console
        endpoint = Endpoint(local=options.local, base_url=options.base_url, timeout=options.timeout)
        async with open_client(endpoint, console, self._on_attempt) as client:
            try:
                async with make_progress(console, options.preview) as self._progress:
                    result = await self._paint(client)
            except ImagesError as error:
                report_images(
                    console, getattr(getattr(error, "result", None), "images", error.images), self._into
                )
                show_problem(console, problem_of(error), error)
                return exit_code(error)
            except OSError as error:
                # The client finds this out before it sends.
                show_problem(console, _unwritable(self._into, error), error)
                return 2
        return report_result(console, result, self._into)

    def interrupted(self) -> Problem:
        """Report what is finished all the same, and say what Ctrl-C means at this point."""
        report_images(self._console, self._finished, self._into)
        what = "nothing was sent"
        if self._finished:
            what = "the picture was finished"
        elif self._options.local:
            what = "the local stand-in costs nothing"
        elif self._answered:
            what = "the request was sent and may be billed"
        elif self._attempts:
            what = "the request may have been sent, and then it may be billed"
        return Problem(
            kind="Interrupted",
            message=f"interrupted: {what}",
            maybe_billed=bool(self._attempts) and not (self._finished or self._options.local),
            attempts=self._attempts,
        )

    async def _paint(self, client: ImagesClient) -> ImageResult:
        options, seen = self._options, 0
        self._progress.advance(Step(stage="connecting", wanted=self._wanted))
        if options.partial_images is None:
            result = await client.generate(
                self._prompt, into=self._into, overwrite=options.overwrite, **self._params
            )
        else:
            result, seen = await self._stream(client)
        self._finished = result.images
        for number, image in enumerate(result.images):
            await self._progress.show(image, anew=number > 0)
        stage = f"done after {seen} partial image{'s' if seen > 1 else ''}" if seen else "done"
        nbytes = sum(image.nbytes for image in result.images)
        self._progress.advance(Step(stage=stage, nbytes=nbytes, is_last=True))
        return result

    async def _stream(self, client: ImagesClient) -> tuple[ImageResult, int]:
        """The result, and how many partial images were seen."""
        options, wanted, seen, nbytes = self._options, self._wanted, 0, 0
        async with client.stream(
            self._prompt,
            into=self._into,
            overwrite=options.overwrite,
            keep_partials=options.keep_partials,
            **self._params,
        ) as stream:
            self._answered = True
            first = "waiting for the first partial image" if wanted else "waiting for the picture"
            self._progress.advance(Step(stage=first, wanted=wanted))
            async for event in stream:
                if isinstance(event, CompletedImage):
                    self._finished = (*self._finished, event.image)
                elif isinstance(event, PartialImage):
                    seen += 1
                    nbytes += event.image.nbytes
                    stage = f"partial image {seen} of {wanted}"
                    self._progress.advance(Step(stage=stage, seen=seen, wanted=wanted, nbytes=nbytes))
                    await self._progress.show(event.image)
        return stream.result, seen

    def _on_attempt(self) -> None:
        self._attempts += 1
        again = f" (attempt {self._attempts})" if self._attempts > 1 else ""
        self._progress.advance(Step(stage=f"waiting for the first byte{again}", wanted=self._wanted))


def _check(options: Options) -> None:
    if options.keep_partials and not options.partial_images:
        raise click.UsageError("--keep-partials needs --partial-images N.")
    if options.partial_images is not None and (options.n or 1) > 1:
        raise click.UsageError("--partial-images streams one picture; leave --n out.")
    if options.local and options.base_url:
        raise click.UsageError("--local starts a server of its own; leave --base-url out.")
    format_of(options.output, options.output_format)


def _params(options: Options) -> dict[str, Any]:
    """What is sent: only what was given."""
    params = {
        "model": options.model,
        "n": options.n,
        "size": options.size,
        "quality": options.quality,
        "background": options.background,
        "output_format": format_of(options.output, options.output_format),
        "output_compression": options.compression,
        "moderation": options.moderation,
        "partial_images": options.partial_images,
    }
    return {name: value for name, value in params.items() if value is not None}


def _read_prompt(given: str) -> str:
    prompt = sys.stdin.read() if given == "-" else given
    if not prompt.strip():
        raise click.UsageError("the prompt is empty.")
    return prompt.strip()


def _unwritable(into: Path, error: OSError) -> Problem:
    return Problem(
        kind=type(error).__name__,
        message=f"cannot write to {str(into)!r}: {error.strerror or type(error).__name__}",
        to_do="Nothing was sent. Choose another place with -o.",
    )
