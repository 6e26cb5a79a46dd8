"""Finished images as paths or JSON lines on stdout; errors as messages on stderr.

Invariants: a path is printed when its file is complete; an image that cannot be written to its place is saved
elsewhere; an error says what happened, what to do, and "billed" only where the outcome is unknown. All of this blocks.
Must not: print bytes, a key or a prompt.
"""

from __future__ import annotations

import re
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from attrs import evolve, fields, frozen

from openai_images import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    ConfigurationError,
    DownloadError,
    Image,
    ImageResult,
    ImagesError,
    PartialResultError,
    RateLimitError,
    RequestInvalidError,
    TokenDetails,
    Usage,
)
from openai_images.cli.console import Console

_MAYBE_BILLED = "It may have been billed although no picture came: look before you send it again."
_PARTLY_BILLED = "What did not come may have been billed as well: look before you send it again."
_DAMAGED_BILLED = "It may have been billed, so what came in a picture's place was kept: look at that first."

_OPTIONS = {
    "background": "--background",
    "input_fidelity": "--input-fidelity",
    "markup": "--markup",
    "mask": "--mask",
    "model": "--model",
    "moderation": "--moderation",
    "n": "--n",
    "output_compression": "--compression",
    "output_format": "--format",
    "partial_images": "--partial-images",
    "quality": "--quality",
    "size": "--size (WIDTHxHEIGHT such as 1536x1024, or auto)",
}
_HINTS = {name: f"Change {option}." for name, option in _OPTIONS.items()}


def report_result(console: Console, result: ImageResult, destination: Path) -> int:
    """Print the images of a result and return the exit code."""
    call_fields = call_record(result, "size", "quality", "background", "output_format", "created")
    return report_images(console, result.images, destination, call_fields)


def report_images(
    console: Console, images: Sequence[Image], destination: Path, call_fields: dict[str, Any] | None = None
) -> int:
    """Print the path of each image; `call_fields` are added to JSON lines. Return 1 if an image is not local."""
    known, code = call_fields or {}, 0
    for number, image in enumerate(images):
        saved = _ensure_saved(console, image, destination)
        if saved is None:
            code = 1
            continue
        if console.as_json:
            is_taken = console.print_record(_record(saved, number, known))
            # Usage is of the whole call: adding up the lines must not count it twice.
            known = {**known, "usage": None}
        else:
            is_taken = console.print_result(str(saved.path))
        if not is_taken:
            console.print_message(f"stdout takes nothing; the picture is {str(saved.path)!r}", "yellow")
    return code


def report_error_images(console: Console, error: ImagesError, destination: Path) -> None:
    """Print the finished images that an error carries."""
    if isinstance(error, PartialResultError):
        report_result(console, error.result, destination)
    else:
        report_images(console, _finished_images(error), destination)
    for image in error.damaged:
        kept = _ensure_saved(console, image, destination)
        where = "" if kept is None else f" is kept in {str(kept.path)!r}"
        console.print_message(f"warning: what came in a picture's place ({image.flaw}){where}", "yellow")


def _finished_images(error: ImagesError) -> Sequence[Image]:
    """The finished images that an error carries; the error itself lists the URLs of others."""
    if isinstance(error, DownloadError):
        return [] if error.response is None else [one for one in error.response.images if one.nbytes]
    return error.images


def call_record(result: ImageResult, *names: str) -> dict[str, Any]:
    """Return these fields of a result for a JSON line, then those of its call."""
    return {name: getattr(result, name) for name in names} | {
        "usage": usage_record(result),
        "request_id": result.request_id,
        "attempts": result.attempts,
        "elapsed": round(result.elapsed, 3),
    }


def image_record(image: Image, path: str) -> dict[str, Any]:
    """Return what a JSON line says of an image."""
    size = {"width": image.width, "height": image.height, "bytes": image.nbytes}
    return {"path": path, "media_type": image.media_type, **size}


def usage_record(result: ImageResult) -> dict[str, Any] | None:
    """Return the token counts for a JSON line; None if the server sent none."""
    if result.usage is None:
        return None
    counts = _split_extra(Usage, result.usage.as_dict())
    for name in ("input_tokens_details", "output_tokens_details"):
        if getattr(result.usage, name) is not None and isinstance(counts[name], dict):
            counts[name] = _split_extra(TokenDetails, counts[name])
    return counts


def _split_extra(cls: type[Usage | TokenDetails], counts: dict[str, Any]) -> dict[str, Any]:
    """The known fields, None if absent, and the others as `extra`."""
    rest = dict(counts)
    known = {field.name: rest.pop(field.name, None) for field in fields(cls) if field.name != "extra"}
    return known | ({"extra": rest} if rest else {})


def _record(image: Image, index: int, call_fields: dict[str, Any]) -> dict[str, Any]:
    own = {"sha256": image.sha256, "revised_prompt": image.revised_prompt}
    return {"index": index, **image_record(image, str(image.path)), **own, **call_fields}


def _ensure_saved(console: Console, image: Image, destination: Path) -> Image | None:
    """The image with a path, saved elsewhere if need be; None if it is remote."""
    if image.path is not None:
        return image
    if image.url is not None:
        message = "a picture that is paid for was not fetched from where it is"
        report_error(console, ErrorReport(error_type="DownloadError", message=message, urls=(image.url,)))
        return None
    folder = tempfile.mkdtemp(prefix="openai-images-")
    path = image.save(Path(folder) / destination.stem)
    warning = f"warning: {str(destination)!r} could not be written; the picture is in {folder}"
    console.print_message(warning, "yellow")
    return evolve(image, path=path)


@frozen(kw_only=True)
class ErrorReport:
    """A failure as text and as JSON."""

    error_type: str
    message: str
    advice: str = ""
    details: str = ""
    maybe_billed: bool = False
    attempts: int = 0
    elapsed: float = 0.0
    request_id: str | None = None
    status_code: int | None = None
    code: str | None = None
    param: str | None = None
    urls: tuple[str, ...] = ()
    billing_hint: str = _MAYBE_BILLED

    def record(self) -> dict[str, Any]:
        """The JSON line."""
        return {
            "error": {
                "type": self.error_type,
                "message": self.message,
                "status_code": self.status_code,
                "code": self.code,
                "param": self.param,
                "maybe_billed": self.maybe_billed,
                **({"urls": list(self.urls)} if self.urls else {}),
            },
            "request_id": self.request_id,
            "attempts": self.attempts,
            "elapsed": round(self.elapsed, 3),
        }


def parameter_hints(values: Mapping[str, object], output: str | None) -> dict[str, str]:
    """Map each parameter to advice, depending on the options that were `values` and on `-o`."""
    hints = {
        name: _HINTS[name] if values.get(name) is not None else f"Set it with {option}."
        for name, option in _OPTIONS.items()
    }
    suffix = "" if output is None else PurePath(output).suffix
    if suffix:
        hints["output_format"] = (
            f"-o ends in {suffix}, which asks for that format; a name without a suffix asks for none."
            if values.get("output_format") is None
            else f"Change --format and the suffix {suffix} of -o."
        )
    return hints


def report_from(error: ImagesError, hints: Mapping[str, str] | None = None) -> ErrorReport:
    """Make a report from an exception; `hints` are advice by parameter."""
    message = error.reason if isinstance(error, DownloadError) else str(error)
    if error.request_id:
        message = message.removesuffix(f"; request {error.request_id}")
    if isinstance(error, RequestInvalidError):  # advice for programs
        message = message.removesuffix('; validate="off" sends it as it is')
    status = error if isinstance(error, APIStatusError) else None
    return ErrorReport(
        error_type=type(error).__name__,
        message=message,
        advice=_advice(error, hints or _HINTS),
        details=_details(error),
        maybe_billed=error.maybe_billed,
        attempts=error.attempts,
        elapsed=error.elapsed,
        request_id=error.request_id,
        status_code=status.status_code if status else None,
        code=status.code if status else None,
        param=status.param if status else None,
        urls=error.urls if isinstance(error, DownloadError) else (),
        billing_hint=_PARTLY_BILLED if error.images else _DAMAGED_BILLED if error.damaged else _MAYBE_BILLED,
    )


def report_error(console: Console, report: ErrorReport, error: BaseException | None = None) -> None:
    """Print a report on stderr, and with `--json` on stdout; `error` adds a traceback if verbose."""
    if console.as_json:
        console.print_record(report.record())
    print_error(console, report, error)


def print_error(console: Console, report: ErrorReport, error: BaseException | None = None) -> None:
    """Print a report on stderr; `error` adds a traceback if verbose."""
    if console.verbose and error is not None:
        console.err.write("".join(traceback.format_exception(error)))
    console.print_message(f"error: {report.message}", "bold red")
    known = "billed" in report.message or report.urls
    hint = report.billing_hint if report.maybe_billed and not known else ""
    # URLs keep their signatures: they are the only way to images that are paid for.
    for line in filter(None, (report.advice, *report.urls, hint, report.details)):
        console.print_message(f"       {line}", "red" if line is hint else "")


def exit_code(error: ImagesError) -> int:
    """Return 2 for errors found before sending, else 1."""
    return 2 if isinstance(error, ConfigurationError | RequestInvalidError) else 1


def _blamed_parameter(error: ImagesError) -> str | None:
    """The parameter that the server names in `param`, or unmistakably in its message."""
    if isinstance(error, APIStatusError) and error.param in _OPTIONS:
        return error.param
    if not isinstance(error, BadRequestError):
        return None
    words = set(re.findall(r"\w+", str(error)))
    return next((name for name in _OPTIONS if "_" in name and name in words), None)


def _advice(error: ImagesError, hints: Mapping[str, str]) -> str:
    if isinstance(error, PartialResultError):
        return _advice(error.errors[0], hints) if error.errors else ""
    if (name := _blamed_parameter(error)) is not None:
        return hints[name]
    if isinstance(error, APIStatusError) and error.code == "DeploymentNotFound":
        return "Check the deployment's name (--model, or AZURE_OPENAI_DEPLOYMENT) and OPENAI_API_VERSION."
    if isinstance(error, DownloadError) and error.urls:
        was, it = ("It is", "it") if len(error.urls) == 1 else ("All are", "them")
        return f"{was} paid for, so nothing was sent again. Fetch {it} soon, as such URLs end:"
    if isinstance(error, RateLimitError):
        return f"Wait {error.retry_after:.0f} seconds." if error.retry_after else "Wait a minute."
    if isinstance(error, APITimeoutError) and error.timer == "total":
        return "Give it longer with --timeout SECONDS."
    if isinstance(error, APIConnectionError) and error.safe_to_resend:
        return (
            "Nothing was sent. The server's address is --base-url, or OPENAI_BASE_URL, or AZURE_OPENAI_ENDPOINT, "
            "or OpenAI's own."
        )
    return ""


def _details(error: ImagesError) -> str:
    attempts = f"{error.attempts} attempt{'s' if error.attempts > 1 else ''}, {error.elapsed:.1f} s"
    request = f"request {error.request_id}" if error.request_id else ""
    notes: list[str] = getattr(error, "__notes__", [])
    return ", ".join(filter(None, [request, attempts if error.attempts else "", *notes]))
