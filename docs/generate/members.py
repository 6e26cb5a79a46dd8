"""What has to be documented of a public name: its parameters, its attributes, its methods and their parameters.

Invariants: all text is taken from the code; one without any has an empty text, which `undocumented` reports.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, Final, NamedTuple, get_origin, is_typeddict

import attrs

from docs.generate import docstrings
from docs.generate.annotations import FOR_TESTS, default_text, type_text
from docs.generate.public import PublicName, attribute_docs, parse_module, public_names
from openai_images.models.parameters import DESCRIPTIONS

MADE_BY_THE_PACKAGE: Final = ("ImageStream", "Outcomes", "Relay")
"""Classes with a constructor that is not for users."""

_INHERITED: Final = {*object.__dict__, *BaseException.__dict__, *OSError.__dict__}


class Member(NamedTuple):
    """A part of a name that has a documentation of its own: a parameter, an attribute."""

    name: str
    type: str = ""
    default: str = ""
    text: str = ""


def members(public: PublicName) -> Iterator[tuple[str, list[Member]]]:
    """Yield what has to be documented: (qualified name, its parameters or attributes)."""
    value = public.value
    if is_typeddict(value) or get_origin(value):
        return
    if inspect.isclass(value):
        yield public.name, [*attributes(value), *_constructor(public)]
        for name, method in methods(value):
            yield f"{public.name}.{name}", [] if isinstance(method, property) else [*parameters(method)]
    elif callable(value):
        yield public.name, [*parameters(value)]


def undocumented() -> list[str]:
    """Return each public name, parameter and attribute without a documentation."""
    return sorted({problem for _, public in public_names() for problem in _problems(public)})


def _problems(public: PublicName) -> Iterator[str]:
    if not public.doc:
        yield f"{public.module}.{public.name} has no docstring"
    for name, found in members(public):
        _, _, method = name.partition(".")
        if method and not inspect.getdoc(inspect.getattr_static(public.value, method)):
            yield f"{public.module}.{name} has no docstring"
        yield from (f"{public.module}.{name}: {each.name}" for each in found if not each.text)


def has_fields(cls: Any) -> bool:
    """Return whether a class is made of fields: an attrs class, or a named tuple."""
    return bool(attrs.has(cls)) or hasattr(cls, "_fields")


def parameters(function: Callable[..., Any]) -> Iterator[Member]:
    """Yield the parameters of a function."""
    doc = docstrings.parse(inspect.getdoc(function) or "")
    for name, each in inspect.signature(function).parameters.items():
        if name in {"self", "cls", *FOR_TESTS} or name.startswith("_"):
            continue
        text = doc.parameters.get(name) or docstrings.clause(doc.prose, name)
        if each.kind in {each.VAR_KEYWORD, each.VAR_POSITIONAL}:
            text = text or type_text(each.annotation)
        yield Member(name, type_text(each.annotation), default_text(each.default), text)


def _constructor(public: PublicName) -> Iterator[Member]:
    """Yield the parameters of a constructor that is written out and for users."""
    cls = public.value
    is_error = issubclass(cls, BaseException)
    if has_fields(cls) or is_error or public.name in MADE_BY_THE_PACKAGE or "__init__" not in vars(cls):
        return
    prose = docstrings.parse(public.doc).prose
    for each in parameters(cls.__init__):
        yield each._replace(text=each.text or docstrings.clause(prose, each.name))


def attributes(cls: Any) -> Iterator[Member]:
    """Yield the fields of a class, or what an exception adds to those of its bases."""
    if attrs.has(cls):
        yield from _fields(cls)
        yield from _cached_properties(cls)
    elif has_fields(cls):
        for name, hint in cls.__annotations__.items():
            default = cls._field_defaults.get(name, attrs.NOTHING)
            yield Member(name, type_text(hint), default_text(default), _text(cls, name))
    elif issubclass(cls, BaseException):
        bases = [base for base in _own_bases(cls) if base is not cls]
        inherited = _INHERITED.union(*(_names_of(base) for base in bases))
        for name in sorted(_names_of(cls) - inherited):
            if not name.startswith("_"):
                yield Member(name, text=_text(cls, name))


def _names_of(error: Any) -> set[str]:
    """Return the attributes of an exception of this class, and those of the class itself; methods are elsewhere."""
    values: dict[str, object] = {**vars(error), **vars(error(""))}
    return {name for name, value in values.items() if not isinstance(value, FunctionType | property)}


def _fields(cls: Any) -> Iterator[Member]:
    inherited = {field.name for base in public_bases(cls) if attrs.has(base) for field in attrs.fields(base)}
    for field in attrs.fields(cls):
        name = field.alias if field.init else field.name
        if field.name in inherited:
            continue
        if name.startswith("_") or (field.name.startswith("_") and hasattr(cls, name)):
            continue
        is_request = cls.__module__ == "openai_images.models.requests"
        text = (is_request and DESCRIPTIONS.get(name)) or _text(cls, name)
        yield Member(name, type_text(field.type), default_text(field.default), text)


def public_bases(cls: Any) -> list[Any]:
    """Return the bases of a class that have a documentation of their own."""
    names = {public.value for _, public in public_names() if inspect.isclass(public.value)}
    return (
        [base for base in _own_bases(cls) if base is not cls and base in names]
        if inspect.isclass(cls)
        else []
    )


def _text(cls: Any, name: str) -> str:
    """Return the string under a field, or what the docstring of its class says of it."""
    below = {
        name: text for base in reversed(_own_bases(cls)) for name, text in attribute_docs(_body(base)).items()
    }
    return below.get(name) or docstrings.clause(
        "\n\n".join(inspect.getdoc(base) or "" for base in _own_bases(cls)), name
    )


def _cached_properties(cls: Any) -> Iterator[Member]:
    """Yield the cached properties, of which attrs leaves only a slot in the class."""
    for node in _body(cls):
        marks = (
            [ast.unparse(each) for each in node.decorator_list] if isinstance(node, ast.FunctionDef) else []
        )
        if isinstance(node, ast.FunctionDef) and "cached_property" in marks:
            returns = ast.unparse(node.returns) if node.returns else ""
            yield Member(node.name, returns, text=ast.get_docstring(node) or "")


def _own_bases(cls: Any) -> list[Any]:
    """Return a class and its bases that are this package's."""
    return [base for base in cls.__mro__ if base.__module__.startswith("openai_images")]


def _body(cls: Any) -> list[ast.stmt]:
    """Return the syntax tree of what is in a class."""
    nodes = parse_module(cls.__module__).body
    return [
        part
        for node in nodes
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
        for part in node.body
    ]


def methods(cls: Any) -> Iterator[tuple[str, Any]]:
    """Yield public methods and properties, in the order of the source, those of bases last."""
    seen: set[str] = {*getattr(cls, "_fields", ())}
    for base in _own_bases(cls):
        for name, value in base.__dict__.items():
            is_method = isinstance(value, FunctionType | property | classmethod | staticmethod)
            if is_method and not name.startswith("_") and name not in seen:
                seen.add(name)
                yield name, value if isinstance(value, FunctionType | property) else getattr(cls, name)
