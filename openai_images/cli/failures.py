"""What is said when something fails: what happened, what to do, and whether it may have cost money.

Rules: one block on stderr, in red where that can be shown, and one JSON line on stdout with `--json`; the texts are the
client's own, which hold neither key nor prompt. It refuses to guess: "billed" is said only where nobody knows.
"""

from __future__ import annotations

import re
import traceback
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from attrs import frozen

from openai_images import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    ConfigurationError,
    DownloadError,
    ImagesError,
    PartialResultError,
    RateLimitError,
    RequestInvalidError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.cli.console import Console

__all__ = ["Problem", "exit_code", "hints_for", "problem_of", "say_problem", "show_problem"]

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


@frozen(kw_only=True)
class Problem:
    """A failure in words: `kind` names it in JSON, `facts` are what else is known of it."""

    kind: str
    message: str
    to_do: str = ""
    facts: str = ""
    maybe_billed: bool = False
    attempts: int = 0
    elapsed: float = 0.0
    request_id: str | None = None
    status_code: int | None = None
    code: str | None = None
    param: str | None = None
    urls: tuple[str, ...] = ()
    hint: str = _MAYBE_BILLED

    def record(self) -> dict[str, Any]:
        """The JSON line."""
        return {
            "error": {
                "type": self.kind,
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


def hints_for(given: Mapping[str, object], output: str | None) -> dict[str, str]:
    """What to do about each parameter, for somebody who typed those that are `given`, and `-o output`."""
    hints = {
        name: _HINTS[name] if given.get(name) is not None else f"Set it with {option}."
        for name, option in _OPTIONS.items()
    }
    suffix = "" if output is None else PurePath(output).suffix
    if suffix:
        hints["output_format"] = (
            f"-o ends in {suffix}, which asks for that format; a name without a suffix asks for none."
            if given.get("output_format") is None
            else f"Change --format and the suffix {suffix} of -o."
        )
    return hints


def problem_of(error: ImagesError, hints: Mapping[str, str] | None = None) -> Problem:
    """A client's exception in words for the command line; `hints` say what to do about each parameter."""
    message = error.reason if isinstance(error, DownloadError) else str(error)
    if error.request_id:
        message = message.removesuffix(f"; request {error.request_id}")
    if isinstance(error, RequestInvalidError):  # what it ends with is for those who write Python
        message = message.removesuffix('; validate="off" sends it as it is')
    status = error if isinstance(error, APIStatusError) else None
    return Problem(
        kind=type(error).__name__,
        message=message,
        to_do=_to_do(error, hints or _HINTS),
        facts=_facts(error),
        maybe_billed=error.maybe_billed,
        attempts=error.attempts,
        elapsed=error.elapsed,
        request_id=error.request_id,
        status_code=status.status_code if status else None,
        code=status.code if status else None,
        param=status.param if status else None,
        urls=error.urls if isinstance(error, DownloadError) else (),
        hint=_PARTLY_BILLED if error.images else _DAMAGED_BILLED if error.damaged else _MAYBE_BILLED,
    )


def show_problem(console: Console, problem: Problem, error: BaseException | None = None) -> None:
    """Say it on stderr, and on stdout with `--json`; `error` adds its traceback with `--verbose`."""
    if console.as_json:
        console.record(problem.record())
    say_problem(console, problem, error)


def say_problem(console: Console, problem: Problem, error: BaseException | None = None) -> None:
    """Say it on stderr; `error` adds its traceback with `--verbose`."""
    if console.verbose and error is not None:
        console.err.write("".join(traceback.format_exception(error)))
    console.always(f"error: {problem.message}", "bold red")
    known = "billed" in problem.message or problem.urls
    hint = problem.hint if problem.maybe_billed and not known else ""
    # The URLs are whole, signatures included: they are the only way to pictures that are paid for.
    for line in filter(None, (problem.to_do, *problem.urls, hint, problem.facts)):
        console.always(f"       {line}", "red" if line is hint else "")


def exit_code(error: ImagesError) -> int:
    """2 where nothing could have been sent for want of sense, else 1."""
    return 2 if isinstance(error, ConfigurationError | RequestInvalidError) else 1


def _blamed(error: ImagesError) -> str | None:
    """The parameter that the server names: in its field, or in its sentence where that can be no other word."""
    if isinstance(error, APIStatusError) and error.param in _OPTIONS:
        return error.param
    if not isinstance(error, BadRequestError):
        return None
    words = set(re.findall(r"\w+", str(error)))
    return next((name for name in _OPTIONS if "_" in name and name in words), None)


def _to_do(error: ImagesError, hints: Mapping[str, str]) -> str:
    if isinstance(error, PartialResultError):
        return _to_do(error.errors[0], hints) if error.errors else ""
    if (name := _blamed(error)) is not None:
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


def _facts(error: ImagesError) -> str:
    attempts = f"{error.attempts} attempt{'s' if error.attempts > 1 else ''}, {error.elapsed:.1f} s"
    request = f"request {error.request_id}" if error.request_id else ""
    notes: list[str] = getattr(error, "__notes__", [])
    return ", ".join(filter(None, [request, attempts if error.attempts else "", *notes]))
