"""Validators of attrs fields, and reprs that show names and sizes, not contents, which may contain a prompt.

Invariants: a `repr` never raises, not even for an incomplete object: error reporters show the local variables of a
constructor that failed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import NOTHING, Attribute, AttrsInstance, fields

from openai_images._util.json import is_mapping
from openai_images.errors import ConfigurationError

_Class = TypeVar("_Class")

_SHOWN_CHARACTERS = 40
"""Characters of a prompt's beginning that identify it in a repr."""
_SHOWN_NAMES = 5


def must_be(
    requirement: str, is_valid: Callable[[Any], bool], *, names_class: bool = True
) -> Callable[[Any, Attribute[Any], Any], None]:
    """Make a validator that raises `ConfigurationError`, "Class(field=value): must be …", for an invalid value."""

    def validate(instance: Any, attribute: Attribute[Any], value: Any) -> None:
        if not is_valid(value):
            text = f"{attribute.name}={value!r}"
            text = f"{type(instance).__name__}({text})" if names_class else text
            raise ConfigurationError(f"{text}: must be {requirement}")

    return validate


def is_number(value: object) -> bool:
    """Whether this is an int or a float, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: object) -> bool:
    """Whether this is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def keyword_hints(cls: type[_Class]) -> type[_Class]:
    """Class decorator for an attrs class: the TypeError for an unknown keyword names the most similar one."""
    original: Callable[..., None] = getattr(cls, "__init__")  # noqa: B009  type checkers refuse the access

    @wraps(original)
    def __init__(self: _Class, *args: Any, **keywords: Any) -> None:  # noqa: N807
        try:
            original(self, *args, **keywords)
        except TypeError:
            names = tuple(inspect.signature(original).parameters)[1:]
            unknown = [name for name in keywords if name not in names]
            if not unknown:
                raise
            # Imported late: valid keywords do not need it.
            from openai_images._util.keyword_hints import unknown_field  # noqa: PLC0415

            raise unknown_field(cls.__name__, unknown[0], names) from None

    setattr(cls, "__init__", __init__)  # noqa: B010  type checkers refuse the assignment
    return cls


class Hinted:
    """Base class: an attribute of the official package that the class does not have raises a hint."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers report unknown attributes themselves

        def __getattr__(self, name: str) -> object:
            from openai_images._util.keyword_hints import unknown_attribute  # noqa: PLC0415

            raise AttributeError(unknown_attribute(type(self).__name__, name), name=name, obj=self)


def safe_repr(cls: type[_Class]) -> type[_Class]:
    """Class decorator: makes `repr` work for an incomplete object, too."""
    original = cls.__repr__

    def __repr__(self: _Class) -> str:  # noqa: N807
        try:
            return original(self)
        except Exception:  # noqa: BLE001  any attribute may be missing
            return f"<{type(self).__name__}, not complete>"

    __repr__.__doc__ = original.__doc__
    setattr(cls, "__repr__", __repr__)  # noqa: B010  type checkers refuse the assignment
    return cls


def short_repr(cls: type[_Class]) -> type[_Class]:
    """Class decorator for an attrs class made with `repr=False`: its `repr` shows the fields that are set."""

    def __repr__(self: _Class) -> str:  # noqa: N807
        value: Any = self
        return repr_fields(value)

    __repr__.__qualname__ = f"{cls.__qualname__}.__repr__"
    setattr(cls, "__repr__", __repr__)  # noqa: B010  type checkers refuse the assignment
    return cls


def repr_fields(value: AttrsInstance, **texts: str) -> str:
    """Return `Class(name=value, …)` with the fields that are set; `texts` are shown in place of some values."""
    shown: list[str] = []
    for each, found in set_fields(value):
        if each.repr is not False:
            show = each.repr if callable(each.repr) else repr
            shown.append(f"{each.name}={texts.get(each.name) or show(found)}")
    return f"{type(value).__name__}({', '.join(shown)})"


def set_fields(value: AttrsInstance) -> Iterator[tuple[Attribute[Any], Any]]:
    """Yield the fields that differ from their default, without empty mappings and missing attributes."""
    for each in fields(type(value)):
        found, default = getattr(value, each.name, NOTHING), each.default
        if found is NOTHING or found is default or (is_mapping(found) and not found):
            continue
        if type(found) is not type(default) or found != default:
            yield each, found


def beginning(text: str) -> str:
    """Return the beginning of a text on one line, unprintable characters escaped."""
    shown = text[:_SHOWN_CHARACTERS]
    if len(shown) < len(text):
        shown = shown.rstrip() + "…"
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in shown)


def repr_length(text: object) -> str:
    """Return a text's length, for a repr."""
    return f"<{len(text):,} characters>" if isinstance(text, str) else f"<{type(text).__name__}>"


def repr_names(names: Sequence[str]) -> str:
    """Return the first names and the number of others."""
    if len(names) <= _SHOWN_NAMES:
        return repr(names)
    shown = ", ".join(map(repr, names[:_SHOWN_NAMES]))
    return f"<{shown} and {len(names) - _SHOWN_NAMES:,} more>"


def repr_keys(mapping: object) -> str:
    """Return a mapping's keys for a repr, shortened and in ASCII."""
    if mapping is not None and not is_mapping(mapping):
        return f"<{type(mapping).__name__}>"
    if not mapping:
        return "None" if mapping is None else "{}"
    listed = ", ".join(str(key)[:40].encode("ascii", "backslashreplace").decode() for key in mapping)
    return f"<{listed}>"
