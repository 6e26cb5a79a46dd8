"""`openai-images generate`, and the base of `edit`: one call, its files, its progress.

Invariants: options are checked before anything is sent; stdin is read before the event loop runs, so that Ctrl-C works;
every finished image is reported, also when the call fails; partial images leave no file without `--keep-partials`.
Must not: print the path of an incomplete file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeAlias

import click
from attrs import field, frozen

from openai_images import (
    CompletedImage,
    Image,
    ImageResult,
    ImagesClient,
    ImagesError,
    ImageStream,
    PartialImage,
)
from openai_images.cli import error_report
from openai_images.cli.command_runner import run_command
from openai_images.cli.console import Console, Streams
from openai_images.cli.error_report import ErrorReport
from openai_images.cli.files import STDOUT, output_format, output_path, read_prompt
from openai_images.cli.image_reporter import ImageReporter, check_stdout
from openai_images.cli.options import CommandOptions, open_client
from openai_images.cli.progress import CallProgress, ProgressDisplay, make_progress_display

Verbs: TypeAlias = tuple[Callable[..., Awaitable[ImageResult]], Callable[..., ImageStream]]


@frozen(kw_only=True)
class GenerateOptions(CommandOptions):
    """Options of `generate`."""

    prompt: str | None = field(default=None, repr=False)
    prompt_file: str | None = None
    output: str | None = None
    partial_images: int | None = None
    keep_partials: bool = False
    overwrite: bool = False
    preview: bool | None = None

    def check(self) -> None:
        """Raise click.UsageError for options that contradict each other."""
        super().check()
        if self.keep_partials and not self.partial_images:
            raise click.UsageError("--keep-partials needs --partial-images N.")
        self.check_format(output_format(self.output, self.output_format), "add --format {0}, or -o FILE.{0}")
        if self.output == STDOUT:
            self._check_stdout()

    def _check_stdout(self) -> None:
        refused = (
            ("--n", (self.n or 1) > 1, "writes one image"),
            ("--keep-partials", self.keep_partials, "writes the finished image only"),
            ("--json", self.as_json, "needs stdout for the image"),
        )
        for option, is_given, why in refused:
            if is_given:
                raise click.UsageError(f"-o - {why}; leave {option} out, or name a file.")


def run_generate(options: GenerateOptions, streams: Streams) -> int:
    """Generate, report, and return the exit code. Raises click.UsageError."""
    return run_call(GenerateCommand(options, options.make_console(streams)))


def run_call(command: GenerateCommand) -> int:
    """Run a command, report, and return the exit code."""
    return run_command(command.console, command.run(), command.interrupted)


class GenerateCommand:
    """One call."""

    send_stage: ClassVar[str] = "waiting for the first byte"

    def __init__(self, options: GenerateOptions, console: Console) -> None:
        options.check()
        self.console = console
        self._options = options
        self._params = options.request_params(options.output)
        self._prompt = read_prompt(options.prompt, options.prompt_file)
        is_stdout = options.output == STDOUT
        if is_stdout:
            check_stdout(console)
        self._destination = output_path(options.output, self._prompt)
        self._reporter = ImageReporter(
            console, self._destination, self._prompt, is_local=options.local, to_stdout=is_stdout
        )
        self._call_progress = CallProgress(
            image_count=options.n or 1, partials_per_image=options.partial_images or 0
        )
        self._display = ProgressDisplay(console)
        self._base_url = ""
        self._attempts = 0
        self._response_started = False
        self._images: tuple[Image, ...] = ()
        self._has_result = False

    def verbs(self, client: ImagesClient) -> Verbs:
        """Return the client's methods to call: one that waits, one that streams."""
        return client.generate, client.stream

    def make_report(self, error: ImagesError) -> ErrorReport:
        """Report a failure with hints for the options that were typed."""
        hints = error_report.parameter_hints(self._options.typed_params, self._options.output)
        return error_report.report_from(error, hints, self._base_url)

    async def run(self) -> int:
        """Send, show progress and report; return the exit code."""
        try:
            return await self._run()
        finally:
            self._reporter.close()

    async def _run(self) -> int:
        options, console = self._options, self.console
        async with open_client(options, console, self._on_attempt) as client:
            self._base_url = client.base_url
            try:
                async with make_progress_display(console, options.preview) as self._display:
                    result = await self._generate(client)
            except ImagesError as error:
                self._reporter.report_error_images(error)
                return error_report.report_error(console, self.make_report(error), error)
            except OSError as error:
                sent = bool(self._attempts)
                advice = "" if sent else "Nothing was sent. Choose another path with -o."
                where = str(self._destination)
                report = error_report.write_error_report(where, error, advice, maybe_billed=sent)
                return error_report.report_error(console, report, error)
        return self._reporter.report_result(result)

    def interrupted(self) -> ErrorReport:
        """Print the finished images, and report what may be billed after a Ctrl-C at this point."""
        self._display.end()
        self._reporter.report_images(self._images)
        return error_report.interrupted_report(
            f"interrupted: {self._describe_interrupt()}",
            maybe_billed=bool(self._attempts) and not (self._is_complete or self._options.local),
            attempts=self._attempts,
        )

    @property
    def _is_complete(self) -> bool:
        return self._has_result or len(self._images) >= self._call_progress.image_count

    def _describe_interrupt(self) -> str:
        several, wanted = self._call_progress.has_several_images, self._call_progress.image_count
        what = "nothing was sent"
        if self._is_complete:
            what = "the images were finished" if several else "the image was finished"
        elif self._options.local:
            what = "the local placeholder image costs nothing"
        elif self._images:
            what = f"{len(self._images)} of {wanted} images were finished, and the other ones may be billed"
        elif several and self._attempts:
            folder = str(self._destination.parent)
            what = f"requests were sent and may be billed; images that were finished are in {folder!r}"
        elif self._response_started:
            what = "the request was sent and may be billed"
        elif self._attempts:
            what = "the request may have been sent, and then it may be billed"
        return what

    async def _generate(self, client: ImagesClient) -> ImageResult:
        options, seen = self._options, self._call_progress
        self._display.wait_reason = lambda: client.wait_reason
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
            first = "first partial image" if seen.partials_per_image else "image"
            self._display.advance(seen.step(f"waiting for the {first}"))
            async for event in stream:
                if isinstance(event, CompletedImage):
                    self._images = (*self._images, event.image)
                    if (step := seen.add_image(event.image)) is not None:
                        self._display.advance(step)
                elif isinstance(event, PartialImage):
                    self._display.advance(seen.add_partial(event.image))
                    # Partial images replace each other, so only those of one image are shown.
                    if event.image_index == 0:
                        await self._display.show(event.image)
        return stream.result

    def _on_attempt(self) -> None:
        self._attempts += 1
        if not self._response_started:
            self._display.advance(self._call_progress.send(self.send_stage, self._attempts))
