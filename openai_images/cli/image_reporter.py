"""Reports the images of a call: paths, JSON lines or (`-o -`) the bytes of one image on stdout, the cost on stderr.

Invariants: a path is printed when its file is complete; an image that cannot be written to its path, or to stdout, is
kept in a file that stderr names; with `-o -` only the image goes to stdout. All functions block.
Must not: print a prompt without `--json`; report the price of a placeholder image as a cost.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from attrs import evolve, fields

from openai_images import (
    PUBLISHED_PRICES,
    DownloadError,
    Image,
    ImageResult,
    ImagesError,
    PartialResultError,
    TokenDetails,
    Usage,
)
from openai_images.cli.console import Console, decimal_text, dollars, plural
from openai_images.cli.error_report import ErrorReport, report_error

_COUNTED_ONCE = ("usage", "cost", "tokens")


class ImageReporter:
    """Reports the images of one call; with `to_stdout` the single image goes there, and paths to stderr."""

    def __init__(
        self, console: Console, destination: Path, prompt: str, *, is_local: bool, to_stdout: bool
    ) -> None:
        self._out = console.out
        # Paths that are printed anyway must not get into the image.
        self._console = (
            Console(console.err, console.err, quiet=console.quiet, verbose=console.verbose)
            if to_stdout
            else console
        )
        self._destination = destination
        self._prompt = prompt
        self._is_local = is_local
        self._to_stdout = to_stdout

    def report_result(self, result: ImageResult) -> int:
        """Print the images of a result, and its cost; return the exit code."""
        if self._to_stdout:
            code = self._write_bytes(result.image)
        else:
            usage, cost = result.usage, result.cost()
            call_fields = call_record(result, "size", "quality", "background", "output_format", "created") | {
                "prompt": self._prompt,
                "model": result.model,
                "cost": decimal_text(cost),
                "tokens": None if usage is None else usage.total_tokens,
                "seconds": round(result.elapsed, 3),
            }
            code = self.report_images(result.images, call_fields)
        self._console.print_note(cost_note(result, is_local=self._is_local))
        return code

    def report_images(self, images: Sequence[Image], call_fields: dict[str, Any] | None = None) -> int:
        """Print the path of each image; `call_fields` are added to JSON lines. Return 1 if an image is not local."""
        console, known, code = self._console, call_fields or {}, 0
        for number, image in enumerate(images):
            saved = self._ensure_saved(image)
            if saved is None:
                code = 1
                continue
            if console.as_json:
                own = {"sha256": saved.sha256, "revised_prompt": saved.revised_prompt}
                record = {"index": number, **image_record(saved, str(saved.path)), **own, **known}
                is_taken = console.print_record(record)
                # These fields are for the whole call: the sum of all lines must not count them twice.
                known = known | {name: None for name in _COUNTED_ONCE if name in known}
            else:
                is_taken = console.print_result(str(saved.path))
            if not is_taken:
                self._say_where(saved)
        return code

    def report_error_images(self, error: ImagesError) -> None:
        """Print the finished images of an error."""
        if isinstance(error, PartialResultError):
            self.report_result(error.result)
        elif not isinstance(error, DownloadError):
            self.report_images(error.images)
        elif error.response is not None:  # the error itself lists the URLs of the other images
            self.report_images([one for one in error.response.images if one.nbytes])
        for image in error.damaged:
            kept = self._ensure_saved(image)
            where = "" if kept is None else f"; it is kept in {str(kept.path)!r}"
            message = f"warning: data came instead of an image ({image.flaw}){where}"
            self._console.print_message(message, "yellow")

    def close(self) -> None:
        """Remove the temporary folder of `-o -`, unless something is kept in it."""
        if self._to_stdout:
            with suppress(OSError):
                self._destination.parent.rmdir()

    def _write_bytes(self, image: Image) -> int:
        if image.nbytes and self._out.write_bytes(image.data):
            if image.path is not None:
                with suppress(OSError):
                    image.path.unlink()
            return 0
        saved = self._ensure_saved(image)
        if saved is not None and self._out.is_lost:
            self._say_where(saved)
        return 1

    def _say_where(self, image: Image) -> None:
        self._console.print_message(f"warning: stdout is closed; the image is {str(image.path)!r}", "yellow")

    def _ensure_saved(self, image: Image) -> Image | None:
        """Return the image with a path, saved in a fallback folder if necessary; None if it is remote."""
        if image.path is not None:
            return image
        if image.url is not None and not image.nbytes:
            message = "a paid image was not fetched from its URL"
            report = ErrorReport(error_type="DownloadError", message=message, urls=(image.url,))
            report_error(self._console, report)
            return None
        try:
            folder = tempfile.mkdtemp(prefix="openai-images-")
            path = image.save(Path(folder) / self._destination.stem)
        except OSError as error:
            message = (
                f"cannot write to {str(self._destination)!r}, nor to a temporary folder: {error.strerror}"
            )
            report = ErrorReport(
                error_type=type(error).__name__, message=message, advice="A paid image is lost."
            )
            report_error(self._console, report, error)
            return None
        warning = f"warning: {str(self._destination)!r} could not be written; the image is in {folder}"
        self._console.print_message(warning, "yellow")
        return evolve(image, path=path)


def check_stdout(console: Console) -> None:
    """Check that stdout takes an image. Raises click.UsageError."""
    if console.out.isatty():
        raise click.UsageError(
            "-o - writes the bytes of an image, and stdout is a terminal; add > FILE or a pipe."
        )
    if not console.out.takes_bytes:
        raise click.UsageError("-o - writes to stdout, which is closed or takes only text; name a file.")


def cost_note(result: ImageResult, *, is_local: bool) -> str:
    """Format a result's cost and duration: `cost: $0.006 (272 output tokens), 1.9 s`."""
    usage, cost, model = result.usage, result.cost(), result.model
    count = usage.output_tokens if usage is not None else None
    tokens, seconds = plural(count, "output token") if count else "", f"{result.elapsed:.1f} s"
    if is_local:
        would = f"; {model} would take {dollars(cost)} ({tokens})" if cost is not None else ""
        return f"cost: nothing{would}, {seconds}"
    if cost is not None:
        return f"cost: {dollars(cost)} ({tokens}), {seconds}"
    why = "the server's token counts are not sufficient"
    if not tokens:
        why = "the server sent no token counts"
    elif PUBLISHED_PRICES.of(model) is None:
        why = f"{tokens}; no price is known for {model!r}"
    return f"cost: unknown ({why}), {seconds}"


def call_record(result: ImageResult, *names: str) -> dict[str, Any]:
    """Return these fields of a result for a JSON line, then those of its call."""
    return {name: getattr(result, name) for name in names} | {
        "usage": None if result.usage is None else _usage_record(result.usage),
        "request_id": result.request_id,
        "attempts": result.attempts,
        "elapsed": round(result.elapsed, 3),
    }


def image_record(image: Image, path: str) -> dict[str, Any]:
    """Return an image's fields for a JSON line."""
    size = {"width": image.width, "height": image.height, "bytes": image.nbytes}
    return {"path": path, "media_type": image.media_type, **size}


def _usage_record(usage: Usage) -> dict[str, Any]:
    counts = _split_extra(Usage, usage.as_dict())
    for name in ("input_tokens_details", "output_tokens_details"):
        if getattr(usage, name) is not None and isinstance(counts[name], dict):
            counts[name] = _split_extra(TokenDetails, counts[name])
    return counts


def _split_extra(cls: type[Usage | TokenDetails], counts: dict[str, Any]) -> dict[str, Any]:
    """Return the known fields, None if absent, and the others as `extra`."""
    rest = dict(counts)
    known = {field.name: rest.pop(field.name, None) for field in fields(cls) if field.name != "extra"}
    return known | ({"extra": rest} if rest else {})
