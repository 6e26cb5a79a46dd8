"""How values show themselves in a `repr`: names and sizes, never contents, which may echo a prompt.

Invariants: a `repr` never raises. Error reporters show the locals of a traceback, and what a constructor refuses is
among them, half-built, with the value that it refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard, TypeVar

__all__ = ["characters", "names", "safe_repr"]

_Class = TypeVar("_Class")


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


def characters(text: object) -> str:
    """How long a text is."""
    return f"<{len(text):,} characters>" if isinstance(text, str) else f"<{type(text).__name__}>"


def names(mapping: object) -> str:
    """The keys of a mapping, as far as they can be printed and are short."""
    if mapping is not None and not is_mapping(mapping):
        return f"<{type(mapping).__name__}>"
    if not mapping:
        return "None" if mapping is None else "{}"
    listed = ", ".join(str(key)[:40].encode("ascii", "backslashreplace").decode() for key in mapping)
    return f"<{listed}>"


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether it has keys; type checkers follow."""
    return isinstance(value, Mapping)
