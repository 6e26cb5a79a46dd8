"""Types, defaults and signatures as text, in the form that Sphinx reads.

Invariants: names have no modules, and nothing is evaluated.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final, get_origin

import attrs

from openai_images import PUBLISHED_PRICES

FOR_TESTS: Final = ("disk",)
"""Parameters of public names that are not for users."""

_MODULES: Final = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")
_FORWARD: Final = re.compile(r"ForwardRef\('(.*?)'.*?\)")
_UNPACKED: Final = re.compile(r"Unpack\[(.*?)\]")


def type_text(annotation: Any) -> str:
    """Return a type as text; "" if there is none."""
    if annotation is inspect.Parameter.empty or annotation is None:
        return "None" if annotation is None else ""
    is_class = inspect.isclass(annotation) and not get_origin(annotation)
    text = annotation.__name__ if is_class else str(annotation)
    text = _UNPACKED.sub(r"\1", _FORWARD.sub(r"\1", text))
    return _MODULES.sub("", text).replace("'", '"')


def default_text(default: Any) -> str:
    """Return a default value as a short expression; "" if there is none."""
    if default is inspect.Parameter.empty or default is attrs.NOTHING:
        return ""
    factory = getattr(default, "factory", None)
    if factory is not None:
        return "()" if factory in (tuple, list) else "{}" if "dict" in str(factory) else "..."
    if default is PUBLISHED_PRICES:
        return "PUBLISHED_PRICES"
    if attrs.has(default.__class__):
        return f"{default.__class__.__name__}()"
    return str(getattr(default, "__name__", "...")) if callable(default) else repr(default)


def signature_text(function: Any, *, is_class: bool = False) -> str:
    """Return a signature with types and defaults."""
    try:
        found = inspect.signature(function)
    except ValueError:  # a class whose constructor is written in C
        return "()"
    returns = "" if is_class else type_text(found.return_annotation)
    return f"({', '.join(_parameters(found))})" + (f" -> {returns}" if returns else "")


def _parameters(found: inspect.Signature) -> Iterator[str]:
    is_keyword = False
    for each in found.parameters.values():
        if each.name in {"self", "cls", *FOR_TESTS} or each.name.startswith("_"):
            continue
        if each.kind is each.KEYWORD_ONLY and not is_keyword:
            yield "*"
        is_keyword = is_keyword or each.kind in {each.KEYWORD_ONLY, each.VAR_POSITIONAL}
        stars = "**" if each.kind is each.VAR_KEYWORD else "*" if each.kind is each.VAR_POSITIONAL else ""
        default = default_text(each.default)
        yield f"{stars}{each.name}: {type_text(each.annotation) or 'Any'}" + (
            f" = {default}" if default else ""
        )
