"""`openai-images generate`: one call, its files, its progress.

Rules: whatever can be found wrong here is found before anything is sent; every finished picture is reported, also when
the call fails; partial images leave no file unless `--keep-partials`. It refuses to print a path that is not whole.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

import click
from attrs import asdict, field, frozen

from openai_images import CompletedImage, ImageResult, ImagesError, PartialImage
from openai_images.cli.command_runner import run_command
from openai_images.cli.console import Console, read_text
from openai_images.cli.endpoint import Endpoint, model_for, open_client
from openai_images.cli.paths import destination, format_of
from openai_images.cli.progress import Progress, Seen, make_progress
from openai_images.cli.report import (
    Problem,
    exit_code,
    hints_for,
    problem_of,
    report_error,
    report_images,
    report_result,
    show_problem,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from openai_images import Image, ImagesClient, ImageStream
    from openai_images.cli.startup import Streams

__all__ = ["Job", "Options", "run_generate"]


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
    azure: bool | None = None
    base_url: str | None = None
    timeout: float | None = None
    as_json: bool = False
    preview: bool | None = None
    verbose: bool = False
    quiet: bool = False


def run_generate(options: Options, streams: Streams, make_job: Callable[[Console], Job] | None = None) -> int:
    """Generate, or do what `make_job` makes, report, and give the exit code. Raises click.UsageError."""
    console = Console(
        streams.out, streams.err, quiet=options.quiet, verbose=options.verbose, as_json=options.as_json
    )
    job = Job(options, console) if make_job is None else make_job(console)
    return run_command(console, job.run, job.interrupted)


class Job:
    """One call."""

    sending: ClassVar[str] = "waiting for the first byte"

    def __init__(self, options: Options, console: Console) -> None:
        """Check the options. Raises click.UsageError."""
        _check(options)
        self._options = options
        self._console = console
        self._prompt = _read_prompt(options.prompt)
        self._into = destination(options.output, self._prompt)
        self._endpoint = Endpoint(
            local=options.local, azure=options.azure, base_url=options.base_url, timeout=options.timeout
        )
        self._params = _params(options, self._endpoint)
        self._seen = Seen(pictures=options.n or 1, each=options.partial_images or 0)
        self._progress = Progress()
        self._attempts = 0
        self._answered = False
        self._finished: tuple[Image, ...] = ()
        self._has_result = False

    def verbs(
        self, client: ImagesClient
    ) -> tuple[Callable[..., Awaitable[ImageResult]], Callable[..., ImageStream]]:
        """What waits for the pictures, and what streams them."""
        return client.generate, client.stream

    def problem(self, error: ImagesError) -> Problem:
        """A failure in the words of what was typed."""
        given = asdict(self._options, recurse=False) | {"output_compression": self._options.compression}
        return problem_of(error, hints_for(given, self._options.output))

    async def run(self) -> int:
        """Send it, show it, report it."""
        options, console = self._options, self._console
        async with open_client(self._endpoint, console, self._on_attempt) as client:
            try:
                async with make_progress(console, options.preview) as self._progress:
                    result = await self._paint(client)
            except ImagesError as error:
                report_error(console, error, self._into)
                show_problem(console, self.problem(error), error)
                return exit_code(error)
            except OSError as error:
                show_problem(console, _unwritable(self._into, error, sent=bool(self._attempts)), error)
                return 1 if self._attempts else 2
        return report_result(console, result, self._into)

    def interrupted(self) -> Problem:
        """Report what is finished all the same, and say what Ctrl-C means at this point."""
        report_images(self._console, self._finished, self._into)
        return Problem(
            kind="Interrupted",
            message=f"interrupted: {self._left_behind()}",
            maybe_billed=bool(self._attempts) and not (self._is_whole or self._options.local),
            attempts=self._attempts,
        )

    @property
    def _is_whole(self) -> bool:
        """Whether all is here that was paid for."""
        return self._has_result or len(self._finished) >= self._seen.pictures

    def _left_behind(self) -> str:
        several, here, wanted = self._seen.is_several, len(self._finished), self._seen.pictures
        what = "nothing was sent"
        if self._is_whole:
            what = "the pictures were finished" if several else "the picture was finished"
        elif self._options.local:
            what = "the local stand-in costs nothing"
        elif self._finished:
            what = f"{here} of {wanted} pictures were finished, and the others may be billed"
        elif several and self._attempts:
            folder = str(self._into.parent)
            what = f"requests were sent and may be billed; pictures that were finished are in {folder!r}"
        elif self._answered:
            what = "the request was sent and may be billed"
        elif self._attempts:
            what = "the request may have been sent, and then it may be billed"
        return what

    async def _paint(self, client: ImagesClient) -> ImageResult:
        options, seen = self._options, self._seen
        self._progress.advance(seen.step("connecting"))
        if options.partial_images is None:
            wait, _ = self.verbs(client)
            result = await wait(self._prompt, into=self._into, overwrite=options.overwrite, **self._params)
        else:
            result = await self._stream(client)
        self._finished, self._has_result = result.images, True
        for number, image in enumerate(result.images):
            await self._progress.show(image, anew=number > 0)
        self._progress.advance(seen.end(sum(image.nbytes for image in result.images)))
        return result

    async def _stream(self, client: ImagesClient) -> ImageResult:
        options, seen = self._options, self._seen
        _, watch = self.verbs(client)
        async with watch(
            self._prompt,
            into=self._into,
            overwrite=options.overwrite,
            keep_partials=options.keep_partials,
            **self._params,
        ) as stream:
            self._answered = True
            first = "waiting for the first partial image" if seen.each else "waiting for the picture"
            self._progress.advance(seen.step(first))
            async for event in stream:
                if isinstance(event, CompletedImage):
                    self._finished = (*self._finished, event.image)
                    if (step := seen.completed(event.image)) is not None:
                        self._progress.advance(step)
                elif isinstance(event, PartialImage):
                    self._progress.advance(seen.partial_image(event.image))
                    # They are shown in one place, which several would take from one another.
                    if event.image_index == 0:
                        await self._progress.show(event.image)
        return stream.result

    def _on_attempt(self) -> None:
        self._attempts += 1
        if not self._answered:
            self._progress.advance(self._seen.sending(self.sending, self._attempts))


def _check(options: Options) -> None:
    if options.keep_partials and not options.partial_images:
        raise click.UsageError("--keep-partials needs --partial-images N.")
    if options.local and options.base_url:
        raise click.UsageError("--local starts a server of its own; leave --base-url out.")
    if options.local and options.azure:
        raise click.UsageError("--local starts a server of its own; leave --azure out.")
    format_of(options.output, options.output_format)


def _params(options: Options, endpoint: Endpoint) -> dict[str, Any]:
    """What is sent: only what was given."""
    params = {
        "model": model_for(options.model, endpoint),
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
    prompt = read_text("the prompt") if given == "-" else given
    if not prompt.strip():
        raise click.UsageError("the prompt is empty.")
    try:
        # Python passes on as lone surrogates what the locale's encoding lacks, all of UTF-8 in the locale C.
        return (prompt if _is_text(prompt) else os.fsencode(prompt).decode()).strip()
    except UnicodeError:
        raise click.UsageError("the prompt holds bytes that are not UTF-8; convert it.") from None


def _is_text(prompt: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in prompt)


def _unwritable(into: Path, error: OSError, *, sent: bool) -> Problem:
    """The client tries to write before it sends; a disk that fails later it can seldom make up for."""
    return Problem(
        kind=type(error).__name__,
        message=f"cannot write to {str(into)!r}: {error.strerror or type(error).__name__}",
        to_do="" if sent else "Nothing was sent. Choose another place with -o.",
        maybe_billed=sent,
    )
