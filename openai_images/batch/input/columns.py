"""The columns of a batch's rows: their names, how values are parsed, and the problems of unknown names.

Invariants: pure; relative paths of images are relative to the input file; `COLUMNS` is the only table of parameters,
and `parse_value` parses all of them; unknown names are reported once for a file, with the keyword that handles them.
Must not: repeat a value, which may be a prompt; ignore an unknown name unless configured.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args, get_origin, get_type_hints

from attrs import define, evolve, field, frozen

from openai_images._util.json import is_list, is_mapping, is_object
from openai_images.models.requests import (
    EditRequest,
    GenerateParams,
    GenerateRequest,
    ImageReference,
    reference_of,
)

EDIT_NAMES = ("image", "mask", "markup", "input_fidelity")
"""The parameters that only edits have, as columns of an input file."""

IMAGE_NAMES = EDIT_NAMES[:3]
_NOT_IN_BATCHES: Final = {
    "stream": "a batch does not stream; leave it out",
    "partial_images": "a batch does not stream, so there are no partial images; leave it out",
}
_CUTOFF: Final = 0.7
"""How similar a name must be for a suggestion: with less, `title` would suggest `style`."""

_LIKELY_PROMPTS: Final = ("prompts", "text", "caption", "description", "subject", "title")
_LIKELY_KEYS: Final = ("id", "name", "uuid", "custom_id", "filename", "file_name", "slug", "sku")
_MAX_SHOWN_NAMES: Final = 10
_HEADING: Final = re.compile(r"[\w#.()-]{1,24}(?: [\w#.()-]{1,24})?")


class Problems(list[tuple[int, str]]):
    """Pairs of a line number and a problem; line 0 means the defaults."""

    def add(self, line: int, text: str) -> None:
        """Add a problem of a line."""
        self.append((line, f"line {line}: {text}" if line else f"defaults: {text}"))


@frozen
class ColumnOptions:
    """The names of the prompt and key columns, and whether unknown names and comments are skipped."""

    prompt: str = "prompt"
    key: str = "key"
    ignore_unknown: bool = False
    comments: bool = False

    def targets(self, name: str) -> tuple[str, ...]:
        """Return what a column sets: "prompt", "key", both, or a parameter; nothing if it is unknown."""
        special = (("prompt", self.prompt), ("key", self.key))
        found = tuple(target for target, source in special if name == source)
        return found or ((name,) if name in COLUMNS else ())

    def is_comment(self, text: str) -> bool:
        """Return whether a line or row that starts with `text` is a comment."""
        return self.comments and text.lstrip().startswith("#")


def _value_type(hint: Any) -> type:
    """Return the type of a value: int, dict (any mapping) or str."""
    types = {get_origin(part) or part for part in get_args(hint)}
    return int if int in types else dict if Mapping in types else str


COLUMNS: Final[Mapping[str, type | None]] = {
    **{
        name: _value_type(hint)
        for name, hint in get_type_hints(GenerateParams, localns={"Mapping": Mapping}).items()
        if name not in _NOT_IN_BATCHES
    },
    **dict.fromkeys(IMAGE_NAMES),
    "input_fidelity": str,
}
"""The parameters and the types of their values; None for input images."""

KNOWN_NAMES: Final = frozenset({"prompt", "key", *COLUMNS})

_TYPE_NAMES: Final[Mapping[type | None, str]] = {
    int: "a whole number",
    dict: "a JSON object",
    str: "text",
    None: "a path or a URL, for image also a list of them",
}


def parse_value(name: str, value: Any, *, from_text: bool) -> Any:
    """Convert a value to its parameter's type; CSV cells (`from_text`) are text. Raises ValueError."""
    cls = COLUMNS[name]
    try:
        if cls is None:
            return _parse_images(name, value, from_text=from_text)
        return _parse_text(cls, value) if from_text else _convert(cls, value)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"{name} must be {_TYPE_NAMES[cls]}") from None


def _parse_text(cls: type, value: str) -> Any:
    text = value.strip()
    if cls is int:
        return _convert(int, float(text) if "." in text else int(text))
    return _convert(dict, json.loads(text)) if cls is dict else text


def _convert(cls: type, value: Any) -> Any:
    if cls is int and isinstance(value, float) and value.is_integer():
        return int(value)  # spreadsheets write 2.0
    if cls is dict and is_mapping(value):
        return dict(value)
    if isinstance(value, bool) or not isinstance(value, cls):
        raise TypeError
    return value


def _parse_images(name: str, value: Any, *, from_text: bool) -> Any:
    """Return the images of a row. Raises TypeError and ValueError.

    Several images are separate lines or a JSON list in a cell (`from_text`), a list in JSON. One image is text, or an
    object with an `image_url` or a `file_id`.
    """
    if from_text:
        text = value.strip()
        value = json.loads(text) if text[:1] == "[" and text[-1:] == "]" else text.splitlines()
        value = value[0] if is_list(value) and len(value) == 1 else value
    if not is_list(value):
        return _parse_image(value)
    if name != "image" or not value:
        raise ValueError(name)
    return [_parse_image(each) for each in value]


def _parse_image(value: Any) -> str | ImageReference:
    if is_object(value) and len(value) == 1 and value.keys() <= {"image_url", "file_id"}:
        ((name, text),) = value.items()
        return ImageReference(**{name: _parse_image_text(text)})
    return _parse_image_text(value)


def _parse_image_text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise TypeError
    return value.strip()


def with_folder(request: GenerateRequest, folder: str) -> GenerateRequest:
    """Return the request with relative image paths joined to `folder`."""
    if not isinstance(request, EditRequest) or not folder:
        return request

    def placed(image: Any) -> Any:
        if is_list(image):
            return [placed(each) for each in image]
        is_path = isinstance(image, str) and reference_of(image) is None
        return os.path.join(folder, image) if is_path else image  # noqa: PTH118  as the user would write it

    return evolve(request, **{name: placed(getattr(request, name)) for name in IMAGE_NAMES})


def coerce_values(
    values: Mapping[str, Any], line: int, problems: Problems, *, from_text: bool
) -> dict[str, Any]:
    """Return the parameters that are set, converted, without `key`; report invalid ones."""
    coerced: dict[str, Any] = {}
    for name, value in values.items():
        if name == "prompt":
            coerced[name] = value
        elif name in COLUMNS and value is not None:
            try:
                coerced[name] = parse_value(name, value, from_text=from_text)
            except ValueError as error:
                problems.add(line, str(error))
    return coerced


def near_name(name: str, names: Iterable[str]) -> str | None:
    """Return the known name that was probably meant."""
    matches = difflib.get_close_matches(name.strip().lower(), list(names), 1, _CUTOFF)
    return matches[0] if matches and matches[0] != name else None


def parameter_problem(name: str) -> str | None:
    """Return the problem of a parameter's name, or None."""
    if name in COLUMNS:
        return None
    if name in _NOT_IN_BATCHES:
        return f"{name}: {_NOT_IN_BATCHES[name]}"
    near = near_name(name, COLUMNS)
    return f"unknown parameter {name[:40]!r}{f'; did you mean {near!r}?' if near else ''}"


@define
class UnknownNames:
    """The unknown names of a file, each with its first line; `report` them when all rows are read."""

    options: ColumnOptions
    _lines: dict[str, list[int]] = field(factory=dict[str, list[int]], init=False)

    def add(self, name: str, line: int) -> None:
        """Add a name of a line."""
        self._lines.setdefault(name, [line, 0])[1] += 1

    def report(self, problems: Problems, *, has_key: bool, in_json: bool = False) -> None:
        """Report the names that are not ignored: likely misspellings one by one, all others together."""
        foreign: list[str] = []
        for name, (line, count) in self._lines.items():
            near = near_name(name, ("prompt", "key", *COLUMNS))
            more = f" (and on {count - 1:,} more lines)" if count > 1 else ""
            if name in _NOT_IN_BATCHES:
                problems.add(line, f"{name}: {_NOT_IN_BATCHES[name]}{more}")
            elif self.options.ignore_unknown:
                continue
            elif near is None:
                foreign.append(name)
            else:
                problems.add(line, f"unknown parameter {name[:40]!r}; did you mean {near!r}?{more}")
        if foreign:
            advice = "; other parameters of the server go into extra_body" if in_json else ""
            text = _foreign_names(foreign, "parameter" if in_json else "column", has_key=has_key)
            problems.add(self._lines[foreign[0]][0], text + advice)

    def misspelt(self) -> dict[str, str]:
        """Return ignored names that are probably misspelt, with the names that were probably meant."""
        if not self.options.ignore_unknown:
            return {}
        near = {name: near_name(name, COLUMNS) for name in self._lines}
        return {name: other for name, other in near.items() if other is not None}


def _foreign_names(names: Sequence[str], noun: str, *, has_key: bool) -> str:
    """Return one problem for all unknown names, with the keywords that handle them."""
    one = len(names) == 1
    shown = ", ".join(repr(name[:40]) for name in names[:_MAX_SHOWN_NAMES])
    more = f" and {len(names) - _MAX_SHOWN_NAMES:,} more" if len(names) > _MAX_SHOWN_NAMES else ""
    subject = f"{noun} {shown} is unknown" if one else f"{noun}s {shown}{more} are unknown"
    if has_key:
        return f"{subject}: ignore_unknown=True ignores {'it' if one else 'them'}"
    key = _likely(names, _LIKELY_KEYS)
    use, others = ("it", "it") if one else ("one", "the others")
    return f"{subject}: key_column={key!r} uses {use} as the key, ignore_unknown=True ignores {others}"


def missing_prompt_problem(names: Sequence[str], options: ColumnOptions) -> tuple[str, str | None]:
    """Return the problem of a header without a prompt column, and the column that probably has the prompts.

    If there is none, the header may be a prompt itself, and is not shown.
    """
    is_header = len(names) > 1 and all(_HEADING.fullmatch(name) for name in names if name)
    others = [name for name in names if name and name.lower() not in (*COLUMNS, options.key)]
    if options.prompt != "prompt":
        near = near_name(options.prompt, names) if is_header else None
        hint = f"; did you mean {near!r}?" if near else _list_names(names) if is_header else ""
        return f"there is no column {options.prompt[:40]!r}{hint}", near
    problem = "the header has no column prompt"
    if not is_header or not others:
        return f"{problem}; the first line names the columns", None
    likely = near_name("prompt", others) or _likely(others, _LIKELY_PROMPTS)
    return f"{problem}: prompt_column={likely!r} uses that column", likely


def missing_key_problem(names: Sequence[str], options: ColumnOptions) -> str:
    """Return the problem of a header without the key column."""
    near = near_name(options.key, names)
    hint = f"; did you mean {near!r}?" if near else _list_names(names)
    return f"there is no column {options.key[:40]!r}{hint}"


def _list_names(names: Sequence[str]) -> str:
    return f"; there are {', '.join(repr(name[:40]) for name in names[:_MAX_SHOWN_NAMES] if name)}"


def _likely(names: Sequence[str], likely: Sequence[str]) -> str:
    return next((name for name in names if name.lower() in likely), names[0])[:40]
