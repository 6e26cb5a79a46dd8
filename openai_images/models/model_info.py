"""`ModelInfo`: a model as a server lists it.

Invariants: a field that is missing is None; a field of an unexpected type is None, and unchanged in `extra`.
Must not: know the package's own table of models (`catalog/models.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from attrs import field, frozen

from openai_images._util.attrs import repr_keys
from openai_images._util.json import is_list, is_object


@frozen
class ModelInfo:
    """A model that the server offers to this key.

    `created` is a Unix time in seconds; `shutdown_date` is the first day on which the model is not available, or None.
    `extra` has the server's other fields.
    """

    id: str
    """The model's name, as in `model=`."""
    created: int | None = None
    owned_by: str | None = None
    """The owner that the server names."""
    shutdown_date: date | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)


def read_models(document: object) -> tuple[ModelInfo, ...] | None:
    """Return the models of a decoded list (`data`, `models`, or a bare array); None if there is no list."""
    if is_object(document):
        document = document.get("data", document.get("models"))
    return tuple(_models(document)) if is_list(document) else None


def _models(items: list[Any]) -> Iterator[ModelInfo]:
    for item in items:
        fields: dict[str, Any] = dict(item) if is_object(item) else {"id": item}
        names = [name for key in ("id", "name") if isinstance(name := fields.get(key), str) and name]
        if not names:
            continue
        known: dict[str, Any] = {
            "created": value if type(value := fields.get("created")) is int else None,
            "owned_by": value if isinstance(value := fields.get("owned_by"), str) else None,
            "shutdown_date": _date(fields.get("shutdown_date")),
        }
        read = {"id", "object", *(name for name, value in known.items() if value is not None)}
        extra = {name: value for name, value in fields.items() if name not in read and value is not None}
        yield ModelInfo(names[0], **known, extra=extra)


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
