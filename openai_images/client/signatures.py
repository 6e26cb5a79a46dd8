"""Signatures and docstrings that list every keyword of a function whose keywords are a `TypedDict`.

Invariants: `inspect.signature` and `help()` show each keyword with its type and description; type checkers read the
function as written; calling it costs nothing more. Runs at import, in less than a millisecond.
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
    """Return a decorator that shows and documents these `keywords` in place of the function's `**` parameter.

    Without `keywords`, the `**` parameter, which only serves hints for unknown names, is left out. The default of a
    keyword that is not in `defaults` is None (not set).
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
        if function.__doc__ is not None:  # it is None under -OO
            lines = [line for each in parameters for line in _described(each)]
            function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__), "", "Parameters:", *lines])
        return function

    return decorate


def _is_public(parameter: Parameter) -> bool:
    return parameter.kind is not Parameter.VAR_KEYWORD and not parameter.name.startswith("_")


@cache  # most keywords belong to several functions
def _keyword(name: str, annotation: str, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _described(parameter: Parameter) -> Iterator[str]:
    """Yield the line of a parameter, if it has a description."""
    text = DESCRIPTIONS.get(parameter.name)
    if text is not None:
        yield f"    {parameter.name} ({parameter.annotation}): {text}"
