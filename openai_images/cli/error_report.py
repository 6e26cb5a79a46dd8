"""Reports of failures: messages on stderr, JSON lines on stdout, and exit codes.

Invariants: an error has what happened and what to do, and "billed" only if the outcome is unknown.
Must not: print a key or a prompt, or without `--verbose` a traceback.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from openai_images import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    ConfigurationError,
    DownloadError,
    ImagesError,
    NotFoundError,
    PartialResultError,
    RateLimitError,
    RequestInvalidError,
    SharedLimitError,
)
from openai_images.cli.command_parts import OPTION_OF
from openai_images.cli.console import Console, plural

INTERRUPTED = 130

_FOR_PROGRAMS = r'; (?:validate="off" sends it anyway|RetryPolicy\(\w+=\S+\) allows no longer wait)$'
"""Advice at the end of a message that commands have no option for."""

_NOT_SENT = (
    "Nothing was sent. The server's address is --base-url, or OPENAI_BASE_URL, or AZURE_OPENAI_ENDPOINT, "
    "or OpenAI's own."
)
_NOT_THROUGH_PROXY = "Nothing was sent. The proxy's address is HTTPS_PROXY, HTTP_PROXY or ALL_PROXY."
_SHARED_LIMIT = "The shared limit's address is --shared-limit, or OPENAI_IMAGES_SHARED_LIMIT."


def interrupted_report(message: str, **fields: Any) -> ErrorReport:
    """Make the report of a command that a signal has ended."""
    return ErrorReport(error_type="Interrupted", message=message, exit_code=INTERRUPTED, **fields)


def write_error_report(
    path: str, error: OSError, advice: str = "", *, maybe_billed: bool = False
) -> ErrorReport:
    """Make a report for a path that cannot be written."""
    kind = type(error).__name__
    message, code = f"cannot write to {path!r}: {error.strerror or kind}", 1 if maybe_billed else 2
    return ErrorReport(
        error_type=kind, message=message, advice=advice, maybe_billed=maybe_billed, exit_code=code
    )


_MAYBE_BILLED = "It may have been billed although no image came; check before you send it again."
_PARTLY_BILLED = "The missing images may have been billed, too; check before you send it again."
_DAMAGED_BILLED = (
    "It may have been billed, so the data that came instead of an image was kept; check that first."
)

_OPTIONS = OPTION_OF | {"size": "--size (WIDTHxHEIGHT such as 1536x1024, or auto)"}
_HINTS = {name: f"Change {option}." for name, option in _OPTIONS.items()}


@frozen(kw_only=True)
class ErrorReport:
    """A failure as text and as JSON; `exit_code` is that of a command that ends with it."""

    error_type: str
    message: str
    exit_code: int = 1
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
        """Return the JSON line."""
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


_KEYWORDS = re.compile(r"\b(?:max_image_cost|retry_(?:failed|missing|unknown))\b")


def name_options(text: str) -> str:
    """Return a message of the package with options in place of its keywords."""
    text = re.sub(r"Limits\(shared=[^)]*\)", "--shared-limit", text)
    return _KEYWORDS.sub(lambda found: f"--{found[0].replace('_', '-')}", text)


def parameter_hints(typed: Collection[str], output: str | None) -> dict[str, str]:
    """Map each parameter to advice, depending on the parameters whose options were typed, and on `-o`."""
    hints = {
        name: _HINTS[name] if name in typed else f"Set it with {option}." for name, option in _OPTIONS.items()
    }
    suffix = "" if output is None else PurePath(output).suffix
    if suffix:
        hints["output_format"] = (
            f"-o ends in {suffix}, which requests that format; a name without a suffix requests none."
            if "output_format" not in typed
            else f"Change --format and the suffix {suffix} of -o."
        )
    return hints


def report_from(
    error: ImagesError, hints: Mapping[str, str] | None = None, base_url: str = ""
) -> ErrorReport:
    """Make a report from an exception; `hints` are advice by parameter, `base_url` is the server's address."""
    message = name_options(error.reason if isinstance(error, DownloadError) else str(error))
    message = re.sub(_FOR_PROGRAMS, "", message)
    if error.request_id:
        message = message.removesuffix(f"; request {error.request_id}")
    status = error if isinstance(error, APIStatusError) else None
    attempts = f"{plural(error.attempts, 'attempt')}, {error.elapsed:.1f} s"
    request = f"request {error.request_id}" if error.request_id else ""
    notes: list[str] = getattr(error, "__notes__", [])
    return ErrorReport(
        error_type=type(error).__name__,
        message=message,
        exit_code=2 if isinstance(error, ConfigurationError | RequestInvalidError) else 1,
        advice=_advice(error, hints or _HINTS) or _address_advice(error, base_url),
        details=", ".join(filter(None, [request, attempts if error.attempts else "", *notes])),
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


def report_error(console: Console, report: ErrorReport, error: BaseException | None = None) -> int:
    """Print a report on stderr, and with `--json` on stdout; return the exit code."""
    if console.as_json:
        console.print_record(report.record())
    print_error(console, report, error)
    return report.exit_code


def print_error(console: Console, report: ErrorReport, error: BaseException | None = None) -> None:
    """Print a report on stderr; `error` adds a traceback if verbose."""
    if console.verbose and error is not None:
        console.err.write("".join(traceback.format_exception(error)))
    console.print_message(f"error: {report.message}", "bold red")
    known = "billed" in report.message or report.urls
    hint = report.billing_hint if report.maybe_billed and not known else ""
    # URLs keep their signatures: there is no other access to paid images.
    for line in filter(None, (report.advice, *report.urls, hint, report.details)):
        console.print_message(f"       {line}", "red" if line is hint else "")


def _blamed_parameter(error: ImagesError) -> str | None:
    """Return the parameter that the server names in `param`, or unambiguously in its message."""
    if isinstance(error, APIStatusError) and error.param in _OPTIONS:
        return error.param
    if not isinstance(error, BadRequestError):
        return None
    words = set(re.findall(r"\w+", str(error)))
    return next((name for name in sorted(_OPTIONS) if "_" in name and name in words), None)


def _address_advice(error: ImagesError, base_url: str) -> str:
    if not isinstance(error, NotFoundError) or not base_url or urlsplit(base_url).path:
        return ""
    return f"The server's address has no path; try {base_url}/v1 (--base-url, or OPENAI_BASE_URL)."


def _advice(error: ImagesError, hints: Mapping[str, str]) -> str:
    if isinstance(error, PartialResultError):
        return _advice(error.errors[0], hints) if error.errors else ""
    if (name := _blamed_parameter(error)) is not None:
        return hints[name]
    if isinstance(error, APIStatusError) and error.code == "DeploymentNotFound":
        return "Check the deployment's name (--model, or AZURE_OPENAI_DEPLOYMENT) and OPENAI_API_VERSION."
    if isinstance(error, DownloadError) and error.urls:
        was, it = ("It is", "it") if len(error.urls) == 1 else ("All are", "them")
        return f"{was} paid for, so nothing was sent again. Fetch {it} soon, as such URLs expire:"
    if isinstance(error, RateLimitError):
        return f"Wait {error.retry_after:.0f} seconds." if error.retry_after else "Wait a minute."
    if isinstance(error, APITimeoutError) and error.timer == "total":
        return "Allow more time with --timeout SECONDS."
    if isinstance(error, APIConnectionError) and error.safe_to_resend:
        address = _NOT_THROUGH_PROXY if str(error).startswith("the proxy") else _NOT_SENT
        return _SHARED_LIMIT if isinstance(error, SharedLimitError) else address
    return ""
