"""The names that a row of a batch may have, how each value is read, and what is said of other names.

Invariants: pure; `COLUMNS` is the one table of parameters, and `parse_value` reads all of them; unknown names are
reported once for a file, with the keyword that says what they are.
Must not: repeat a value, which may be a prompt, or ignore a name that was not to be ignored.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args, get_origin, get_type_hints

from attrs import define, field, frozen

from openai_images._util.json import is_mapping
from openai_images.batch.source_images import IMAGE_NAMES, IMAGE_TYPE, parse_images
from openai_images.models.requests import GenerateParams

_NOT_IN_BATCHES: Final = {
    "stream": "a batch does not stream; leave it out",
    "partial_images": "a batch does not stream, so there are no partial images; leave it out",
}
_CUTOFF: Final = 0.7
"""How near a name must be to be meant: below it `title` would be `style`."""

_LIKELY_PROMPTS: Final = ("prompts", "text", "caption", "description", "subject", "title")
_LIKELY_KEYS: Final = ("id", "name", "uuid", "custom_id", "filename", "file_name", "slug", "sku")
_MAX_SHOWN_NAMES: Final = 10
_HEADING: Final = re.compile(r"[\w#.()-]{1,24}(?: [\w#.()-]{1,24})?")


class Problems(list[tuple[int, str]]):
    """A line number, and what is wrong there; line 0 stands for the defaults."""

    def add(self, line: int, text: str) -> None:
        """Report what is wrong on a line."""
        self.append((line, f"line {line}: {text}" if line else f"defaults: {text}"))


@frozen
class ColumnOptions:
    """Which names hold the prompt and the key, and whether unknown names and comments are skipped."""

    prompt: str = "prompt"
    key: str = "key"
    ignore_unknown: bool = False
    comments: bool = False

    def targets(self, name: str) -> tuple[str, ...]:
        """What a column is: "prompt", "key", both, or a parameter; nothing if it is unknown."""
        special = (("prompt", self.prompt), ("key", self.key))
        found = tuple(target for target, source in special if name == source)
        return found or ((name,) if name in COLUMNS else ())

    def is_comment(self, text: str) -> bool:
        """Whether a line or a row that begins so is a comment."""
        return self.comments and text.lstrip().startswith("#")


def _value_type(hint: Any) -> type:
    """What a value must be: int, dict (any mapping) or str."""
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
"""The parameters, and the type of their values; None for images to edit."""

KNOWN_NAMES: Final = frozenset({"prompt", "key", *COLUMNS})

_TYPE_NAMES: Final[Mapping[type | None, str]] = {
    int: "a whole number",
    dict: "a JSON object",
    str: "text",
    None: IMAGE_TYPE,
}


def parse_value(name: str, value: Any, *, from_text: bool) -> Any:
    """The value of a parameter as its type; in a CSV cell (`from_text`) all are text. Raises ValueError."""
    cls = COLUMNS[name]
    try:
        if cls is None:
            return parse_images(name, value, from_text=from_text)
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


def coerce_values(
    values: Mapping[str, Any], line: int, problems: Problems, *, from_text: bool
) -> dict[str, Any]:
    """The parameters that are set, each as its type; others are reported. `key` is left out."""
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
    """The known name that was probably meant."""
    matches = difflib.get_close_matches(name.strip().lower(), list(names), 1, _CUTOFF)
    return matches[0] if matches and matches[0] != name else None


def parameter_problem(name: str) -> str | None:
    """What is wrong with the name of a parameter, or None."""
    if name in COLUMNS:
        return None
    if name in _NOT_IN_BATCHES:
        return f"{name}: {_NOT_IN_BATCHES[name]}"
    near = near_name(name, COLUMNS)
    return f"unknown parameter {name[:40]!r}{f'; did you mean {near!r}?' if near else ''}"


@define
class UnknownNames:
    """Names of a file that are no parameters, each with its first line; `report` them when all rows are read."""

    options: ColumnOptions
    _lines: dict[str, list[int]] = field(factory=dict[str, list[int]], init=False)

    def add(self, name: str, line: int) -> None:
        """Note a name on a line."""
        self._lines.setdefault(name, [line, 0])[1] += 1

    def report(self, problems: Problems, *, has_key: bool, in_json: bool = False) -> None:
        """Report what is not ignored: a likely misspelling by itself, all others together."""
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
            advice = "; what the server knows goes into extra_body" if in_json else ""
            text = _foreign_names(foreign, "parameter" if in_json else "column", has_key=has_key)
            problems.add(self._lines[foreign[0]][0], text + advice)

    def misspelt(self) -> dict[str, str]:
        """The names that are ignored and look misspelt, with what was probably meant."""
        if not self.options.ignore_unknown:
            return {}
        near = {name: near_name(name, COLUMNS) for name in self._lines}
        return {name: other for name, other in near.items() if other is not None}


def _foreign_names(names: Sequence[str], noun: str, *, has_key: bool) -> str:
    """The one problem of all names that mean nothing here, with the keywords that say what to do."""
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
    """What to say of a header without the column of the prompts, and the column that probably has them.

    Without such a column the header may be a prompt itself, and is not shown.
    """
    is_header = len(names) > 1 and all(_HEADING.fullmatch(name) for name in names if name)
    others = [name for name in names if name and name.lower() not in (*COLUMNS, options.key)]
    if options.prompt != "prompt":
        near = near_name(options.prompt, names) if is_header else None
        hint = f"; did you mean {near!r}?" if near else _list_names(names) if is_header else ""
        return f"there is no column {options.prompt[:40]!r}{hint}", near
    problem = "it must name the columns, and one of them must be prompt"
    if not is_header or not others:
        return problem, None
    likely = near_name("prompt", others) or _likely(others, _LIKELY_PROMPTS)
    return f"{problem}: prompt_column={likely!r} takes the prompts from that one", likely


def missing_key_problem(names: Sequence[str], options: ColumnOptions) -> str:
    """What to say of a header without the column of the keys."""
    near = near_name(options.key, names)
    hint = f"; did you mean {near!r}?" if near else _list_names(names)
    return f"there is no column {options.key[:40]!r}{hint}"


def _list_names(names: Sequence[str]) -> str:
    return f"; there are {', '.join(repr(name[:40]) for name in names[:_MAX_SHOWN_NAMES] if name)}"


def _likely(names: Sequence[str], likely: Sequence[str]) -> str:
    return next((name for name in names if name.lower() in likely), names[0])[:40]
