"""`openai-images generate` and `edit`: one call, its files, its progress.

Invariants: options and files are checked before anything is sent; stdin is read before the event loop runs, so that
Ctrl-C works; every finished image is reported, also when the call fails; partial images leave no file without
`--keep-partials`; URLs are the server's to fetch.
Must not: print the path of an incomplete file; judge images (the client does, and its errors get the names typed).
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, TypeAlias

import click
from attrs import asdict, evolve, field, frozen

from openai_images import (
    CompletedImage,
    Image,
    ImageResult,
    ImagesClient,
    ImagesError,
    ImageStream,
    PartialImage,
    RequestInvalidError,
)
from openai_images.cli import error_report, output
from openai_images.cli.console import Console, Streams, join_limited
from openai_images.cli.error_report import ErrorReport
from openai_images.cli.options import (
    CallOptions,
    has_piped_stdin,
    open_client,
    read_stdin_bytes,
    read_stdin_text,
)
from openai_images.cli.progress import CallProgress, ProgressDisplay, make_progress_display

_STDIN = "-"
_URL_PREFIXES = ("http://", "https://", "data:")
_MAX_NAMES = 5

Verbs: TypeAlias = tuple[Callable[..., Awaitable[ImageResult]], Callable[..., ImageStream]]


@frozen(kw_only=True)
class GenerateOptions(CallOptions):
    """Options of `generate`."""

    prompt: str = field(repr=False)
    output: str | None = None
    partial_images: int | None = None
    keep_partials: bool = False
    overwrite: bool = False
    preview: bool | None = None


@frozen(kw_only=True)
class EditOptions(GenerateOptions):
    """Options of `edit`."""

    images: tuple[str, ...] = field(repr=False)
    mask: str | None = field(default=None, repr=False)
    markup: str | None = field(default=None, repr=False)
    input_fidelity: str | None = None

    @property
    def image_arguments(self) -> list[str]:
        """Everything that names an image."""
        return [*self.images, *(layer for layer in (self.mask, self.markup) if layer is not None)]


def run_call(options: GenerateOptions, streams: Streams) -> int:
    """Generate or edit, report, and return the exit code. Raises click.UsageError."""
    console = options.make_console(streams)
    if isinstance(options, EditOptions):
        command: GenerateCommand = EditCommand(options, console)
    else:
        command = GenerateCommand(options, console)
    return error_report.run_command(console, command.run, command.interrupted)


class GenerateCommand:
    """One call."""

    send_stage: ClassVar[str] = "waiting for the first byte"

    def __init__(self, options: GenerateOptions, console: Console) -> None:
        if options.keep_partials and not options.partial_images:
            raise click.UsageError("--keep-partials needs --partial-images N.")
        options.check()
        output.output_format(options.output, options.output_format)
        self._options = options
        self._console = console
        self._prompt = _read_prompt(options.prompt)
        self._destination = output.output_path(options.output, self._prompt)
        self._params = options.request_params(options.output)
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

    def verbs(self, client: ImagesClient) -> Verbs:
        """The client's methods to call: one that waits, one that streams."""
        return client.generate, client.stream

    def make_report(self, error: ImagesError) -> ErrorReport:
        """Report a failure with hints for the options that were typed."""
        values = asdict(self._options, recurse=False) | {"output_compression": self._options.compression}
        return error_report.report_from(error, error_report.parameter_hints(values, self._options.output))

    async def run(self) -> int:
        """Send, show progress and report; return the exit code."""
        options, console = self._options, self._console
        async with open_client(options, console, self._on_attempt) as client:
            try:
                async with make_progress_display(console, options.preview) as self._display:
                    result = await self._generate(client)
            except ImagesError as error:
                output.report_error_images(console, error, self._destination)
                error_report.report_error(console, self.make_report(error), error)
                return error_report.exit_code(error)
            except OSError as error:
                sent = bool(self._attempts)
                advice = "" if sent else "Nothing was sent. Choose another place with -o."
                where = str(self._destination)
                report = error_report.write_error_report(where, error, advice, maybe_billed=sent)
                error_report.report_error(console, report, error)
                return 1 if sent else 2
        return output.report_result(console, result, self._destination)

    def interrupted(self) -> ErrorReport:
        """Print the finished images, and report what a Ctrl-C costs at this point."""
        output.report_images(self._console, self._images, self._destination)
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
        several, wanted = self._call_progress.has_several_images, self._call_progress.image_count
        what = "nothing was sent"
        if self._is_complete:
            what = "the pictures were finished" if several else "the picture was finished"
        elif self._options.local:
            what = "the local stand-in costs nothing"
        elif self._images:
            what = f"{len(self._images)} of {wanted} pictures were finished, and the others may be billed"
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
            first = "first partial image" if seen.partials_per_image else "picture"
            self._display.advance(seen.step(f"waiting for the {first}"))
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


def _read_prompt(argument: str) -> str:
    prompt = read_stdin_text("the prompt") if argument == "-" else argument
    if not prompt.strip():
        raise click.UsageError("the prompt is empty.")
    try:
        # Python makes lone surrogates of bytes that the locale cannot decode; in the locale C of all UTF-8.
        return (os.fsencode(prompt).decode() if re.search("[\ud800-\udfff]", prompt) else prompt).strip()
    except UnicodeError:
        raise click.UsageError("the prompt holds bytes that are not UTF-8; convert it.") from None


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
            "input_fidelity": options.input_fidelity,
        }
        self._params |= {name: value for name, value in values.items() if value is not None}

    def verbs(self, client: ImagesClient) -> Verbs:
        """The client's methods to call."""
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
        return "stdin" if name == _STDIN else repr(name)


def _check_images(options: EditOptions) -> None:
    files = [
        name for name in options.image_arguments if name != _STDIN and not name.startswith(_URL_PREFIXES)
    ]
    missing = [name for name in files if not os.path.exists(name)]  # noqa: PTH110  Path's raises if too long
    if not options.prompt.strip():
        message = "the prompt is missing: --prompt TEXT says what to make of the pictures."
        raise click.UsageError(
            f"{message} {_join_quoted(missing[:1])} is no file: was it meant?" if missing else message
        )
    if missing:
        raise click.UsageError(f"there is no such picture: {_join_quoted(missing)}.")
    if folders := [name for name in files if os.path.isdir(name)]:  # noqa: PTH112  as above
        raise click.UsageError(f"a folder is no picture, name those in it: {_join_quoted(folders)}.")
    if [*options.image_arguments, options.prompt].count(_STDIN) > 1:
        raise click.UsageError("- stands for stdin, which can be read once; it is given more than once.")


def _join_quoted(names: Sequence[str]) -> str:
    return join_limited([repr(name) for name in names], _MAX_NAMES)


def _read_image(name: str) -> str | bytes:
    """Return a path or URL unchanged, or the bytes of stdin. Raises click.UsageError."""
    if name != _STDIN:
        return name
    if not has_piped_stdin():
        raise click.UsageError(
            "- reads a picture from stdin, but nothing is sent there: use < FILE or a pipe."
        )
    return read_stdin_bytes("a picture")
