"""Everything that is wrong with a request, told at once and before anything is sent.

Rules: pure; nothing is corrected and nothing is sent. What the API surely refuses is told from what is only doubtful: a
model or a value that this version does not know must always have a way through. What `extra_body` says is never
judged, nor is any rule that would depend on it. No message has the prompt in it.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from openai_images.errors import ConfigurationError, RequestInvalidError
from openai_images.models.asked import Problem, asked_of
from openai_images.models.request import GenerateRequest
from openai_images.models.rules import RULES

__all__ = ["Mode", "Problem", "check", "checked_mode", "problems_of"]

Mode: TypeAlias = Literal["strict", "warn", "off"]
_MODES: Final = ("strict", "warn", "off")


def problems_of(
    request: GenerateRequest, *, stream: bool, official: bool = True, split: bool = False
) -> list[Problem]:
    """All problems of a request that is to be sent as a `stream` or not.

    `official`: the server is OpenAI's own. Another may take more, or less, so that nothing but a wrong type is certain
    there, and models of other names are its own affair. `split`: the client shares `n` pictures out over requests
    of at most 10, and over streams of one each, so that `n` may be larger.
    """
    asked = asked_of(request, stream=stream, official=official, split=split)
    return [problem for rule in RULES for problem in rule(asked)]


def checked_mode(mode: Mode) -> Mode:
    """The mode, if it is one. Raises `ConfigurationError`."""
    if mode not in _MODES:
        msg = f"validate={str(mode)[:40]!r} is not known: it must be one of {', '.join(_MODES)}"
        raise ConfigurationError(msg)
    return mode


def check(
    request: GenerateRequest, mode: Mode, *, stream: bool, official: bool = True, split: bool = False
) -> list[Problem]:
    """The doubtful problems of a request, which the caller may warn of; none unless `mode` is "warn".

    "strict" raises `RequestInvalidError` for any problem, "warn" for certain ones, "off" for none; the message lists
    all problems and what would be accepted. Raises `ConfigurationError` for another mode. See `problems_of`.
    """
    if checked_mode(mode) == "off":
        return []
    problems = problems_of(request, stream=stream, official=official, split=split)
    if any(problem.certain or mode == "strict" for problem in problems):
        raise RequestInvalidError(_report(problems))
    return problems


def _report(problems: list[Problem]) -> str:
    """Every problem, the certain ones first, and the way round them."""
    certain = [str(problem) for problem in problems if problem.certain]
    doubtful = [f"perhaps {problem}" for problem in problems if not problem.certain]
    listed = "; ".join([*certain, *doubtful])
    return f'the request was not sent: {listed}; validate="off" sends it as it is'
