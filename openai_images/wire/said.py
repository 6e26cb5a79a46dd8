"""What an error body says, in whatever shape a server says it.

Rules: pure; every shape seen in the wild is read (OpenAI, Azure, FastAPI, problem details, Cloudflare, relays, plain
text, HTML); whatever else comes, and however it is typed, there is a message, and nothing raises.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from openai_images.wire.jsontypes import is_list, is_object

__all__ = ["Said", "read_body", "read_error"]

_NOTHING = "no reason was given"
_TEXTS = ("message", "msg", "error", "title", "detail", "reason")
_SAFETY_VIOLATIONS = re.compile(r"safety_violations=\[([^\]]*)\]")
_HTML_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_ENVELOPE = re.compile(r'\{\s*"error"')


@frozen
class Said:
    """What an error object says; `codes` are all the codes and types it names, from the outside in."""

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    codes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    stage: str = "unknown"


def read_body(body: bytes) -> tuple[Said, object]:
    """What a whole error body says, and its decoded JSON (None where it is none)."""
    text = body.decode("utf-8-sig", "replace").strip()
    upstream = _ENVELOPE.search(text)  # relays put words before the JSON of the server behind them
    for start in (0, upstream.start()) if upstream else (0,):
        if text[start : start + 1] in ("{", "["):
            try:
                doc, _ = json.JSONDecoder().raw_decode(text, start)
            except (ValueError, RecursionError):
                continue
            return read_error(doc), doc
    if text.startswith("<"):
        title = _HTML_TITLE.search(text)
        words = " ".join(html.unescape(title[1]).split()) if title else ""
        return Said(f'an HTML page ("{words}")' if words else "an HTML page"), None
    return Said(text or "nothing more was said"), None


def read_error(doc: object) -> Said:
    """What a decoded error body or error event says."""
    if is_list(doc):
        doc = next(iter(doc), None)
    if isinstance(doc, str) and doc:
        return Said(doc)
    return _read_object(_innermost(doc)) if is_object(doc) else Said(_NOTHING)


def _innermost(doc: dict[str, Any]) -> dict[str, Any]:
    """The object that speaks: `error` or `detail`, one in the other, or the first of a list of `errors`."""
    for _ in range(3):
        inner = doc.get("error") or doc.get("detail")
        if not inner and is_list(listed := doc.get("errors")):
            inner = next(iter(listed), None)
        if not is_object(inner):
            break
        doc = inner
    return doc


def _read_object(error: dict[str, Any]) -> Said:
    message = next((text for key in _TEXTS if (text := _text(error.get(key)))), _NOTHING)
    details, inner = _object(error, "moderation_details"), _object(error, "inner_error", "innererror")
    results = _object(inner, "content_filter_result", "content_filter_results")
    listed = _SAFETY_VIOLATIONS.search(message)
    code, kind = _name(error.get("code")), _name(error.get("type"))
    kind = None if kind == "error" else kind  # an error event that is flat: this is the event's type
    return Said(
        message,
        code,
        kind,
        _name(error.get("param")),
        tuple(name for name in (code, _name(inner.get("code")), kind) if name),
        _names(details.get("categories"))
        or tuple(name.strip() for name in (listed[1].split(",") if listed else ()) if name.strip())
        or tuple(name for name, result in results.items() if is_object(result) and result.get("filtered")),
        _name(details.get("moderation_stage")) or "unknown",
    )


def _text(value: object) -> str | None:
    """A text, or the texts of a list; FastAPI's says where and what."""
    if is_list(value):
        return "; ".join(filter(None, map(_line, value))) or None
    return value if isinstance(value, str) else None


def _line(item: object) -> str | None:
    if not is_object(item):
        return item if isinstance(item, str) else None
    where, what = ".".join(_names(item.get("loc"))), _name(item.get("msg") or item.get("message"))
    return f"{where}: {what}" if where and what else what


def _object(holder: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The first of these fields that is an object; an empty one where none is."""
    for name in names:
        if is_object(value := holder.get(name)):
            return value
    return {}


def _names(value: object) -> tuple[str, ...]:
    """The names of a list, or a single one."""
    items = value if is_list(value) else [value]
    return tuple(name for item in items if (name := _name(item)))


def _name(value: object) -> str | None:
    """A name, also where it came as a number."""
    return (
        str(value) if value != "" and isinstance(value, str | int) and not isinstance(value, bool) else None
    )
