"""Faults of what is said: odd spellings of base64 and of events, missing fields, errors in mid-stream.

Rules: one fault strays in one way; the rest of the answer stays as the API sends it. Faults about events leave a JSON
answer as it is. It refuses to touch how an answer travels; that is `travel.py`.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

from openai_images.server.encoder import Dialect, Spelling, as_string
from openai_images.server.error_replies import USER_ERROR
from openai_images.server.faults.plan import Kind, Plan, fixed, taking
from openai_images.server.steps import Edit, Event, Frames, Steps, Text, first_partial


def _invalid(text: bytes) -> bytes:
    middle = len(text) // 2
    return as_string(text[:middle] + b"!*?" + text[middle:])


def _escaped(text: bytes) -> bytes:
    return as_string(text.replace(b"/", b"\\/").replace(b"+", b"\\u002B").replace(b"=", b"\\u003d"))


def _data_url(text: bytes) -> bytes:
    start = base64.b64decode(text[:16])
    kind = b"jpeg" if start.startswith(b"\xff\xd8") else b"webp" if start.startswith(b"RIFF") else b"png"
    return as_string(b"data:image/" + kind + b";base64," + text)


def _url_safe(text: bytes) -> bytes:
    return as_string(text.translate(bytes.maketrans(b"+/", b"-_")))


def _unpadded(text: bytes) -> bytes:
    # A picture whose base64 needs no padding gets a zero byte, which every decoder of pictures ignores.
    padded = text if text.endswith(b"=") else text + b"AA=="
    return as_string(padded.rstrip(b"="))


def _newlines(text: bytes) -> bytes:
    lines = [text[at : at + 76] for at in range(0, len(text), 76)]
    return as_string(b"\\n".join(lines))


def _empty(_: bytes) -> bytes:
    return b'""'


def _null(_: bytes) -> bytes:
    return b"null"


def _spelled(spelling: Spelling) -> Plan:
    return Plan(dialect=Dialect(base64=spelling))


def _after_first_partial(name: str | None, data: Mapping[str, Any]) -> Edit:
    def edit(frames: Frames) -> Steps:
        return (*first_partial(frames), Event(name, data))

    return edit


def _unknown(frames: Frames) -> Steps:
    data = {"type": "image_generation.queued", "position": 3, "sequence_number": None}
    return (Event("image_generation.queued", data), *frames)


def _ping(frames: Frames) -> Steps:
    return (Event("ping", {}), *frames)


def _done(frames: Frames) -> Steps:
    return (*frames, Text(b"data: [DONE]\n\n"))


def _done_only(frames: Frames) -> Steps:
    return (*frames[:-1], Text(b"data: [DONE]\n\n"))


def _huge(text: str) -> Plan:
    megabytes = float(text)
    if not 0 < megabytes <= 1024:
        raise ValueError("megabytes from just above 0 to 1024")
    return Plan(picture_megabytes=megabytes)


def _error(kind: str, code: str, message: str) -> dict[str, Any]:
    return {"type": kind, "code": code, "message": message, "param": None}


def _nested(error: Mapping[str, Any]) -> Plan:
    return _error_event({"type": "error", "error": error, "sequence_number": None})


def _error_event(data: Mapping[str, Any]) -> Plan:
    return Plan(edit=_after_first_partial("error", data), stream_only=True)


def _stream_edit(edit: Edit) -> Plan:
    return Plan(edit=edit, stream_only=True)


_BLOCKED: Final = _error(USER_ERROR, "moderation_blocked", "Your request was rejected by the safety system.")
_FAILED: Final = _error("image_generation_server_error", "image_generation_failed", "Image generation failed")
_SERVER: Final = _error("server_error", "server_error", "The server had an error.")
_FLAT: Final = {"type": "error", "code": "server_error", "message": "The server had an error."}

CONTENT: Final[Mapping[str, Kind[Plan]]] = {
    "json_instead_of_sse": fixed("a stream is answered with one JSON body", Plan(kind="json")),
    "sse_instead_of_json": fixed("a JSON answer comes as a stream", Plan(kind="sse")),
    "moderation_mid_stream": fixed(
        "after one partial image an error event, moderation_blocked", _nested(_BLOCKED)
    ),
    "error_event_nested": fixed(
        "after one partial image an error event with an error inside", _nested(_SERVER)
    ),
    "error_event_bare": fixed(
        "after one partial image an error event of an error object only", _error_event({"error": _SERVER})
    ),
    "error_event_flat": fixed(
        "after one partial image an error event without an inner object", _error_event(_FLAT)
    ),
    "error_event_server": fixed(
        "after one partial image an error event, image_generation_failed", _nested(_FAILED)
    ),
    "unknown_event": fixed("an event of an unknown type comes first", _stream_edit(_unknown)),
    "ping_event": fixed("an event `ping` with an empty object comes first", _stream_edit(_ping)),
    "done_marker": fixed("[DONE] follows the completed event", _stream_edit(_done)),
    "done_without_completed": fixed("[DONE] in place of the completed event", _stream_edit(_done_only)),
    "keepalive_comments": fixed("a comment before every event", Plan(dialect=Dialect(comments=True))),
    "crlf": fixed("lines of the stream end in CR LF", Plan(dialect=Dialect(line_end=b"\r\n"))),
    "cr": fixed("lines of the stream end in CR alone", Plan(dialect=Dialect(line_end=b"\r"))),
    "bom": fixed("the stream begins with a byte order mark", Plan(dialect=Dialect(byte_order_mark=True))),
    "no_event_line": fixed("events have a data line only", Plan(dialect=Dialect(event_line=False))),
    "invalid_base64": fixed("characters that are not base64 in the middle of it", _spelled(_invalid)),
    "escaped_base64": fixed(r"base64 with the JSON escapes \/, \u002B and \u003d", _spelled(_escaped)),
    "data_url_base64": fixed("base64 behind a data: URL prefix", _spelled(_data_url)),
    "urlsafe_base64": fixed("base64 in the url-safe alphabet", _spelled(_url_safe)),
    "unpadded_base64": fixed("base64 without its padding", _spelled(_unpadded)),
    "wrapped_base64": fixed("base64 with a newline after every 76 characters", _spelled(_newlines)),
    "null_b64": fixed("b64_json is null", _spelled(_null)),
    "empty_b64": fixed("b64_json is an empty string", _spelled(_empty)),
    "url_answer": fixed("the picture as an absolute url", Plan(dialect=Dialect(links="absolute"))),
    "relative_url_answer": fixed("the picture as a relative url", Plan(dialect=Dialect(links="relative"))),
    "data_url_answer": fixed("the picture as a data: url in `url`", Plan(dialect=Dialect(links="data"))),
    "missing_fields": fixed(
        "everything but the picture is missing or null", Plan(dialect=Dialect(sparse=True))
    ),
    "empty_data": fixed("a JSON answer whose data is empty", Plan(dialect=Dialect(empty_data=True))),
    "huge_picture": taking("huge_picture:MB (16) a picture of that many megabytes", "16", _huge),
}
