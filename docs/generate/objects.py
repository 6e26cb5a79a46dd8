"""The reference of one public name as Markdown for Sphinx: signature, docstring, parameters, attributes, methods."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, get_origin, is_typeddict

import attrs

from docs.generate import docstrings
from docs.generate.annotations import signature_text, type_text
from docs.generate.members import MADE_BY_THE_PACKAGE, Member, attributes, has_fields, methods, parameters
from docs.generate.public import PublicName, public_names
from openai_images.models.parameters import DESCRIPTIONS
from openai_images.models.requests import EditParams

_RAISES: Final = re.compile(r"(?<=[.;]) (?=Raises )|^(?=Raises )", re.MULTILINE)
ENDPOINT_PARAMETERS: Final = frozenset({"prompt", *EditParams.__annotations__})
"""Keywords with a section of their own on the page of the parameters."""

_CODE: Final = re.compile(r"`([A-Za-z_.]+)`")


def describe(public: PublicName, examples: Mapping[str, str]) -> str:
    """Return the Markdown of a name; `examples` has the Markdown of the example of a name and of its methods."""
    value = public.value
    example = examples.get(public.name, "")
    if is_typeddict(value):
        return _directive(
            6, f"py:class {public.name}", [], [_prose(public.doc), "", *_keys(value), "", example]
        )
    if get_origin(value):
        shown = f"```python\n{public.name} = {type_text(str(value))}\n```"
        return _directive(6, f"py:data {public.name}", [], [_prose(public.doc), "", shown, "", example])
    if inspect.isclass(value):
        return _class(public, examples)
    if callable(value):
        return _function(6, f"py:function {public.name}", value, [], example)
    return _directive(6, f"py:data {public.name}", [], [_prose(public.doc), "", example])


def _directive(colons: int, head: str, options: Iterable[str], body: Iterable[str]) -> str:
    """Return a directive of MyST; one with more colons can hold those with fewer."""
    name, _, argument = head.partition(" ")
    fence = ":" * colons
    return "\n".join([f"{fence}{{{name}}} {argument}", *options, "", *body, "", fence, ""])


def _keys(typed_dict: Any) -> Iterator[str]:
    for name, hint in typed_dict.__annotations__.items():
        text = type_text(getattr(hint, "__forward_arg__", hint))
        yield f"- `{name}`: `{text}`: {_link(DESCRIPTIONS.get(name, ''))}"


def _class(public: PublicName, examples: Mapping[str, str]) -> str:
    cls, doc = public.value, docstrings.parse(public.doc)
    is_error = issubclass(cls, BaseException)
    is_hidden = is_error or has_fields(cls) or public.name in MADE_BY_THE_PACKAGE
    constructor = docstrings.parse(inspect.getdoc(cls.__init__) or "").parameters
    body: list[str] = [
        *_bases(cls),
        _prose(doc.prose, cls),
        "",
        *([] if is_hidden or not constructor else _parameter_list(parameters(cls.__init__), constructor)),
        *_how_to_build(cls),
        examples.get(public.name, ""),
        "",
        *(_attribute(member) for member in attributes(cls)),
        *(_method(name, each, cls, examples.get(f"{public.name}.{name}", "")) for name, each in methods(cls)),
    ]
    kind = "exception" if is_error else "class"
    return _directive(
        6, f"py:{kind} {public.name}{'' if is_hidden else signature_text(cls, is_class=True)}", [], body
    )


def _bases(cls: Any) -> list[str]:
    shown = [f"{{py:class}}`{base.__name__}`" for base in cls.__bases__ if base.__name__ in _all_names()]
    return [f"Based on {', '.join(shown)}.", ""] if shown else []


def _how_to_build(cls: Any) -> list[str]:
    """Return which fields of an attrs class may be positional in its constructor."""
    if not attrs.has(cls):
        return []
    positional = [field.alias for field in attrs.fields(cls) if field.init and not field.kw_only]
    if not positional:
        return ["*Its fields are the keywords of its constructor.*", ""]
    shown = ", ".join(f"`{name}`" for name in positional[:4]) + (", …" if len(positional) > 4 else "")
    return [f"*Its fields are the parameters of its constructor; {shown} may be positional.*", ""]


def _attribute(member: Member) -> str:
    options = {"type": member.type, "value": member.default}
    lines = [f":{name}: {json.dumps(text, ensure_ascii=False)}" for name, text in options.items() if text]
    return _directive(5, f"py:attribute {member.name}", lines, [_link(_sentence(member.text))])


def _sentence(text: str) -> str:
    """Return a text with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""


def _method(name: str, method: Any, cls: Any, example: str) -> str:
    if isinstance(method, property):
        returned = type_text(inspect.signature(method.fget).return_annotation) if method.fget else ""
        text = _prose(inspect.getdoc(method) or "", cls)
        return _directive(5, f"py:property {name}", [f":type: {returned}"] if returned else [], [text])
    options = [":classmethod:"] if inspect.ismethod(method) else []
    return _function(5, f"py:method {name}", method, options, example, cls)


def _function(  # noqa: PLR0913, PLR0917  the parts of a directive
    colons: int, head: str, function: Any, options: list[str], example: str, cls: Any = None
) -> str:
    doc = docstrings.parse(inspect.getdoc(function) or "")
    is_async = inspect.iscoroutinefunction(inspect.unwrap(getattr(function, "__func__", function)))
    body = [_prose(doc.prose, cls), "", *_parameter_list(parameters(function), doc.parameters), example]
    return _directive(
        colons, f"{head}{signature_text(function)}", [*options, *([":async:"] if is_async else [])], body
    )


def _parameter_list(found: Iterable[Member], described: Mapping[str, str]) -> Iterator[str]:
    """Yield the parameters as a field list; one that only the prose describes is not repeated."""
    for each in found:
        if each.name in described:
            more = f" ([more](parameters.md#{each.name}))" if each.name in ENDPOINT_PARAMETERS else ""
            yield f":param {each.name}: {_link(each.text)}{more}"
            yield f":type {each.name}: {each.type}"
    yield ""


def _prose(text: str, cls: Any = None) -> str:
    """Return a docstring's prose with links, and what it says of errors as a paragraph of its own."""
    return _link(_RAISES.sub("\n\n", text), cls)


def _link(text: str, cls: Any = None) -> str:
    """Turn public names in backticks, and those of methods of `cls`, into links to the reference."""

    def link(match: re.Match[str]) -> str:
        name = match[1]
        first, _, rest = name.partition(".")
        if first in _all_names() and (not rest or rest.isidentifier()):
            return f"{{py:obj}}`{name}`"
        if cls is not None and cls.__name__ in _all_names() and hasattr(cls, name) and not attrs.has(cls):
            return f"{{py:obj}}`{name} <{cls.__name__}.{name}>`"
        return match[0]

    return _CODE.sub(link, text)


@cache
def _all_names() -> frozenset[str]:
    return frozenset(public.name for _, public in public_names())
