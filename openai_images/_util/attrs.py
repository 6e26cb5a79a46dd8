"""Validators of attrs fields, and reprs that show names and sizes, never contents, which may echo a prompt.

Invariants: a `repr` never raises. Error reporters show the locals of a traceback, and what a constructor refuses is
among them, half-built, with the value that it refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import Attribute

from openai_images._util.json import is_mapping
from openai_images.errors import ConfigurationError

_Class = TypeVar("_Class")


def must_be(
    wanted: str, is_valid: Callable[[Any], bool], *, names_class: bool = True
) -> Callable[[Any, Attribute[Any], Any], None]:
    """A validator: `Class(field=value): must be ...` as a `ConfigurationError` where the value is not valid."""

    def validate(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if not is_valid(value):
            shown = f"{attribute.name}={value!r}"
            shown = f"{type(instance).__name__}({shown})" if names_class else shown
            raise ConfigurationError(f"{shown}: must be {wanted}")

    return validate


def is_number(value: object) -> bool:
    """Whether this is an int or a float; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: object) -> bool:
    """Whether this is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def safe_repr(cls: type[_Class]) -> type[_Class]:
    """A class decorator: the same `repr`, and one that says so where the object is not complete."""
    show = cls.__repr__

    def __repr__(self: _Class) -> str:  # noqa: N807
        try:
            return show(self)
        except Exception:  # noqa: BLE001  whatever is missing
            return f"<{type(self).__name__}, not complete>"

    __repr__.__doc__ = show.__doc__
    setattr(cls, "__repr__", __repr__)  # noqa: B010  type checkers refuse the assignment
    return cls


def repr_length(text: object) -> str:
    """How long a text is."""
    return f"<{len(text):,} characters>" if isinstance(text, str) else f"<{type(text).__name__}>"


def repr_keys(mapping: object) -> str:
    """The keys of a mapping, as far as they can be printed and are short."""
    if mapping is not None and not is_mapping(mapping):
        return f"<{type(mapping).__name__}>"
    if not mapping:
        return "None" if mapping is None else "{}"
    listed = ", ".join(str(key)[:40].encode("ascii", "backslashreplace").decode() for key in mapping)
    return f"<{listed}>"
