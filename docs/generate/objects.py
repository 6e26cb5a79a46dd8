"""The reference of one public name as Markdown for Sphinx: signature, docstring, parameters, attributes, methods.

Invariants: all text is taken from the code; a parameter or an attribute without any is an empty text, which
`undocumented` reports.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, Final, NamedTuple, get_origin, is_typeddict

import attrs

from docs.generate import docstrings
from docs.generate.public import PublicName, attribute_docs, parse_module, public_names
from openai_images.models.parameters import DESCRIPTIONS

MADE_BY_THE_PACKAGE: Final = ("ImageStream", "Outcomes", "Relay")
"""Classes with a constructor that is not for users."""

_FOR_TESTS: Final = ("disk",)
"""Parameters that are not for users."""

_BASES: Final = (*object.__dict__, *BaseException.__dict__, *OSError.__dict__)
_RAISES: Final = re.compile(r"(?<=[.;]) (?=Raises )|^(?=Raises )", re.MULTILINE)
_MODULES: Final = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")


class Member(NamedTuple):
    """A part of a name that has a documentation of its own: a parameter, an attribute."""

    name: str
    type: str = ""
    default: str = ""
    text: str = ""


def describe(public: PublicName, extra: Mapping[str, str]) -> str:
    """Return the Markdown of a name; `extra` has what is added below a name, such as its example."""
    value = public.value
    if is_typeddict(value):
        body = _typed_dict(public)
    elif inspect.isclass(value) and not get_origin(value):
        body = _class(public, extra)
    elif callable(value) and not get_origin(value):
        body = _function("py:function", public.name, value, extra.get(public.name, ""), 4)
    else:
        body = _value(public)
    added = "" if inspect.isroutine(value) else extra.get(public.name, "")
    return body.replace(_HERE, added)


_HERE: Final = "<!-- the example -->"


def members(public: PublicName) -> Iterator[tuple[str, list[Member]]]:
    """Yield what has to be documented: (qualified name, its parameters or attributes)."""
    value = public.value
    if is_typeddict(value) or get_origin(value):
        return
    if inspect.isclass(value):
        yield public.name, [*_attributes(public), *_constructor(value, public)]
        for name, method in _methods(value):
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
        owner = public.value
        for part in name.split(".")[1:]:
            owner = inspect.getattr_static(owner, part)
            if not inspect.getdoc(owner):
                yield f"{public.module}.{name} has no docstring"
        yield from (f"{public.module}.{name}: {each.name}" for each in found if not each.text)


def parameters(function: Callable[..., Any]) -> Iterator[Member]:
    """Yield the parameters of a function or of a class's constructor."""
    doc = docstrings.parse(inspect.getdoc(function) or "")
    for name, each in inspect.signature(function).parameters.items():
        if name in {"self", "cls"} or name.startswith("_"):
            continue
        text = doc.parameters.get(name) or docstrings.clause(doc.prose, name)
        if not text and each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL):
            text = _type(each.annotation)
        yield Member(name, _type(each.annotation), _default(each.default), text)


def _class(public: PublicName, extra: Mapping[str, str]) -> str:
    cls = public.value
    is_error = issubclass(cls, BaseException)
    has_fields = attrs.has(cls) or hasattr(cls, "_fields")
    is_hidden = is_error or has_fields or public.name in MADE_BY_THE_PACKAGE
    shown = "" if is_hidden else _signature(cls, is_class=True)
    bases = [base.__name__ for base in cls.__bases__ if base.__module__.startswith("openai_images")]
    bases = [f"{{py:class}}`{base}`" for base in bases if not base.startswith("_") and base in _names()]
    doc = docstrings.parse(public.doc)
    lines = [f"::::::{{py:{'exception' if is_error else 'class'}}} {public.name}{shown}", ""]
    lines += [f"Based on {', '.join(bases)}.", ""] if bases else []
    lines += [_prose(doc.prose, cls), ""]
    if shown:
        constructor = docstrings.parse(inspect.getdoc(cls.__init__) or "").parameters
        lines += _parameter_list([*parameters(cls.__init__ if constructor else cls)], constructor)
    lines += [*_how_to_build(cls), _HERE, ""]
    for member in _attributes(public):
        lines += _attribute(member)
    for name, method in _methods(cls):
        lines.append(_method(name, method, cls, extra.get(f"{public.name}.{name}", "")))
    return "\n".join([*lines, "::::::", ""])


def _how_to_build(cls: type) -> list[str]:
    """Return which fields of an attrs class are keywords of its constructor."""
    if not attrs.has(cls):
        return []
    positional = [field.alias for field in attrs.fields(cls) if field.init and not field.kw_only]
    if not positional:
        return ["*Its fields are the keywords of its constructor.*", ""]
    shown = ", ".join(f"`{name}`" for name in positional[:4]) + (", …" if len(positional) > 4 else "")
    return [f"*Its fields are the parameters of its constructor; {shown} may be positional.*", ""]


def _constructor(cls: type, public: PublicName) -> list[Member]:
    """Return the parameters of a constructor that is written out and for users."""
    if (
        attrs.has(cls)
        or hasattr(cls, "_fields")
        or issubclass(cls, BaseException)
        or public.name in MADE_BY_THE_PACKAGE
    ):
        return []
    if "__init__" not in vars(cls):
        return []
    prose = docstrings.parse(public.doc).prose
    found = (each for each in parameters(cls.__init__) if each.name not in _FOR_TESTS)
    return [each._replace(text=each.text or docstrings.clause(prose, each.name)) for each in found]


def _attributes(public: PublicName) -> Iterator[Member]:
    """Yield the fields of an attrs class, or what an exception has besides those of its bases."""
    cls = public.value
    below = _docs_below(cls)
    prose = "\n\n".join(
        inspect.getdoc(each) or "" for each in cls.__mro__ if each.__module__.startswith("openai")
    )
    if attrs.has(cls):
        for field in attrs.fields(cls):
            name = field.alias if field.init else field.name
            if name.startswith("_") or field.name.startswith("_") and hasattr(cls, name):
                continue
            text = below.get(field.name) or _request_text(cls, name) or docstrings.clause(prose, name)
            yield Member(name, _type(field.type), _default(field.default), text)
        yield from _cached_properties(cls)
    elif hasattr(cls, "_fields"):
        for name, hint in cls.__annotations__.items():
            default = _default(cls._field_defaults.get(name, attrs.NOTHING))
            yield Member(name, _type(hint), default, below.get(name) or docstrings.clause(prose, name))
    elif issubclass(cls, BaseException):
        bases = [base for base in cls.__mro__[1:] if base.__module__.startswith("openai_images")]
        inherited = {name for base in bases for name in (*vars(base("")), *vars(base))}
        for name in sorted({*vars(cls("")), *vars(cls)} - inherited):
            if not name.startswith("_") and name not in _BASES:
                yield Member(
                    name, "", "", below.get(name) or docstrings.clause(inspect.getdoc(cls) or "", name)
                )


def _cached_properties(cls: type) -> Iterator[Member]:
    """Yield the cached properties, of which attrs leaves only a slot in the class."""
    for node in _class_body(cls):
        if isinstance(node, ast.FunctionDef) and any(
            ast.unparse(each) == "cached_property" for each in node.decorator_list
        ):
            yield Member(
                node.name,
                ast.unparse(node.returns) if node.returns else "",
                "",
                ast.get_docstring(node) or "",
            )


def _class_body(cls: type) -> list[ast.stmt]:
    """Return the syntax tree of what is in a class."""
    nodes = parse_module(cls.__module__).body
    return [
        part
        for node in nodes
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
        for part in node.body
    ]


def _request_text(cls: type, name: str) -> str:
    return DESCRIPTIONS.get(name, "") if cls.__module__ == "openai_images.models.requests" else ""


def _docs_below(cls: type) -> dict[str, str]:
    """Return the strings under the fields of a class and of its bases."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if each.__module__.startswith("openai_images"):
            found |= attribute_docs(_class_body(each))
    return found


def _methods(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield public methods and properties, in the order of the source, those of bases last."""
    seen: set[str] = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("openai_images"):
            continue
        for name, value in vars(base).items():
            kinds = (property, classmethod, staticmethod)
            if hasattr(cls, "_fields") and name in cls._fields:
                continue
            if (
                name.startswith("_")
                or name in seen
                or not (inspect.isfunction(value) or isinstance(value, kinds))
            ):
                continue
            seen.add(name)
            yield name, value if isinstance(value, (FunctionType, property)) else getattr(cls, name)


def _method(name: str, method: Any, cls: type, example: str) -> str:
    if isinstance(method, property):
        function: Any = method.fget
        returned = _type(inspect.signature(function).return_annotation)
        head = [f":::::{{py:property}} {name}", *([f":type: {returned}"] if returned else []), ""]
        return "\n".join([*head, _prose(inspect.getdoc(function) or "", cls), "", ":::::", ""])
    options = [":classmethod:"] if inspect.ismethod(method) else []
    return _function("py:method", name, method, example, 5, options=options, cls=cls)


def _function(
    directive: str,
    name: str,
    function: Any,
    example: str,
    colons: int,
    options: list[str] | None = None,
    cls: type | None = None,
) -> str:
    fence = ":" * colons
    is_async = inspect.iscoroutinefunction(inspect.unwrap(getattr(function, "__func__", function)))
    doc = docstrings.parse(inspect.getdoc(function) or "")
    head = [
        f"{fence}{{{directive}}} {name}{_signature(function)}",
        *(options or []),
        *([":async:"] if is_async else []),
        "",
    ]
    body = [
        _prose(doc.prose, cls),
        "",
        *_parameter_list([*parameters(function)], doc.parameters),
        example,
        "",
    ]
    return "\n".join([*head, *body, fence, ""])


def _parameter_list(found: list[Member], described: Mapping[str, str]) -> list[str]:
    """Return the parameters as a field list; one that only the prose describes is not repeated."""
    lines = []
    for each in found:
        if each.name in described:
            lines += [f":param {each.name}: {_link(each.text)}", f":type {each.name}: {each.type}"]
    return [*lines, ""] if lines else []


def _attribute(member: Member) -> list[str]:
    type_ = [f":type: {member.type}"] if member.type else []
    value = [f":value: {member.default}"] if member.default else []
    return [f":::::{{py:attribute}} {member.name}", *type_, *value, "", _link(member.text), "", ":::::", ""]


def _typed_dict(public: PublicName) -> str:
    keys = [
        f"- `{name}`: `{_type(getattr(hint, '__forward_arg__', hint))}`: {_link(DESCRIPTIONS.get(name, ''))}"
        for name, hint in public.value.__annotations__.items()
    ]
    return "\n".join(
        [
            f"::::::{{py:class}} {public.name}",
            "",
            _prose(public.doc, None),
            "",
            *keys,
            "",
            _HERE,
            "::::::",
            "",
        ]
    )


def _value(public: PublicName) -> str:
    type_ = [] if get_origin(public.value) else [f":type: {type(public.value).__name__}"]
    shown = _type(str(public.value)) if get_origin(public.value) else ""
    value = ["", f"```python\n{public.name} = {shown}\n```"] if shown else []
    return "\n".join(
        [
            f"::::::{{py:data}} {public.name}",
            *type_,
            "",
            _prose(public.doc, None),
            *value,
            "",
            _HERE,
            "::::::",
            "",
        ]
    )


def _signature(function: Any, *, is_class: bool = False) -> str:
    """Return the signature as Sphinx reads it."""
    try:
        found = inspect.signature(function)
    except ValueError:
        return "()"
    shown = [
        each.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty)
        for each in found.parameters.values()
        if each.name not in {"self", "cls", *_FOR_TESTS} and not each.name.startswith("_")
    ]
    parts, is_keyword = [], False
    for each in shown:
        if each.kind is each.KEYWORD_ONLY and not is_keyword:
            is_keyword = True
            parts.append("*")
        original = found.parameters[each.name]
        default = _default(original.default)
        parts.append(f"{each}: {_type(original.annotation) or 'Any'}" + (f" = {default}" if default else ""))
    if any(each.kind is each.VAR_POSITIONAL for each in shown):
        parts.remove("*") if "*" in parts else None
    returns = "" if is_class else _type(found.return_annotation)
    return f"({', '.join(parts)})" + (f" -> {returns}" if returns else "")


def _type(annotation: Any) -> str:
    """Return a type as text, without the modules of its names."""
    if annotation in (inspect.Parameter.empty, None):
        return "None" if annotation is None else ""
    text = (
        annotation.__name__ if inspect.isclass(annotation) and not get_origin(annotation) else str(annotation)
    )
    text = re.sub(r"ForwardRef\('(.*?)'.*?\)", r"\1", text)
    text = re.sub(r"Unpack\[(.*?)\]", r"\1", text)
    return _MODULES.sub("", re.sub(r"\btyping\.", "", text)).replace("'", '"')


def _default(default: Any) -> str:
    """Return a default value as a short expression; "" if there is none."""
    if default is inspect.Parameter.empty or default is attrs.NOTHING:
        return ""
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return "()" if default.factory in (tuple, list) else "{}" if "dict" in str(default.factory) else "..."
    name = next((each for each, value in _constants().items() if value is default), None)
    if name is not None:
        return name
    if attrs.has(type(default)):
        return f"{type(default).__name__}()"
    return getattr(default, "__name__", None) if callable(default) else repr(default)  # type: ignore[return-value]


def _constants() -> dict[str, Any]:
    import openai_images

    return {"PUBLISHED_PRICES": openai_images.PUBLISHED_PRICES}


def _names() -> set[str]:
    return {public.name for _, public in public_names()}


_ALL_NAMES: set[str] = set()


def _prose(text: str, cls: type | None) -> str:
    """Return a docstring's prose with links, and what it says of errors as a paragraph of its own."""
    return _link(_RAISES.sub("\n\n", text), cls)


def _link(text: str, cls: type | None = None) -> str:
    """Turn names in backticks into links to the reference."""
    if not _ALL_NAMES:
        _ALL_NAMES.update(_names())

    def role(match: re.Match[str]) -> str:
        name = match[1]
        first, _, rest = name.partition(".")
        if first in _ALL_NAMES and (not rest or rest.isidentifier()):
            return f"{{py:obj}}`{name}`"
        if cls is not None and cls.__name__ in _ALL_NAMES and hasattr(cls, name) and not attrs.has(cls):
            return f"{{py:obj}}`{name} <{cls.__name__}.{name}>`"
        return match[0]

    return re.sub(r"`([A-Za-z_.]+)`", role, text)
