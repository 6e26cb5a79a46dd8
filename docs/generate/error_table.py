"""The table of errors: when each comes, whether it may have been billed, what to do.

Invariants: taken from the docstrings of `errors.py`, which end in "To do: …", and from the classes themselves: whether
one is, or has a subclass that is, an `OutcomeUnknownError`.
"""

from __future__ import annotations

import inspect
import re
from typing import Final, NamedTuple

import openai_images
from docs.generate.text import one_line, table
from openai_images import ImagesError, OutcomeUnknownError

_TO_DO: Final = re.compile(r"\bTo do: (.*?)(?=\n\n|\Z)", re.DOTALL)
_BILLED: Final = re.compile(r"\bBilled: (.*?)(?=\s+To do:|\n\n|\Z)", re.DOTALL)


class ErrorFacts(NamedTuple):
    """What is known of an exception."""

    name: str
    when: str
    billed: str
    action: str


def error_facts() -> list[ErrorFacts]:
    """Return the facts of every public exception, bases before what derives from them."""
    classes = [getattr(openai_images, name) for name in openai_images.__all__]
    errors = [cls for cls in classes if inspect.isclass(cls) and issubclass(cls, ImagesError)]
    return [
        _facts(cls) for cls in sorted(errors, key=lambda cls: [each.__name__ for each in cls.__mro__[-4::-1]])
    ]


def _facts(cls: type[ImagesError]) -> ErrorFacts:
    doc = inspect.getdoc(cls) or ""
    action, billed = _TO_DO.search(doc), _BILLED.search(doc)
    when = _TO_DO.sub("", _BILLED.sub("", doc)).partition("\n\n")[0]
    return ErrorFacts(
        cls.__name__,
        one_line(when),
        one_line(billed[1]) if billed else _billed(cls),
        one_line(action[1]) if action else "",
    )


def _billed(cls: type[ImagesError]) -> str:
    if issubclass(cls, OutcomeUnknownError):
        return "perhaps"
    if cls.maybe_billed:
        return "yes"
    if any(issubclass(each, OutcomeUnknownError) for each in cls.__subclasses__()):
        return "no \\*"
    return "no"


def page() -> str:
    """Return the table."""
    rows = [
        (
            f"{{py:obj}}`{each.name} <openai_images.{each.name}>`",
            each.when,
            each.billed,
            _sentence(each.action),
        )
        for each in error_facts()
    ]
    note = (
        "\\* Perhaps, if the error is an {py:obj}`OutcomeUnknownError <openai_images.OutcomeUnknownError>` too: the "
        "request was sent, and it is unknown whether it was executed. `error.maybe_billed` says it for each error."
    )
    return f"{table(('Error', 'When', 'Billed?', 'What to do'), rows)}\n\n{note}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
