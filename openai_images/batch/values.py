"""Names and values of the endpoint's parameters, checked against what `GenerateParams` says of them.

Rules: pure; the kinds of values are read from the one place that lists them. No value is ever repeated in a complaint:
in a file whose columns slipped it may be a prompt. What a server would make of a value is the server's to say.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin, get_type_hints

from openai_images._util.json import is_mapping
from openai_images.models.requests import GenerateParams

__all__ = ["check_names", "check_values"]

_NOT_IN_BATCHES = {
    "stream": "a batch does not stream; leave it out",
    "partial_images": "a batch does not stream, so there are no partial images; leave it out",
}


def _kind(hint: Any) -> type:
    """What a value must be: int, dict (any mapping) or str."""
    kinds = {get_origin(part) or part for part in get_args(hint)}
    return int if int in kinds else dict if Mapping in kinds else str


_KINDS = {
    name: _kind(hint)
    for name, hint in get_type_hints(GenerateParams, localns={"Mapping": Mapping}).items()
    if name not in _NOT_IN_BATCHES
}
_NAMES = ("prompt", "key", *_KINDS)
_WANTED = {int: "a whole number", dict: "a JSON object", str: "text"}


def check_names(names: Iterable[str], line: int, problems: list[tuple[int, str]], hint: str = "") -> None:
    """Tell which names are no parameters of a batch; line 0 stands for the defaults."""
    where = f"line {line}" if line else "defaults"
    for name in names:
        if name in _NOT_IN_BATCHES:
            problems.append((line, f"{where}: {name}: {_NOT_IN_BATCHES[name]}"))
        elif name not in (_NAMES if line else _KINDS):
            close = difflib.get_close_matches(name, _NAMES, 1)
            meant = f"; did you mean {close[0]!r}?" if close and close[0] != name else hint
            problems.append((line, f"{where}: unknown parameter {name[:40]!r}{meant}"))


def check_values(
    values: Mapping[str, Any], line: int, problems: list[tuple[int, str]], *, from_text: bool
) -> dict[str, Any]:
    """The parameters that are set, each as what it must be; what cannot be that is told. `key` is left out."""
    where = f"line {line}" if line else "defaults"
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name == "prompt":
            found[name] = value
        if name not in _KINDS or value is None:
            continue
        kind = _KINDS[name]
        try:
            found[name] = _from_text(kind, value) if from_text else _checked(kind, value)
        except (TypeError, ValueError, RecursionError):
            problems.append((line, f"{where}: {name} must be {_WANTED[kind]}"))
    return found


def _from_text(kind: type, value: str) -> Any:
    """A cell as this kind. Raises ValueError and TypeError."""
    text = value.strip()
    if kind is int:
        return _checked(int, float(text) if "." in text else int(text))
    return _checked(dict, json.loads(text)) if kind is dict else text


def _checked(kind: type, value: Any) -> Any:
    """A value of this kind. Raises TypeError."""
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)  # spreadsheets write 2.0
    if kind is dict and is_mapping(value):
        return dict(value)
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError
    return value
