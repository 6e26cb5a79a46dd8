"""Everything that is wrong with a request, told at once and before anything is sent.

Rules: pure; nothing is corrected and nothing is sent. What the API surely refuses is told from what is only doubtful: a
model or a value that this version does not know must always have a way through. What `extra_body` says is never
judged, nor is any rule that would depend on it. No message has the prompt in it. The day by which the ends of models
are judged is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from typing import Final, Literal, TypeAlias

from attrs import fields_dict

from openai_images.catalog.models import REPLACEMENTS, find_model, utc_date
from openai_images.errors import ConfigurationError, RequestInvalidError
from openai_images.models.requests import GenerateRequest
from openai_images.validation.context import CheckContext, Problem, context_from
from openai_images.validation.generate_rules import RULES

Mode: TypeAlias = Literal["strict", "warn", "off"]
_MODES: Final = ("strict", "warn", "off")
_FIELDS: Final = tuple(
    name for name in fields_dict(GenerateRequest) if name not in ("prompt", "svg", "extra_body")
)
_PLAIN: Final = (str, int, type(None))
_SHORT: Final = 1000
_MOST_SHAPES: Final = 256
_MOST_TOLD: Final = 1000


def find_problems(  # noqa: PLR0913  what a server is, and the day
    request: GenerateRequest,
    *,
    stream: bool,
    today: date,
    official: bool = True,
    azure: bool = False,
    split: bool = False,
) -> list[Problem]:
    """All problems of a request that is to be sent as a `stream` or not.

    `official`: the server is OpenAI's own. Another may take more, or less, so that nothing but a wrong type is certain
    there, and models of other names are its own affair. `azure`: it is Azure's, where some models end on other days.
    `split`: the client shares `n` pictures out over requests of as many as one may carry, and over streams of one
    each, so that `n` may be up to 1,000. `today` tells which models have ended.
    """
    asked = context_from(request, stream=stream, official=official, split=split, today=today, azure=azure)
    return [problem for rule in _rules_of(request) for problem in rule(asked)]


def _rules_of(request: GenerateRequest) -> Iterable[Callable[[CheckContext], Iterator[Problem]]]:
    if request.path == GenerateRequest.path:
        return RULES
    # Here, so that those who edit nothing need not wait for its import.
    from openai_images.validation.edit_rules import EDIT_RULES  # noqa: PLC0415

    return (*RULES, *EDIT_RULES)


def check(  # noqa: PLR0913  as `find_problems`
    request: GenerateRequest,
    mode: Mode,
    *,
    stream: bool,
    today: date,
    official: bool = True,
    azure: bool = False,
    split: bool = False,
) -> list[Problem]:
    """The doubtful problems of a request, which the caller may warn of; none unless `mode` is "warn".

    "strict" raises `RequestInvalidError` for any problem, "warn" for certain ones, "off" for none; the message lists
    all problems and what would be accepted. Raises `ConfigurationError` for another mode. See `find_problems`.
    """
    if mode not in _MODES:
        msg = f"validate={str(mode)[:40]!r} is not known: it must be one of {', '.join(_MODES)}"
        raise ConfigurationError(msg)
    if mode == "off":
        return []
    problems = find_problems(request, stream=stream, today=today, official=official, azure=azure, split=split)
    return raise_if_invalid(problems, mode)


def raise_if_invalid(problems: list[Problem], mode: Mode) -> list[Problem]:
    """The problems, if all may be sent all the same. Raises `RequestInvalidError`."""
    if mode != "off" and any(problem.certain or mode == "strict" for problem in problems):
        raise RequestInvalidError(_report(problems))
    return problems


class RequestValidator:
    """Checks the requests of one client; those that differ in their prompt alone are judged once a day."""

    def __init__(
        self,
        mode: Mode,
        *,
        official: bool,
        wall: Callable[[], float],
        azure: bool = False,
        split: bool = False,
    ) -> None:
        """As in `check`; `wall` is the clock. Raises `ConfigurationError` for a mode that does not exist."""
        self._mode: Mode = mode
        self.split = split
        self.official = official
        self._azure = azure
        self._wall = wall
        self._told: set[str] = set()
        self._noticed: set[str] = set()
        self._good: set[tuple[object, ...]] = set()
        check(GenerateRequest("a"), mode, stream=False, today=utc_date(wall()))

    def __call__(self, request: GenerateRequest, *, stream: bool) -> list[str]:
        """What is doubtful and was not told before. Raises `RequestInvalidError` as `check` does."""
        if self._mode == "off":
            return []
        today = utc_date(self._wall())
        shape = _shape(request, stream)
        if shape is not None and (today, *shape) in self._good:
            return []
        problems = check(
            request,
            self._mode,
            stream=stream,
            today=today,
            official=self.official,
            azure=self._azure,
            split=self.split,
        )
        if shape is not None:
            if len(self._good) >= _MOST_SHAPES:  # those of other days, or too many to be worth it
                self._good.clear()
            self._good.add((today, *shape))
        return self._untold(problems)

    def ending(self, request: GenerateRequest) -> list[str]:
        """That the model of a request will soon be gone, where that was not told before."""
        if self._mode == "off" or not request.model or "model" in (request.extra_body or {}):
            return []
        model = find_model(request.model)[0]
        if model is None or model.name in self._noticed:
            return []
        if not model.ends_soon(utc_date(self._wall()), azure=self._azure):
            return []
        self._noticed.add(model.name)
        who, end = model.end(azure=self._azure)
        return [f"{who} ends {model.name} on {end}: use {' or '.join(REPLACEMENTS)} in its place"]

    def pictures(self, problems: list[Problem]) -> list[str]:
        """What of the problems of opened pictures is doubtful and was not told before. Raises as `check` does."""
        return [] if self._mode == "off" else self._untold(raise_if_invalid(problems, self._mode))

    def _untold(self, problems: list[Problem]) -> list[str]:
        new = sorted({str(problem) for problem in problems} - self._told)
        if len(self._told) >= _MOST_TOLD:  # what differs in a number each time
            self._told.clear()
        self._told.update(new)
        return new


def _shape(request: GenerateRequest, stream: bool) -> tuple[object, ...] | None:
    """All that rules look at, where the prompt is none of it: neither empty nor long for any model."""
    has_more = request.svg is not None or request.extra_body is not None
    if (
        has_more
        or request.path != GenerateRequest.path
        or not request.prompt.strip()
        or len(request.prompt) > _SHORT
    ):
        return None
    values = tuple(getattr(request, name) for name in _FIELDS)
    # Not isinstance: a truth value equals a number, and is of the wrong type.
    return (stream, *values) if all(type(value) in _PLAIN for value in values) else None


def _report(problems: list[Problem]) -> str:
    """Every problem, the certain ones first, and the way round them."""
    certain = [str(problem) for problem in problems if problem.certain]
    doubtful = [f"perhaps {problem}" for problem in problems if not problem.certain]
    listed = "; ".join([*certain, *doubtful])
    return f'the request was not sent: {listed}; validate="off" sends it as it is'
