"""Reads error bodies of any shape and nesting into `ErrorDetails`.

Invariants: pure; any input gives a message, and nothing raises. The message is that of the innermost object that has a
useful one: gateways wrap the upstream server's error as an object, in a list, or as JSON in a text.
Must not: look at more objects, levels, items or characters than the limits below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from itertools import islice
from typing import Any, NamedTuple

from openai_images._util.json import decoded, is_list, is_object

_NOTHING, _EMPTY = NO_MESSAGES = ("no reason was given", "nothing more was said")

_MOST_OBJECTS, _DEEPEST, _MOST_FIELDS, _MOST_ITEMS = 200, 12, 100, 20
_MOST_FIELDS_IN_ALL = 1000  # a level that exceeds it is read, and the levels below are not
_LONGEST_WORDS, _LONGEST_JSON = 4 * 1024, 256 * 1024
_LONGEST_AROUND, _MOST_STARTS = 32 * 1024, 5  # of JSON among other words
_LONGEST_KEY = 200  # characters of a key that are searched

# Names of fields in lower case without `_` and `-`, in order of preference.
_MESSAGES = ("message", "msg", "errormessage", "errormsg", "errordescription", "errmsg", "statusmsg", "faultstring",
             "error", "err", "raw")  # fmt: skip
_OTHER_MESSAGES = ("title", "detail", "details", "reason", "description", "errors")
_CODES, _TYPES = ("code", "errorcode", "errcode", "errorkey"), ("type", "errortype")
_LISTS = ("error", "errors", "detail", "details", "message")
# Patterns are compiled at their first use.
_SLUG = r"[A-Za-z0-9]{1,40}(?:[_.:-][A-Za-z0-9]{1,40}){1,9}"
_ERROR = "err|fault|fail|cause|upstream|exception|raw|problem|detail"
# Fields that are not about the failure, or that echo the request.
_NOT_READ = frozenset({
    *("input", "prompt", "ctx", "request", "headers", "param", "params", "help", "links", "usage", "moderationdetails",
      "contentfilterresult", "contentfilterresults", "promptfilterresults"),
})  # fmt: skip

# Fields with a wait: seconds, a text with a unit, or a point in time; milliseconds if the name ends in "ms" or similar.
_WAITS = ("retryafter", "retryafterseconds", "retrydelay", "retryin", "resetsinseconds", "resetinseconds", "resetsat",
          "resetat", "retryafterms", "retryaftermilliseconds", "retrydelayms", "xratelimitreset")  # fmt: skip

# The character classes exclude the pattern's own first character, so that a search stays linear.
_SAFETY_VIOLATIONS = r"safety_violations=\[([^\[\]]*)\]"
_HTML_TITLE = r"(?i)<title[^<>]*>([^<]*)"
_STATUS = "[45][0-9][0-9]"
_EVENT = r"(?s)error|image_[a-z]{1,20}\..*"
_ENVELOPE = frozenset({"error", "errors", "code", "errorcode", "detail"})
_JSON = r'\{\s*"'

# Messages that say no more than the status, or only that an upstream server failed.
_USELESS = frozenset({
    *(status.phrase.casefold() for status in HTTPStatus),
    *("error", "errors", "unknown", "unknown error", "an error occurred", "internal error"),
    *("provider returned error", "upstream", "upstream error", "upstream_error", "upstream request failed"),
    *("request failed", "failed", "failure", "bad response status code", "openai_error", "none", "null", "exception"),
})  # fmt: skip


class ErrorDetails(NamedTuple):
    """The facts of an error body.

    `code`, `type` and `param` are those of the object with the message, or else of the next one outside of
    it; `codes` are all codes and types, the innermost first; `words` are all messages; `wait` is a wait in
    the format of a `retry-after` header.
    """

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    codes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    stage: str = "unknown"
    words: str = ""
    wait: str = ""
    is_page: bool = False


class _ErrorObject(NamedTuple):
    """One object of a body, or the messages of a list in it (`lines`).

    `is_error`: named as an error, or inside one; `is_mute`: it only describes another object.
    """

    fields: Mapping[str, Any]
    depth: int
    is_error: bool
    is_mute: bool = False
    lines: str = ""

    @property
    def message(self) -> str:
        """Its own message: the first text that says more than the status, or else the first."""
        names = _MESSAGES + (_OTHER_MESSAGES if self.is_error else ())
        texts = [text for name in names if isinstance(text := self.fields.get(name), str) and text]
        return self.lines or next(filter(_is_useful, texts), texts[0] if texts else "")

    @property
    def code(self) -> str | None:
        """Its code, or a field that servers use as one."""
        codes = [_as_name(self.fields.get(name)) for name in _CODES]
        codes += [
            _unless_status(self.fields.get("statuscode")),
            _slug(self.fields, "error"),
            _slug(self.fields, "name"),
        ]
        return next(filter(None, codes), None)

    @property
    def type(self) -> str | None:
        """Its type, unless it is the type of an event."""
        types = (_as_name(self.fields.get(name)) for name in _TYPES)
        return next((name for name in types if name and not re.fullmatch(_EVENT, name)), None)


def read_body(body: bytes) -> tuple[ErrorDetails, object]:
    """Return the details of a complete error body, and its decoded JSON (None if it has none)."""
    text = body.decode("utf-8-sig", "replace").strip()
    doc = _embedded_error(text)
    if doc is not None:
        return read_error(doc), doc
    if text.startswith("<"):
        title = re.search(_HTML_TITLE, text)
        # Imported when it is needed: its table of 2,231 names takes longer than all other modules of errors.
        from html import unescape  # noqa: PLC0415

        words = " ".join(unescape(title[1]).split()) if title else ""
        message = f'an HTML page ("{words}")' if words else "an HTML page"
        return ErrorDetails(message, words=words[:_LONGEST_WORDS], is_page=True), None
    return ErrorDetails(text or _EMPTY, words=text[:_LONGEST_WORDS]), None


def read_error(doc: object) -> ErrorDetails:
    """Return the details of a decoded error body or error event."""
    if isinstance(doc, str):
        return ErrorDetails(doc or _NOTHING, words=doc[:_LONGEST_WORDS])
    items = sorted(
        _error_objects({"errors": doc} if is_list(doc) else doc),
        key=lambda item: (not item.is_error, -item.depth),
    )
    with_message = [item for item in items if item.message and not item.is_mute]
    best = next((item for item in with_message if _is_useful(item.message)), next(iter(with_message), None))
    items.sort(key=lambda item: item is not best)
    words = (text for item in items for text in (item.message, _as_name(item.fields.get("quotaid"))))
    names = (name for item in items for name in (item.code, item.type, _slug(item.fields, "status")))
    return ErrorDetails(
        best.message if best else _NOTHING,
        next(filter(None, (item.code for item in items)), None),
        next(filter(None, (item.type for item in items)), None),
        next(filter(None, (_unless_status(item.fields.get("param")) for item in items)), None),
        tuple(dict.fromkeys(filter(None, names))),
        next(filter(None, (_categories(item.fields, item.message) for item in items)), ()),
        next(filter(None, (_stage(item.fields) for item in items)), "unknown"),
        words=" | ".join(dict.fromkeys(filter(None, words)))[:_LONGEST_WORDS],
        wait=next(filter(None, (_retry_after(item.fields) for item in items)), ""),
    )


def _error_objects(doc: object) -> Iterator[_ErrorObject]:
    """Yield the objects of a document, level by level, and the messages of its lists of errors."""
    level = [_ErrorObject(_fields(doc), 0, is_error=True)] if is_object(doc) else []
    objects, fields = _MOST_OBJECTS, _MOST_FIELDS_IN_ALL
    for depth in range(1, _DEEPEST + 1):
        yield from level
        objects -= len(level)
        fields -= sum(len(item.fields) for item in level)
        if objects <= 0 or fields <= 0:
            return
        level = list(islice((inner for item in level for inner in _inner_objects(item, depth)), objects))


def _inner_objects(parent: _ErrorObject, depth: int) -> Iterator[_ErrorObject]:
    """Yield the objects inside of one, also those of JSON in a text."""
    for name, value in parent.fields.items():
        if name in _NOT_READ:
            continue
        inner = _embedded_error(value) if isinstance(value, str) else value
        is_named = re.search(_ERROR, name[:_LONGEST_KEY]) is not None
        is_error = inner is not value or is_named or (parent.is_error and parent.depth > 0)
        if name == "errors" and is_object(inner):
            inner = _field_errors(inner)
        lines = (
            "; ".join(filter(None, map(_validation_message, _items(inner))))
            if name in _LISTS and is_list(inner)
            else ""
        )
        if lines:
            yield _ErrorObject({}, depth, is_error, is_mute=parent.is_mute, lines=lines)
        for item in _items(inner):
            if is_object(item) and "loc" not in item:  # FastAPI's items are in `lines`
                fields = _fields(item)
                describes = "@type" in fields or "@type" in parent.fields
                yield _ErrorObject(fields, depth, is_error, is_mute=bool(lines) or describes)


def _field_errors(errors: dict[str, Any]) -> object:
    """Return the problems of each field as a list, if `errors` is an object of fields without a message."""
    if _ErrorObject(_fields(errors), 0, is_error=True).message:
        return errors
    items = islice(errors.items(), _MOST_ITEMS)
    return [{"loc": name, "msg": "; ".join(_names(texts))} for name, texts in items if not is_object(texts)]


def _embedded_error(text: str) -> object:
    """Return the JSON object or list that a text is, or that it contains as an error; None if neither."""
    text = text[:_LONGEST_JSON]
    if text.lstrip()[:1] in ("{", "[") and (doc := decoded(text, len(text) - len(text.lstrip()))) is not None:
        return doc
    text = text[:_LONGEST_AROUND]
    for start in islice(re.finditer(_JSON, text), _MOST_STARTS):
        doc = decoded(text, start.start())
        if is_object(doc) and _ENVELOPE.intersection(_fields(doc)):
            return doc
    return None


def _fields(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields by normalized names: lower case, without `_` and `-`."""
    return {re.sub("[_-]", "", key[:100]).lower(): value for key, value in islice(item.items(), _MOST_FIELDS)}


def _items(value: object) -> list[Any]:
    return value[:_MOST_ITEMS] if is_list(value) else [value]


def _is_useful(text: str) -> bool:
    """Return whether a text says more than that something failed, and is not JSON."""
    return text[:1] not in ("{", "[") and text[:100].strip(" .!:\n").casefold() not in _USELESS


def _validation_message(item: object) -> str | None:
    """Return the message of an item of a list of errors, after its field (FastAPI's `loc`)."""
    if not is_object(item):
        return item if isinstance(item, str) else None
    if "@type" in item:  # Google's details, not errors
        return None
    fields = _fields(item)
    texts = (_as_name(fields.get(name)) for name in ("msg", "message", *_OTHER_MESSAGES))
    message = next(filter(None, texts), None)
    path = ".".join(_names(fields.get("loc")))
    return f"{path}: {message}" if path and message else message


def _unless_status(value: object) -> str | None:
    """Return a name unless it is an HTTP status: one-api writes the upstream server's status in `param`."""
    name = _as_name(value)
    return None if name is None or re.fullmatch(_STATUS, name) else name


def _categories(fields: Mapping[str, Any], message: str) -> tuple[str, ...]:
    """Return what moderation found, as OpenAI, OpenRouter, Azure or the message itself lists it."""
    violations = re.search(_SAFETY_VIOLATIONS, message)
    results = _as_object(fields, "contentfilterresult", "contentfilterresults")
    return (
        _names(_as_object(fields, "moderationdetails").get("categories"))
        or (_names(fields.get("reasons")) if is_list(fields.get("reasons")) else ())
        or tuple(name.strip() for name in (violations[1].split(",") if violations else ()) if name.strip())
        or tuple(name for name, result in results.items() if is_object(result) and result.get("filtered"))
    )[:_MOST_ITEMS]


def _stage(fields: Mapping[str, Any]) -> str | None:
    return _as_name(_as_object(fields, "moderationdetails").get("moderation_stage"))


def _retry_after(fields: Mapping[str, Any]) -> str:
    """Return a field's wait in the format of `retry-after`: "34s", a number of seconds, a point in time."""
    for holder in (fields, _fields(_as_object(fields, "headers"))):
        for name in _WAITS:
            value = holder.get(name)
            if is_object(value):  # Google's Duration outside of Protobuf's own JSON
                value = value.get("seconds")
            if isinstance(value, str | int | float) and not isinstance(value, bool) and value:
                return f"{value}{'ms' * name.endswith(('ms', 'milliseconds'))}"[:40]
    return ""


def _as_object(holder: Mapping[str, Any], *names: str) -> dict[str, Any]:
    objects: list[dict[str, Any]] = [value for name in names if is_object(value := holder.get(name))]
    return objects[0] if objects else {}


def _slug(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and re.fullmatch(_SLUG, value) else None


def _names(value: object) -> tuple[str, ...]:
    return tuple(name for item in _items(value) if (name := _as_name(item)))


def _as_name(value: object) -> str | None:
    """Return a name, also one sent as a number; LiteLLM writes Python's None as a text."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value in ("", "None"):
        return None
    return str(value)
