"""The product of a batch's items with lists of values: parameters, and variables in prompts.

Invariants: pure and lazy: items are made on access. The key of a variant is its item's key and the slugs of its values,
in alphabetical order of their names, variables first and the model last, so a value that is added later changes no
other key. An item that sets a parameter itself, or whose prompt does not contain a variable, is not multiplied by that
list.
Must not: replace anything in a prompt without variables, or in the text of a variable's value.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple, cast, overload

from attrs import evolve

from openai_images.batch.input.columns import IMAGE_NAMES, near_name, parameter_problem, parse_value
from openai_images.batch.items.models import BatchItem
from openai_images.batch.items.resolved_item import checked_items, input_error
from openai_images.models.requests import GenerateRequest

_NOTHING: Final[Mapping[str, Iterable[Any]]] = {}
_NAME: Final = re.compile(r"[^\W\d][\w-]*")
_FIELD: Final = re.compile(r"\{\{|\}\}|\{([^\W\d][\w-]*)\}|[{}]")
_NO_SLUG: Final = re.compile(r"[^\w.+-]+")
_MAX_SLUG, _MAX_KEY = 48, 200


class _Value(NamedTuple):
    value: Any
    slug: str


class _Axis(NamedTuple):
    """A list of values of a parameter, or of a variable in prompts."""

    name: str
    values: tuple[_Value, ...]
    is_variable: bool


def expand_matrix(
    items: Iterable[BatchItem],
    matrix: Mapping[str, Iterable[Any]] = _NOTHING,
    variables: Mapping[str, Iterable[str]] = _NOTHING,
) -> Sequence[BatchItem]:
    """Return the items with every combination of these values, made on access.

    `items` are usually those of `read_batch_items`. `matrix` has values of parameters, such as {"quality": ["low",
    "high"]}, for items that do not set them; text is parsed as in a CSV cell. `variables` have texts for `{name}` in
    prompts, in which `{{` and `}}` are then braces. The new key is the item's key and the values, such as
    `fox-low-gpt-image-2`. Raises `BatchInputError` with all problems: unknown names, missing or equal values, an unused
    name, a `{name}` without values.
    """
    items = tuple(checked_items(items))
    problems: list[str] = []
    axes = [_parse_axis(name, values, problems, is_variable=True) for name, values in variables.items()]
    axes += [_parse_axis(name, values, problems, is_variable=False) for name, values in matrix.items()]
    axes.sort(key=lambda axis: (not axis.is_variable, axis.name == "model", axis.name))
    if not problems:
        variants = _Variants(items, axes, problems)
        if not problems:
            return variants
    raise input_error("the matrix", problems)


def _parse_axis(name: str, values: Iterable[Any], problems: list[str], *, is_variable: bool) -> _Axis:
    """Parse the values of a parameter or a variable; add problems to `problems`."""
    where = f"variable {name[:40]!r}" if is_variable else f"matrix {name[:40]!r}"
    problem = None if is_variable else parameter_problem(name)
    if problem is None and not is_variable and name in IMAGE_NAMES:
        problem = f"{name} cannot vary; set it in a column"
    if is_variable and not _NAME.fullmatch(name):
        problem = f"{where}: a name has letters, digits, - and _, and starts with a letter"
    if isinstance(cast("Any", values), str):
        problem = problem or f"{where}: its values must be a list, not text"
    if problem is not None:
        problems.append(problem)
        return _Axis(name, (), is_variable)
    parsed: list[_Value] = []
    before = len(problems)
    for value in values:
        try:
            parsed.append(_parse_value(name, value, is_variable=is_variable))
        except (TypeError, ValueError) as error:
            problems.append(f"{where}: {error}")
    if not parsed and len(problems) == before:
        problems.append(f"{where} has no values")
    counts = Counter(value.slug for value in parsed)
    problems += [
        f"{where}: two of its values have the key {slug!r}" for slug in sorted(counts) if counts[slug] > 1
    ]
    return _Axis(name, tuple(parsed), is_variable)


def _parse_value(name: str, value: Any, *, is_variable: bool) -> _Value:
    """Return a value and its part of the key. Raises ValueError."""
    text = value.strip() if isinstance(value, str) else None
    if text == "" or (is_variable and text is None):
        raise ValueError("a value is empty" if text == "" else "a value must be text")
    if is_variable:
        return _Value(text, _slug(str(text)))
    parsed = parse_value(name, value if text is None else text, from_text=text is not None)
    # A number alone would be unclear in a key.
    return _Value(parsed, _slug(parsed) if isinstance(parsed, str) else f"{name}{_slug(str(parsed))}")


def _slug(text: str) -> str:
    """Return the text as a part of a file name; if more than spaces change, eight digits of its hash are added."""
    plain = unicodedata.normalize("NFC", text)
    slug = _NO_SLUG.sub("-", plain).strip("-.")
    if slug and len(slug) <= _MAX_SLUG and slug == plain.replace(" ", "-"):
        return slug
    return f"{slug[:_MAX_SLUG]}-{_digest(plain)}".lstrip("-")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


class _Variants(Sequence[BatchItem]):
    """The product; items are made on access."""

    def __init__(self, items: tuple[BatchItem, ...], axes: Sequence[_Axis], problems: list[str]) -> None:
        self._items = items
        self._names = {axis.name for axis in axes if axis.is_variable}
        used: set[_Axis] = set()
        shared: dict[tuple[_Axis, ...], tuple[_Axis, ...]] = {}  # most items have the same axes
        self._axes: list[tuple[_Axis, ...]] = []
        for item in items:
            where = f"{item.key[:40]!r}" if item.line is None else f"line {item.line}"
            fields = self._fields(item.request.prompt, where, problems)
            found = tuple(axis for axis in axes if _varies(axis, item.request, fields))
            used.update(found)
            self._axes.append(shared.setdefault(found, found))
        problems += [_unused(axis) for axis in axes if axis not in used]
        counts = (math.prod(len(axis.values) for axis in found) for found in self._axes)
        self._ends = list(accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> BatchItem: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BatchItem]: ...
    def __getitem__(self, index: int | slice) -> BatchItem | Sequence[BatchItem]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        position = bisect_right(self._ends, number)
        return self._variant(position, number - (self._ends[position - 1] if position else 0))

    def _variant(self, position: int, number: int) -> BatchItem:
        """Return a variant of an item; its last list varies fastest."""
        item, chosen = self._items[position], list[tuple[_Axis, _Value]]()
        for axis in reversed(self._axes[position]):
            number, index = divmod(number, len(axis.values))
            chosen.insert(0, (axis, axis.values[index]))
        params = {axis.name: value.value for axis, value in chosen if not axis.is_variable}
        if self._names:
            texts = {axis.name: value.value for axis, value in chosen if axis.is_variable}
            params["prompt"] = _render(item.request.prompt, texts)
        key = _key(item.key, [value.slug for _, value in chosen])
        return BatchItem(key, evolve(item.request, **params), item.line)

    def _fields(self, prompt: str, where: str, problems: list[str]) -> set[str]:
        """Return the variables in a prompt."""
        if not self._names:
            return set()
        matches = list(_FIELD.finditer(prompt))
        fields = {match[1] for match in matches if match[1] is not None}
        problems += [f"{where}: {self._no_values(name)}" for name in sorted(fields - self._names)]
        if any(match[0] in ("{", "}") for match in matches):
            problems.append(f"{where}: a brace is not part of a {{name}}; write {{{{ and }}}} for braces")
        return fields

    def _no_values(self, name: str) -> str:
        near = near_name(name, self._names)
        hint = f"did you mean {{{near}}}?" if near else "write {{ and }} for braces"
        return f"{{{name[:40]}}} has no values; {hint}"


def _varies(axis: _Axis, request: GenerateRequest, fields: set[str]) -> bool:
    """Return whether a request uses this list."""
    if axis.is_variable:
        return axis.name in fields
    return getattr(request, axis.name, "") is None and axis.name not in (request.extra_body or {})


def _unused(axis: _Axis) -> str:
    if axis.is_variable:
        return f"variable {axis.name!r}: no prompt has {{{axis.name}}}"
    return f"matrix {axis.name!r}: all items set this parameter themselves, or cannot have it"


def _render(prompt: str, texts: Mapping[str, str]) -> str:
    return _FIELD.sub(lambda match: match[0][0] if match[1] is None else texts[match[1]], prompt)


def _key(key: str, slugs: Sequence[str]) -> str:
    whole = "-".join([key, *slugs])
    if not slugs or len(whole) <= _MAX_KEY:
        return whole
    return f"{whole[: _MAX_KEY - 9]}-{_digest(whole)}"
