"""Faults of a body: odd encodings, events and fields; stalls, cuts and resets of the connection.

Invariants: one fault differs in one way; a fault about events leaves a JSON response unchanged; "stall" lasts until
`server.release()` or until the client has gone.
Must not: replace the whole response; `statuses.py` does.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

from openai_images.server.encoder import Dialect, Spelling, as_string
from openai_images.server.error_replies import USER_ERROR
from openai_images.server.faults.plan import (
    FINAL,
    CommentsUntilReleased,
    Edit,
    Event,
    Frame,
    Frames,
    HangUp,
    HangUpKind,
    Hold,
    Kind,
    Plan,
    Steps,
    Text,
    first_partial,
    fixed,
    halves,
    taking,
)


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


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 3600:
        raise ValueError("seconds from 0 to 3600")
    return seconds


def _slow(text: str) -> Plan:
    return Plan(delay=_seconds(text))


def _tiny(text: str) -> Plan:
    size = int(text)
    if size < 1:
        raise ValueError("a size from 1 byte")
    return Plan(piece=size)


def _stall_after_headers(frames: Frames) -> Steps:
    return (Hold(), *frames)


def _stall_mid_event(frames: Frames) -> Steps:
    head, tail = halves(frames[0])
    return (head, Hold(), tail, *frames[1:])


def _stall_between_events(frames: Frames) -> Steps:
    sent = first_partial(frames)
    return (*sent, Hold(), *frames[len(sent) :])


def _comments(frames: Frames) -> Steps:
    return (CommentsUntilReleased(), *frames)


def _cut_mid_event(frames: Frames) -> Steps:
    return (*frames[:-1], halves(frames[-1])[0])


def _without_completed(frames: Frames) -> Steps:
    return frames[:-1]


def _after_partials(text: str) -> Plan:
    count = int(text)
    if not 0 <= count <= 3:
        raise ValueError("a number from 0 to 3")
    return Plan(edit=lambda frames: frames[:-1][:count], stream_only=True)


def _fewer(text: str) -> Plan:
    count = int(text)
    if not 0 <= count <= 3:
        raise ValueError("a number from 0 to 3")
    return Plan(edit=lambda frames: (*frames[:-1][:count], frames[-1]), stream_only=True)


def _open_ended(frames: Frames) -> Steps:
    return (*frames[:-1], Frame(FINAL, closed=False))


def _then(how: HangUpKind) -> Edit:
    def edit(frames: Frames) -> Steps:
        sent = first_partial(frames)
        return (*sent, halves(frames[len(sent)])[0], HangUp(how))

    return edit


def _bad_chunk(frames: Frames) -> Steps:
    return (*first_partial(frames), HangUp("bad_chunk"))


TRAVEL: Final[Mapping[str, Kind[Plan]]] = {
    "one_byte_chunks": fixed("the body comes in HTTP chunks of one byte", Plan(piece=1)),
    "tiny_chunks": taking("tiny_chunks:N (64) the body comes in HTTP chunks of N bytes", "64", _tiny),
    "slow_first_byte": taking("slow_first_byte:SECONDS (1) nothing at all for that long", "1", _slow),
    "stall": fixed("not even headers until release()", Plan(hold=True)),
    "stall_after_headers": fixed("headers, then nothing until release()", Plan(edit=_stall_after_headers)),
    "stall_mid_event": fixed(
        "half of the first event, then nothing until release()", Plan(edit=_stall_mid_event)
    ),
    "stall_between_events": fixed(
        "the first partial image, then nothing until release()", Plan(edit=_stall_between_events)
    ),
    "comments_forever": fixed(
        "comments and no event until release() (stream)", Plan(edit=_comments, stream_only=True)
    ),
    "cut_mid_event": fixed(
        "a clean end of the body in the middle of the last event", Plan(edit=_cut_mid_event)
    ),
    "eof_without_completed": fixed(
        "a clean end after the partial images", Plan(edit=_without_completed, stream_only=True)
    ),
    "eof_after_partials": taking(
        "eof_after_partials:N (1) a clean end after N partial images", "1", _after_partials
    ),
    "fewer_partials": taking("fewer_partials:N (0) at most N partial images, then the picture", "0", _fewer),
    "completed_without_blank_line": fixed(
        "the body ends right after the JSON of the completed event", Plan(edit=_open_ended)
    ),
    "reset_after_body": fixed(
        "TCP reset once the request was read, without an answer", Plan(hang_up="reset")
    ),
    "close_after_body": fixed(
        "clean close once the request was read, without an answer", Plan(hang_up="close")
    ),
    "reset_mid_stream": fixed("TCP reset in the middle of the second event", Plan(edit=_then("reset"))),
    "cut_chunked_body": fixed(
        "close in the middle of a chunked body, without its last chunk", Plan(edit=_then("close"))
    ),
    "short_content_length": fixed("a body shorter than the declared Content-Length", Plan(overlong=True)),
    "malformed_chunk": fixed(
        "after headers and first partial a chunk size that is no number, connection left open",
        Plan(edit=_bad_chunk),
    ),
    "gzip": fixed("a JSON answer with Content-Encoding: gzip", Plan(gzip=True)),
}
