"""Signatures and docstrings that show every keyword of a function whose keywords are a `TypedDict`.

Invariants: `inspect.signature` and `help()` show each keyword with its type and a line; type checkers read the function
as it is written, and calling it costs nothing more. Runs at import, in well under a millisecond.
Must not: evaluate annotations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from inspect import Parameter, Signature
from typing import Any, TypeVar

from openai_images.models.parameters import DESCRIPTIONS

_Function = TypeVar("_Function", bound=Callable[..., Any])

_DEFAULTS: Mapping[str, object] = {"as_json": False}
"""Defaults other than None of keywords in a `TypedDict`."""


def shows(
    keywords: Any = None, defaults: Mapping[str, object] | None = None
) -> Callable[[_Function], _Function]:
    """Make a decorator: the function shows these `keywords` in place of its `**` parameter, and documents all of them.

    Without `keywords` the `**` parameter, which only gives hints for unknown names, is left out. A keyword whose
    default is not among the `defaults` has None, which means that it is not set.
    """

    def decorate(function: _Function) -> _Function:
        written = inspect.signature(function)
        named = [each for each in written.parameters.values() if _is_public(each)]
        own = {each.name for each in named}
        hints: Mapping[str, Any] = {} if keywords is None else keywords.__annotations__
        more = [
            _keyword(name, getattr(hint, "__forward_arg__", hint), (defaults or _DEFAULTS).get(name))
            for name, hint in hints.items()
            if name not in own
        ]
        parameters = [*named, *more]
        described: Any = function
        described.__signature__ = Signature(parameters, return_annotation=written.return_annotation)
        if function.__doc__ is not None:  # there is none under -OO
            lines = [line for each in parameters for line in _described(each)]
            function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__), "", "Parameters:", *lines])
        return function

    return decorate


def _is_public(parameter: Parameter) -> bool:
    return parameter.kind is not Parameter.VAR_KEYWORD and not parameter.name.startswith("_")


@cache  # most keywords are those of several functions
def _keyword(name: str, annotation: str, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _described(parameter: Parameter) -> Iterator[str]:
    """Yield the line of a parameter; none for `self`, and for private ones."""
    text = DESCRIPTIONS.get(parameter.name)
    if text is not None:
        yield f"    {parameter.name} ({parameter.annotation}): {text}"
