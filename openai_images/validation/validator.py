"""Finds all problems of a request before anything is sent.

Invariants: pure; certain problems are separate from doubtful ones: a model or value that this version does not know can
always be sent. Values in `extra_body`, and rules that depend on them, are not checked. The date that decides which
models have ended is a parameter.
Must not: correct or send a request, or have the prompt in a message.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from operator import attrgetter
from types import NoneType
from typing import Final, Literal, TypeAlias

from attrs import fields_dict

from openai_images.catalog.models import REPLACEMENTS, find_model, utc_date
from openai_images.errors import ConfigurationError, RequestInvalidError
from openai_images.models.requests import GenerateRequest
from openai_images.validation.context import Problem, context_from
from openai_images.validation.rules import EDIT_RULES, RULES

Mode: TypeAlias = Literal["strict", "warn", "off"]
_MODES: Final = ("strict", "warn", "off")
_values_of: Final = attrgetter(
    *(name for name in fields_dict(GenerateRequest) if name not in ("prompt", "svg", "extra_body"))
)
_SIMPLE_TYPES: Final = frozenset((str, int, NoneType))
_SHORTEST_PROMPT_LIMIT: Final = 1000
_MOST_SHAPES: Final = 256
_MOST_REPORTED: Final = 1000


def find_problems(  # noqa: PLR0913  the facts of a server, and the date
    request: GenerateRequest,
    *,
    stream: bool,
    today: date,
    official: bool = True,
    azure: bool = False,
    split: bool = False,
) -> list[Problem]:
    """Return all problems of a request that is to be sent as a `stream` or not.

    `official`: the server is OpenAI's own. Another server may accept more or less: only a wrong type is certain there,
    and unknown models are not checked. `azure`: the server is Azure's, where some models end on other days. `split`:
    the client splits `n` images into several requests, and into streams of one each, so that `n` may be up to 1,000.
    `today` decides which models have ended.
    """
    context = context_from(request, stream=stream, official=official, split=split, today=today, azure=azure)
    rules = RULES if request.path == GenerateRequest.path else (*RULES, *EDIT_RULES)
    return [problem for rule in rules for problem in rule(context)]


def raise_if_invalid(problems: list[Problem], mode: Mode) -> list[Problem]:
    """Return the problems if the request may be sent in this mode. Raises `RequestInvalidError`."""
    if mode != "off" and any(problem.certain or mode == "strict" for problem in problems):
        raise RequestInvalidError(_report(problems))
    return problems


class RequestValidator:
    """Checks the requests of one client; requests that differ only in their prompt are checked once a day."""

    def __init__(
        self,
        mode: Mode,
        *,
        official: bool,
        wall: Callable[[], float],
        azure: bool = False,
        split: bool = False,
    ) -> None:
        """Create a validator of requests to such a server, as for `find_problems`; `wall` returns Unix seconds.

        Mode "strict" raises for any problem, "warn" for certain ones, "off" for none. Raises `ConfigurationError` for
        another mode.
        """
        if mode not in _MODES:
            raise ConfigurationError(
                f"validate={str(mode)[:40]!r} is not known: it must be one of {', '.join(_MODES)}"
            )
        self._mode: Mode = mode
        self.split = split
        self.official = official
        self._azure = azure
        self._wall = wall
        self._reported: set[str] = set()
        self._announced: set[str] = set()
        self._valid_shapes: set[tuple[date, tuple[object, ...] | None]] = set()

    def for_server(self, *, official: bool, azure: bool) -> RequestValidator:
        """Return the validator of requests to such a server."""
        if (official, azure) == (self.official, self._azure):
            return self
        return RequestValidator(self._mode, official=official, wall=self._wall, azure=azure, split=self.split)

    def has_checked(self, request: GenerateRequest, *, stream: bool) -> bool:
        """Whether no check is needed: it is off, or only the prompt differs from a request that was checked today."""
        shape = None if self._mode == "off" else _shape(request, stream)
        return self._mode == "off" or (utc_date(self._wall()), shape) in self._valid_shapes

    def check(self, request: GenerateRequest, *, stream: bool) -> list[Problem]:
        """Return the doubtful problems of a request, for a warning; none unless the mode is "warn".

        Raises `RequestInvalidError`, whose message has all problems and what would be accepted.
        """
        if self._mode == "off":
            return []
        today, split = utc_date(self._wall()), self.split
        return raise_if_invalid(
            find_problems(
                request, stream=stream, today=today, official=self.official, azure=self._azure, split=split
            ),
            self._mode,
        )

    def __call__(self, request: GenerateRequest, *, stream: bool) -> list[str]:
        """Return the doubtful problems not reported before. Raises `RequestInvalidError` as `check` does."""
        if self.has_checked(request, stream=stream):
            return []
        problems = self.check(request, stream=stream)
        shape = _shape(request, stream)
        if shape is not None:
            if len(self._valid_shapes) >= _MOST_SHAPES:  # mostly of earlier days
                self._valid_shapes.clear()
            self._valid_shapes.add((utc_date(self._wall()), shape))
        return self._not_yet_reported(problems)

    def ending(self, request: GenerateRequest) -> list[str]:
        """Return a notice that the request's model ends soon, if it was not reported before."""
        if self._mode == "off" or not request.model or "model" in (request.extra_body or {}):
            return []
        model = find_model(request.model)[0]
        if model is None or model.name in self._announced:
            return []
        if not model.ends_soon(utc_date(self._wall()), azure=self._azure):
            return []
        self._announced.add(model.name)
        provider, end = model.end(azure=self._azure)
        return [f"{provider} ends {model.name} on {end}: use {' or '.join(REPLACEMENTS)} in its place"]

    def pictures(self, problems: list[Problem]) -> list[str]:
        """Return the doubtful problems of opened images not reported before. Raises as `check` does."""
        return [] if self._mode == "off" else self._not_yet_reported(raise_if_invalid(problems, self._mode))

    def _not_yet_reported(self, problems: list[Problem]) -> list[str]:
        new = sorted({str(problem) for problem in problems} - self._reported)
        if len(self._reported) >= _MOST_REPORTED:  # messages may differ in a number each time
            self._reported.clear()
        self._reported.update(new)
        return new


def _shape(request: GenerateRequest, stream: bool) -> tuple[object, ...] | None:
    """Return all values that rules check; None if the prompt matters (empty, or long), or a value is an object."""
    has_more = request.svg is not None or request.extra_body is not None
    if (
        has_more
        or request.path != GenerateRequest.path
        or not request.prompt.strip()
        or len(request.prompt) > _SHORTEST_PROMPT_LIMIT
    ):
        return None
    values = _values_of(request)
    # Not isinstance: a bool is an int, but of the wrong type.
    return (stream, *values) if _SIMPLE_TYPES.issuperset(map(type, values)) else None


def _report(problems: list[Problem]) -> str:
    """Return the error's message: all problems, the certain ones first, and how to send the request anyway."""
    certain = [str(problem) for problem in problems if problem.certain]
    doubtful = [f"perhaps {problem}" for problem in problems if not problem.certain]
    problem_list = "; ".join([*certain, *doubtful])
    return f'the request was not sent: {problem_list}; validate="off" sends it anyway'
