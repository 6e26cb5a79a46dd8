"""The images of an answer as a plain reader finds them: the whole body, `json.loads`, base64 by the standard library.

Rules: none of the decoder's own code, so that a mistake of its cannot hide itself. Only what is beyond doubt counts:
base64 without any liberty, events with plain line ends and a blank line behind them.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any, TypeGuard


def pictures_of_json(body: bytes) -> list[bytes]:
    """Those in the `data` of one JSON document."""
    doc = _document(body) if body.startswith(b"{") else None
    items = doc.get("data") if _is_object(doc) else None
    return [picture for item in items if (picture := _picture(item))] if _is_list(items) else []


def pictures_of_events(body: bytes) -> list[bytes]:
    """Those of the `*.completed` events of a stream."""
    if b"\r" in body or not body.startswith((b"data:", b"event:", b":", b"id:", b"retry:")):
        return []
    found = (_picture(doc) for kind, doc in _events(body) if kind.endswith(".completed"))
    return [picture for picture in found if picture]


def _events(body: bytes) -> Iterator[tuple[str, Any]]:
    for event in body.split(b"\n\n")[:-1]:
        lines = [line.partition(b":") for line in event.split(b"\n")]
        names = [value.decode("utf-8", "replace").strip() for field, _, value in lines if field == b"event"]
        doc = _document(b"\n".join(value for field, _, value in lines if field == b"data"))
        if _is_object(doc):
            kind = doc.get("type")
            yield kind if isinstance(kind, str) and kind else "".join(names[-1:]), doc


def _document(text: bytes) -> Any:
    try:
        return json.loads(text.decode())
    except (ValueError, RecursionError):
        return None


def _picture(item: Any) -> bytes:
    text = item.get("b64_json") if _is_object(item) else None
    if not isinstance(text, str) or len(text) % 4:  # Python 3.11 takes padding where none is due
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
