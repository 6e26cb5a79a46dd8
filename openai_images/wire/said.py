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

from attrs import evolve, frozen

from openai_images.wire.jsontypes import is_list, is_object

__all__ = ["NO_MESSAGES", "Said", "read_body", "read_error"]

_NOTHING, _EMPTY = NO_MESSAGES = ("no reason was given", "nothing more was said")
_TEXTS = ("message", "msg", "error", "title", "detail", "reason")
# What a class leaves out, its own beginning, keeps a search through many beginnings linear.
_SAFETY_VIOLATIONS = re.compile(r"safety_violations=\[([^\[\]]*)\]")
_HTML_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
_STATUS = re.compile("[45][0-9][0-9]")
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
    for doc in (_decoded(text, 0), _behind(text)):
        if is_object(doc) or is_list(doc):
            return read_error(doc), doc
    if text.startswith("<"):
        title = _HTML_TITLE.search(text)
        words = " ".join(html.unescape(title[1]).split()) if title else ""
        return Said(f'an HTML page ("{words}")' if words else "an HTML page"), None
    return Said(text or _EMPTY), None


def read_error(doc: object) -> Said:
    """What a decoded error body or error event says."""
    if is_list(doc):
        doc = next(iter(doc), None)
    if isinstance(doc, str) and doc:
        return Said(doc)
    return _unwrapped(_read_object(_innermost(doc))) if is_object(doc) else Said(_NOTHING)


def _decoded(text: str, start: int) -> object:
    """The JSON object or list that begins there, None where there is none."""
    if text[start : start + 1] in ("{", "["):
        try:
            return json.JSONDecoder().raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            pass
    return None


def _behind(text: str) -> object:
    """The error of the server behind a relay, which puts words before its JSON."""
    found = _ENVELOPE.search(text)
    return _decoded(text, found.start()) if found else None


def _unwrapped(outer: Said) -> Said:
    """What the server behind a relay said, where the relay's message holds it as JSON."""
    doc = _behind(outer.message)
    if not is_object(doc):
        return outer
    inner = _read_object(_innermost(doc))
    return (
        inner
        if inner.message == _NOTHING
        else evolve(
            inner,
            code=inner.code or outer.code,
            type=inner.type or outer.type,
            codes=inner.codes + outer.codes,
        )
    )


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
        _parameter(error.get("param")),
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


def _parameter(value: object) -> str | None:
    """A parameter's name; one-api writes the status of the server behind it in its place."""
    name = _name(value)
    return None if name is None or _STATUS.fullmatch(name) else name


def _names(value: object) -> tuple[str, ...]:
    """The names of a list, or a single one."""
    items = value if is_list(value) else [value]
    return tuple(name for item in items if (name := _name(item)))


def _name(value: object) -> str | None:
    """A name, also where it came as a number; LiteLLM writes Python's None as a text."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value in ("", "None"):
        return None
    return str(value)
