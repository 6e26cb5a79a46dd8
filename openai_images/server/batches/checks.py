"""Checks for both files and batches: the time after which a file expires, and the pages of a list."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar, cast

from openai_images.server.error_replies import (
    Reply,
    RequestRejectedError,
    bad_request,
    check_names_and_types,
    check_range,
    choice,
    compact_json,
    error_reply,
    missing_parameter,
    wrong_type,
)

MIN_SECONDS: Final = 3600
MAX_SECONDS: Final = 2_592_000
"""Seconds for which a file may be kept: 30 days, also the default for the files of batches."""


class Listed(Protocol):
    """An item of a list."""

    @property
    def id(self) -> str:
        """Its id, which a cursor refers to."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return its object in the API's form."""
        ...


T = TypeVar("T", bound=Listed)


def check_expiry(name: str, value: object) -> int:
    """Return the seconds in `{"anchor": "created_at", "seconds": ...}`, or the 400."""
    if not isinstance(value, dict):
        wrong_type(name, "an object", value)
    fields = {f"{name}.{key}": field for key, field in cast("dict[str, Any]", value).items()}
    anchor, seconds = f"{name}.anchor", f"{name}.seconds"
    present = check_names_and_types(fields, {anchor: ("a string", str), seconds: ("an integer", int)})
    for field in (anchor, seconds):
        if field not in present:
            raise missing_parameter(field)
    choice(present, anchor, ("created_at",), "")
    check_range(seconds, present[seconds], MIN_SECONDS, MAX_SECONDS)
    return int(present[seconds])


def page(items: Sequence[T], query: Mapping[str, str], *, limit: int, most: int) -> Reply:
    """Return the page that `after`, `limit` and `order` of `query` select; the newest items are last in `items`."""
    text = query.get("limit", str(limit))
    if not text.isascii() or not text.isdigit():
        raise bad_request(
            "Invalid type for 'limit': expected an integer.", code="invalid_type", param="limit"
        )
    size = int(text[:10])
    check_range("limit", size, 1, most)
    ordered = list(items) if query.get("order", "desc") == "asc" else list(reversed(items))
    if (after := query.get("after")) is not None:
        ids = [item.id for item in ordered]
        if after not in ids:
            raise bad_request(
                f"Invalid 'after': no object with id '{after[:200]}'.", code=None, param="after"
            )
        ordered = ordered[ids.index(after) + 1 :]
    shown = ordered[:size]
    body = {
        "object": "list",
        "data": [item.as_dict() for item in shown],
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": len(ordered) > size,
    }
    return Reply(200, compact_json(body))


def no_file(file_id: str, *, status: int = 404, param: str = "id") -> RequestRejectedError:
    """Return the error for a file that does not exist."""
    return RequestRejectedError(error_reply(status, f"No such File object: {file_id[:200]}", param=param))
