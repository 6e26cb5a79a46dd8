"""`openai-images generate`: one call, its files, its progress.

Invariants: options are checked before anything is sent; every finished image is reported, also when the call fails;
partial images leave no file without `--keep-partials`.
Must not: print the path of an incomplete file.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import ClassVar

import click
from attrs import asdict, field, frozen

from openai_images import (
    CompletedImage,
    Image,
    ImageResult,
    ImagesClient,
    ImagesError,
    ImageStream,
    PartialImage,
)
from openai_images.cli.console import Console, Streams
from openai_images.cli.error_report import (
    ErrorReport,
    exit_code,
    parameter_hints,
    report_error,
    report_from,
    run_command,
    write_error_report,
)
from openai_images.cli.options import CallOptions, open_client, read_stdin_text
from openai_images.cli.output import (
    output_format,
    output_path,
    report_error_images,
    report_images,
    report_result,
)
from openai_images.cli.progress import CallProgress, ProgressDisplay, make_progress_display


@frozen(kw_only=True)
class GenerateOptions(CallOptions):
    """Options of `generate`."""

    prompt: str = field(repr=False)
    output: str | None = None
    partial_images: int | None = None
    keep_partials: bool = False
    overwrite: bool = False
    preview: bool | None = None


def run_generate(
    options: GenerateOptions,
    streams: Streams,
    make_command: Callable[[Console], GenerateCommand] | None = None,
) -> int:
    """Generate, or run another command, report, and return the exit code. Raises click.UsageError."""
    console = options.make_console(streams)
    command = GenerateCommand(options, console) if make_command is None else make_command(console)
    return run_command(console, command.run, command.interrupted)


class GenerateCommand:
    """One call."""

    send_stage: ClassVar[str] = "waiting for the first byte"

    def __init__(self, options: GenerateOptions, console: Console) -> None:
        _check_options(options)
        self._options = options
        self._console = console
        self._prompt = _read_prompt(options.prompt)
        self._destination = output_path(options.output, self._prompt)
        self._endpoint = options.make_endpoint()
        self._params = options.request_params(self._endpoint, options.output)
        if options.partial_images is not None:
            self._params["partial_images"] = options.partial_images
        self._call_progress = CallProgress(
            image_count=options.n or 1, partials_per_image=options.partial_images or 0
        )
        self._display = ProgressDisplay()
        self._attempts = 0
        self._response_started = False
        self._images: tuple[Image, ...] = ()
        self._has_result = False

    def verbs(
        self, client: ImagesClient
    ) -> tuple[Callable[..., Awaitable[ImageResult]], Callable[..., ImageStream]]:
        """The client's methods to call: one that waits, one that streams."""
        return client.generate, client.stream

    def error_report(self, error: ImagesError) -> ErrorReport:
        """Report a failure with hints for the options that were typed."""
        values = asdict(self._options, recurse=False) | {"output_compression": self._options.compression}
        return report_from(error, parameter_hints(values, self._options.output))

    async def run(self) -> int:
        """Send, show progress and report; return the exit code."""
        options, console = self._options, self._console
        async with open_client(self._endpoint, console, self._on_attempt) as client:
            try:
                async with make_progress_display(console, options.preview) as self._display:
                    result = await self._generate(client)
            except ImagesError as error:
                report_error_images(console, error, self._destination)
                report_error(console, self.error_report(error), error)
                return exit_code(error)
            except OSError as error:
                sent = bool(self._attempts)
                advice = "" if sent else "Nothing was sent. Choose another place with -o."
                report = write_error_report(str(self._destination), error, advice, maybe_billed=sent)
                report_error(console, report, error)
                return 1 if sent else 2
        return report_result(console, result, self._destination)

    def interrupted(self) -> ErrorReport:
        """Print the finished images, and report what a Ctrl-C costs at this point."""
        report_images(self._console, self._images, self._destination)
        return ErrorReport(
            error_type="Interrupted",
            message=f"interrupted: {self._describe_interrupt()}",
            maybe_billed=bool(self._attempts) and not (self._is_complete or self._options.local),
            attempts=self._attempts,
        )

    @property
    def _is_complete(self) -> bool:
        return self._has_result or len(self._images) >= self._call_progress.image_count

    def _describe_interrupt(self) -> str:
        several, here, wanted = (
            self._call_progress.has_several_images,
            len(self._images),
            self._call_progress.image_count,
        )
        what = "nothing was sent"
        if self._is_complete:
            what = "the pictures were finished" if several else "the picture was finished"
        elif self._options.local:
            what = "the local stand-in costs nothing"
        elif self._images:
            what = f"{here} of {wanted} pictures were finished, and the others may be billed"
        elif several and self._attempts:
            folder = str(self._destination.parent)
            what = f"requests were sent and may be billed; pictures that were finished are in {folder!r}"
        elif self._response_started:
            what = "the request was sent and may be billed"
        elif self._attempts:
            what = "the request may have been sent, and then it may be billed"
        return what

    async def _generate(self, client: ImagesClient) -> ImageResult:
        options, seen = self._options, self._call_progress
        self._display.advance(seen.step("connecting"))
        if options.partial_images is None:
            wait, _ = self.verbs(client)
            result = await wait(
                self._prompt, into=self._destination, overwrite=options.overwrite, **self._params
            )
        else:
            result = await self._stream(client)
        self._images, self._has_result = result.images, True
        for number, image in enumerate(result.images):
            await self._display.show(image, anew=number > 0)
        self._display.advance(seen.finish(sum(image.nbytes for image in result.images)))
        return result

    async def _stream(self, client: ImagesClient) -> ImageResult:
        options, seen = self._options, self._call_progress
        _, watch = self.verbs(client)
        async with watch(
            self._prompt,
            into=self._destination,
            overwrite=options.overwrite,
            keep_partials=options.keep_partials,
            **self._params,
        ) as stream:
            self._response_started = True
            first = (
                "waiting for the first partial image"
                if seen.partials_per_image
                else "waiting for the picture"
            )
            self._display.advance(seen.step(first))
            async for event in stream:
                if isinstance(event, CompletedImage):
                    self._images = (*self._images, event.image)
                    if (step := seen.add_image(event.image)) is not None:
                        self._display.advance(step)
                elif isinstance(event, PartialImage):
                    self._display.advance(seen.add_partial(event.image))
                    # Partial images are shown in one place: those of one image only.
                    if event.image_index == 0:
                        await self._display.show(event.image)
        return stream.result

    def _on_attempt(self) -> None:
        self._attempts += 1
        if not self._response_started:
            self._display.advance(self._call_progress.send(self.send_stage, self._attempts))


def _check_options(options: GenerateOptions) -> None:
    if options.keep_partials and not options.partial_images:
        raise click.UsageError("--keep-partials needs --partial-images N.")
    options.check()
    output_format(options.output, options.output_format)


def _read_prompt(argument: str) -> str:
    prompt = read_stdin_text("the prompt") if argument == "-" else argument
    if not prompt.strip():
        raise click.UsageError("the prompt is empty.")
    try:
        # Python makes lone surrogates of bytes that the locale cannot decode; in the locale C of all UTF-8.
        return (prompt if _has_no_surrogates(prompt) else os.fsencode(prompt).decode()).strip()
    except UnicodeError:
        raise click.UsageError("the prompt holds bytes that are not UTF-8; convert it.") from None


def _has_no_surrogates(prompt: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in prompt)
