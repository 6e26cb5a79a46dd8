"""What an error body says, in whatever shape and however deep a server says it.

Rules: pure; whatever comes, and however it is typed, there is a message, and nothing raises. The message is that of the
innermost object which says something of use: gateways wrap the error of the server behind them, as an object, in a
list, or as JSON in a text. Objects, levels, items and characters that are looked at are bounded: a server writes them.
"""

from __future__ import annotations

import html
import re
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from openai_images._util.json import decoded, is_list, is_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NOTHING, _EMPTY = NO_MESSAGES = ("no reason was given", "nothing more was said")

_MOST_OBJECTS, _DEEPEST, _MOST_FIELDS, _MOST_ITEMS = 200, 12, 100, 20
_LONGEST_WORDS, _LONGEST_JSON, _MOST_STARTS = 4 * 1024, 256 * 1024, 5  # of JSON in a text
_LONGEST_KEY = 200  # characters of a key that are looked at

# Names of fields without their case, `_` and `-`, in the order of preference.
_MESSAGES = ("message", "msg", "errormessage", "errormsg", "errordescription", "errmsg", "statusmsg", "faultstring",
             "error", "err", "raw")  # fmt: skip
_OTHER_MESSAGES = ("title", "detail", "details", "reason", "description", "errors")
_CODES, _TYPES = ("code", "errorcode", "errcode", "errorkey"), ("type", "errortype")
_LISTS = ("error", "errors", "detail", "details", "message")
_SLUG = re.compile(r"[A-Za-z0-9]{1,40}(?:[_.:-][A-Za-z0-9]{1,40}){1,9}")
_ERROR = re.compile("err|fault|fail|cause|upstream|exception|raw|problem|detail")
# What speaks of other things than what went wrong, or echoes the request.
_NOT_READ = frozenset({
    *("input", "prompt", "ctx", "request", "headers", "param", "params", "help", "links", "usage", "moderationdetails",
      "contentfilterresult", "contentfilterresults", "promptfilterresults"),
})  # fmt: skip

# What states a wait: seconds, a text with a unit, a moment; milliseconds where the name ends so.
_WAITS = ("retryafter", "retryafterseconds", "retrydelay", "retryin", "resetsinseconds", "resetinseconds", "resetsat",
          "resetat", "retryafterms", "retryaftermilliseconds", "retrydelayms", "xratelimitreset")  # fmt: skip

# What a class leaves out, its own beginning, keeps a search through many beginnings linear.
_SAFETY_VIOLATIONS = re.compile(r"safety_violations=\[([^\[\]]*)\]")
_HTML_TITLE = re.compile(r"<title[^<>]*>([^<]*)", re.IGNORECASE)
_STATUS = re.compile("[45][0-9][0-9]")
_EVENT = re.compile(r"error|image_[a-z]{1,20}\..*", re.DOTALL)
_ENVELOPE = frozenset({"error", "errors", "code", "errorcode", "detail"})
_JSON = re.compile(r'\{\s*"')

# Messages that say no more than the status does, or that somebody else has failed.
_USELESS = frozenset({
    *(status.phrase.casefold() for status in HTTPStatus),
    *("error", "errors", "unknown", "unknown error", "an error occurred", "internal error"),
    *("provider returned error", "upstream", "upstream error", "upstream_error", "upstream request failed"),
    *("request failed", "failed", "failure", "bad response status code", "openai_error", "none", "null", "exception"),
})  # fmt: skip


@frozen
class ErrorDetails:
    """What an error body says.

    `code`, `type` and `param` are those beside the message, or else the next ones outside of it; `codes` are all the
    codes and types, the innermost first; `words` all messages; `wait` is the wait a field states, as a header would.
    """

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    codes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    stage: str = "unknown"
    words: str = field(default="", kw_only=True)
    wait: str = field(default="", kw_only=True)
    is_page: bool = field(default=False, kw_only=True)


@frozen
class _Part:
    """One object of a body, or what a list in it says.

    `is_error`: an error by its name, or inside of one; `is_mute`: it only describes what another part says.
    """

    fields: Mapping[str, Any]
    depth: int
    is_error: bool
    is_mute: bool = False
    lines: str = ""

    @property
    def message(self) -> str:
        """What it says of itself; the first text that says more than the status, or else the first."""
        names = _MESSAGES + (_OTHER_MESSAGES if self.is_error else ())
        texts = [text for name in names if isinstance(text := self.fields.get(name), str) and text]
        return self.lines or next(filter(_is_useful, texts), texts[0] if texts else "")

    @property
    def code(self) -> str | None:
        """Its code, or a field that is used like one."""
        codes = [_as_name(self.fields.get(name)) for name in _CODES]
        codes += [
            _no_status(self.fields.get("statuscode")),
            _slug(self.fields, "error"),
            _slug(self.fields, "name"),
        ]
        return next(filter(None, codes), None)

    @property
    def type(self) -> str | None:
        """Its type, unless that is the type of an event."""
        types = (_as_name(self.fields.get(name)) for name in _TYPES)
        return next((kind for kind in types if kind and not _EVENT.fullmatch(kind)), None)


def read_body(body: bytes) -> tuple[ErrorDetails, object]:
    """What a whole error body says, and its decoded JSON (None where it is none)."""
    text = body.decode("utf-8-sig", "replace").strip()
    doc = _embedded_error(text)
    if doc is not None:
        return read_error(doc), doc
    if text.startswith("<"):
        title = _HTML_TITLE.search(text)
        words = " ".join(html.unescape(title[1]).split()) if title else ""
        message = f'an HTML page ("{words}")' if words else "an HTML page"
        return ErrorDetails(message, words=words[:_LONGEST_WORDS], is_page=True), None
    return ErrorDetails(text or _EMPTY, words=text[:_LONGEST_WORDS]), None


def read_error(doc: object) -> ErrorDetails:
    """What a decoded error body or error event says."""
    if isinstance(doc, str):
        return ErrorDetails(doc or _NOTHING, words=doc[:_LONGEST_WORDS])
    parts = sorted(
        _parts({"errors": doc} if is_list(doc) else doc), key=lambda part: (not part.is_error, -part.depth)
    )
    speaking = [part for part in parts if part.message and not part.is_mute]
    best = next((part for part in speaking if _is_useful(part.message)), next(iter(speaking), None))
    parts.sort(key=lambda part: part is not best)
    words = (text for part in parts for text in (part.message, _as_name(part.fields.get("quotaid"))))
    names = (name for part in parts for name in (part.code, part.type, _slug(part.fields, "status")))
    return ErrorDetails(
        best.message if best else _NOTHING,
        next(filter(None, (part.code for part in parts)), None),
        next(filter(None, (part.type for part in parts)), None),
        next(filter(None, (_no_status(part.fields.get("param")) for part in parts)), None),
        tuple(dict.fromkeys(filter(None, names))),
        next(filter(None, (_categories(part.fields, part.message) for part in parts)), ()),
        next(filter(None, (_stage(part.fields) for part in parts)), "unknown"),
        words=" | ".join(dict.fromkeys(filter(None, words)))[:_LONGEST_WORDS],
        wait=next(filter(None, (_retry_after(part.fields) for part in parts)), ""),
    )


def _parts(doc: object) -> Iterator[_Part]:
    """The objects of a document, level by level, and what its lists of errors say."""
    level = [_Part(_fields(doc), 0, is_error=True)] if is_object(doc) else []
    left = _MOST_OBJECTS
    for depth in range(1, _DEEPEST + 1):
        yield from level
        left -= len(level)
        if left <= 0:
            return
        level = list(islice((inner for part in level for inner in _innermost_error(part, depth)), left))


def _innermost_error(part: _Part, depth: int) -> Iterator[_Part]:
    """What is inside of an object, also in JSON that is a text."""
    for name, value in part.fields.items():
        if name in _NOT_READ:
            continue
        inner = _embedded_error(value) if isinstance(value, str) else value
        is_named = _ERROR.search(name, 0, _LONGEST_KEY) is not None
        is_error = inner is not value or is_named or (part.is_error and part.depth > 0)
        if name == "errors" and is_object(inner):
            inner = _by_field(inner)
        lines = (
            "; ".join(filter(None, map(_validation_message, _items(inner))))
            if name in _LISTS and is_list(inner)
            else ""
        )
        if lines:
            yield _Part({}, depth, is_error, is_mute=part.is_mute, lines=lines)
        for item in _items(inner):
            if is_object(item) and "loc" not in item:  # FastAPI's items are lines
                fields = _fields(item)
                describes = "@type" in fields or "@type" in part.fields
                yield _Part(fields, depth, is_error, is_mute=bool(lines) or describes)


def _by_field(errors: dict[str, Any]) -> object:
    """A list of what is wrong with each field, where `errors` is such an object and none that speaks."""
    if _Part(_fields(errors), 0, is_error=True).message:
        return errors
    items = islice(errors.items(), _MOST_ITEMS)
    return [{"loc": name, "msg": "; ".join(_names(texts))} for name, texts in items if not is_object(texts)]


def _embedded_error(text: str) -> object:
    """The JSON object or list that a text is, or the error that it holds behind words; None where there is none."""
    text = text[:_LONGEST_JSON]
    if text.lstrip()[:1] in ("{", "[") and (doc := decoded(text, len(text) - len(text.lstrip()))) is not None:
        return doc
    for start in islice(_JSON.finditer(text), _MOST_STARTS):
        doc = decoded(text, start.start())
        if is_object(doc) and _ENVELOPE.intersection(_fields(doc)):
            return doc
    return None


def _fields(item: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by names that do not depend on how a server writes names."""
    return {re.sub("[_-]", "", key[:100]).lower(): value for key, value in islice(item.items(), _MOST_FIELDS)}


def _items(value: object) -> list[Any]:
    return value[:_MOST_ITEMS] if is_list(value) else [value]


def _is_useful(text: str) -> bool:
    """Whether this says more than that something failed, and is for people."""
    return text[:1] not in ("{", "[") and text[:100].strip(" .!:\n").casefold() not in _USELESS


def _validation_message(item: object) -> str | None:
    """What an item of a list of errors says; FastAPI's says where and what."""
    if not is_object(item):
        return item if isinstance(item, str) else None
    if "@type" in item:  # Google's describe an error
        return None
    fields = _fields(item)
    what = next(
        filter(None, (_as_name(fields.get(name)) for name in ("msg", "message", *_OTHER_MESSAGES))), None
    )
    where = ".".join(_names(fields.get("loc")))
    return f"{where}: {what}" if where and what else what


def _no_status(value: object) -> str | None:
    """A name that is no HTTP status: one-api writes the one of the server behind it in `param`."""
    name = _as_name(value)
    return None if name is None or _STATUS.fullmatch(name) else name


def _categories(fields: Mapping[str, Any], message: str) -> tuple[str, ...]:
    """What moderation found: OpenAI's list, OpenRouter's reasons, those named in the message, Azure's filters."""
    listed = _SAFETY_VIOLATIONS.search(message)
    results = _as_object(fields, "contentfilterresult", "contentfilterresults")
    return (
        _names(_as_object(fields, "moderationdetails").get("categories"))
        or (_names(fields.get("reasons")) if is_list(fields.get("reasons")) else ())
        or tuple(name.strip() for name in (listed[1].split(",") if listed else ()) if name.strip())
        or tuple(name for name, result in results.items() if is_object(result) and result.get("filtered"))
    )[:_MOST_ITEMS]


def _stage(fields: Mapping[str, Any]) -> str | None:
    return _as_name(_as_object(fields, "moderationdetails").get("moderation_stage"))


def _retry_after(fields: Mapping[str, Any]) -> str:
    """A wait that a field states, as `retry-after` would: "34s", a number of seconds, a moment."""
    for holder in (fields, _fields(_as_object(fields, "headers"))):
        for name in _WAITS:
            value = holder.get(name)
            if is_object(value):  # Google's, as JSON that is no Protobuf's writes it
                value = value.get("seconds")
            if isinstance(value, str | int | float) and not isinstance(value, bool) and value:
                return f"{value}{'ms' * name.endswith(('ms', 'milliseconds'))}"[:40]
    return ""


def _as_object(holder: Mapping[str, Any], *names: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [value for name in names if is_object(value := holder.get(name))]
    return found[0] if found else {}


def _slug(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and _SLUG.fullmatch(value) else None


def _names(value: object) -> tuple[str, ...]:
    """The names of a list, or a single one."""
    return tuple(name for item in _items(value) if (name := _as_name(item)))


def _as_name(value: object) -> str | None:
    """A name, also where it came as a number; LiteLLM writes Python's None as a text."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value in ("", "None"):
        return None
    return str(value)
