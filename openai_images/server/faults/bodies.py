"""Faults of a body: odd encodings, events and fields; stalls, cuts and resets of the connection.

Invariants: one fault differs in one way; a fault about events leaves a JSON response unchanged; "stall" lasts until
`server.release()` or until the client has gone.
Must not: replace the whole response; `statuses.py` does.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

from openai_images.server.encoder import Base64Encoding, Dialect, as_string
from openai_images.server.error_replies import USER_ERROR
from openai_images.server.faults.plan import (
    FINAL,
    CommentsUntilReleased,
    Event,
    FaultPlan,
    FaultType,
    Frame,
    Frames,
    HangUp,
    HangUpKind,
    Steps,
    StepTransform,
    Text,
    WaitForRelease,
    fault,
    fault_with_argument,
    first_partial,
    halves,
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


def _base64(encoding: Base64Encoding) -> FaultPlan:
    return FaultPlan(dialect=Dialect(base64=encoding))


def _after_first_partial(name: str | None, data: Mapping[str, Any]) -> StepTransform:
    def transform(frames: Frames) -> Steps:
        return (*first_partial(frames), Event(name, data))

    return transform


def _unknown(frames: Frames) -> Steps:
    data = {"type": "image_generation.queued", "position": 3, "sequence_number": None}
    return (Event("image_generation.queued", data), *frames)


def _huge(text: str) -> FaultPlan:
    megabytes = float(text)
    if not 0 < megabytes <= 1024:
        raise ValueError("megabytes from just above 0 to 1024")
    return FaultPlan(image_megabytes=megabytes)


def _error(kind: str, code: str, message: str) -> dict[str, Any]:
    return {"type": kind, "code": code, "message": message, "param": None}


def _nested(error: Mapping[str, Any]) -> FaultPlan:
    return _error_event({"type": "error", "error": error, "sequence_number": None})


def _error_event(data: Mapping[str, Any]) -> FaultPlan:
    return FaultPlan(transform=_after_first_partial("error", data), stream_only=True)


def _stream_edit(transform: StepTransform) -> FaultPlan:
    return FaultPlan(transform=transform, stream_only=True)


_DONE: Final = Text(b"data: [DONE]\n\n")
_BLOCKED: Final = _error(USER_ERROR, "moderation_blocked", "Your request was rejected by the safety system.")
_FAILED: Final = _error("image_generation_server_error", "image_generation_failed", "Image generation failed")
_SERVER: Final = _error("server_error", "server_error", "The server had an error.")
_FLAT: Final = {"type": "error", "code": "server_error", "message": "The server had an error."}

CONTENT: Final[Mapping[str, FaultType[FaultPlan]]] = {
    "json_instead_of_sse": fault("a stream is answered with one JSON body", FaultPlan(kind="json")),
    "sse_instead_of_json": fault("a JSON answer comes as a stream", FaultPlan(kind="sse")),
    "moderation_mid_stream": fault(
        "after one partial image an error event, moderation_blocked", _nested(_BLOCKED)
    ),
    "error_event_nested": fault(
        "after one partial image an error event with an error inside", _nested(_SERVER)
    ),
    "error_event_bare": fault(
        "after one partial image an error event of an error object only", _error_event({"error": _SERVER})
    ),
    "error_event_flat": fault(
        "after one partial image an error event without an inner object", _error_event(_FLAT)
    ),
    "error_event_server": fault(
        "after one partial image an error event, image_generation_failed", _nested(_FAILED)
    ),
    "unknown_event": fault("an event of an unknown type comes first", _stream_edit(_unknown)),
    "ping_event": fault(
        "an event `ping` with an empty object comes first",
        _stream_edit(lambda frames: (Event("ping", {}), *frames)),
    ),
    "done_marker": fault("[DONE] follows the completed event", _stream_edit(lambda frames: (*frames, _DONE))),
    "done_without_completed": fault(
        "[DONE] in place of the completed event", _stream_edit(lambda frames: (*frames[:-1], _DONE))
    ),
    "keepalive_comments": fault("a comment before every event", FaultPlan(dialect=Dialect(comments=True))),
    "crlf": fault("lines of the stream end in CR LF", FaultPlan(dialect=Dialect(line_end=b"\r\n"))),
    "cr": fault("lines of the stream end in CR alone", FaultPlan(dialect=Dialect(line_end=b"\r"))),
    "bom": fault(
        "the stream begins with a byte order mark", FaultPlan(dialect=Dialect(byte_order_mark=True))
    ),
    "no_event_line": fault("events have a data line only", FaultPlan(dialect=Dialect(event_line=False))),
    "invalid_base64": fault("characters that are not base64 in the middle of it", _base64(_invalid)),
    "escaped_base64": fault(r"base64 with the JSON escapes \/, \u002B and \u003d", _base64(_escaped)),
    "data_url_base64": fault("base64 behind a data: URL prefix", _base64(_data_url)),
    "urlsafe_base64": fault("base64 in the url-safe alphabet", _base64(_url_safe)),
    "unpadded_base64": fault("base64 without its padding", _base64(_unpadded)),
    "wrapped_base64": fault("base64 with a newline after every 76 characters", _base64(_newlines)),
    "null_b64": fault("b64_json is null", _base64(lambda _: b"null")),
    "empty_b64": fault("b64_json is an empty string", _base64(lambda _: b'""')),
    "url_answer": fault("the picture as an absolute url", FaultPlan(dialect=Dialect(links="absolute"))),
    "relative_url_answer": fault(
        "the picture as a relative url", FaultPlan(dialect=Dialect(links="relative"))
    ),
    "data_url_answer": fault("the picture as a data: url in `url`", FaultPlan(dialect=Dialect(links="data"))),
    "missing_fields": fault(
        "everything but the picture is missing or null", FaultPlan(dialect=Dialect(sparse=True))
    ),
    "empty_data": fault("a JSON answer whose data is empty", FaultPlan(dialect=Dialect(empty_data=True))),
    "huge_picture": fault_with_argument("huge_picture:MB (16) a picture of that many megabytes", "16", _huge),
}


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 3600:
        raise ValueError("seconds from 0 to 3600")
    return seconds


def _slow(text: str) -> FaultPlan:
    return FaultPlan(delay=_seconds(text))


def _tiny(text: str) -> FaultPlan:
    size = int(text)
    if size < 1:
        raise ValueError("a size from 1 byte")
    return FaultPlan(piece=size)


def _stall_after_headers(frames: Frames) -> Steps:
    return (WaitForRelease(), *frames)


def _stall_mid_event(frames: Frames) -> Steps:
    head, tail = halves(frames[0])
    return (head, WaitForRelease(), tail, *frames[1:])


def _stall_between_events(frames: Frames) -> Steps:
    sent = first_partial(frames)
    return (*sent, WaitForRelease(), *frames[len(sent) :])


def _comments(frames: Frames) -> Steps:
    return (CommentsUntilReleased(), *frames)


def _cut_mid_event(frames: Frames) -> Steps:
    return (*frames[:-1], halves(frames[-1])[0])


def _without_completed(frames: Frames) -> Steps:
    return frames[:-1]


def _count(text: str) -> int:
    count = int(text)
    if not 0 <= count <= 3:
        raise ValueError("a number from 0 to 3")
    return count


def _after_partials(text: str) -> FaultPlan:
    count = _count(text)
    return FaultPlan(transform=lambda frames: frames[:-1][:count], stream_only=True)


def _fewer(text: str) -> FaultPlan:
    count = _count(text)
    return FaultPlan(transform=lambda frames: (*frames[:-1][:count], frames[-1]), stream_only=True)


def _open_ended(frames: Frames) -> Steps:
    return (*frames[:-1], Frame(FINAL, closed=False))


def _then(how: HangUpKind) -> StepTransform:
    def transform(frames: Frames) -> Steps:
        sent = first_partial(frames)
        return (*sent, halves(frames[len(sent)])[0], HangUp(how))

    return transform


def _bad_chunk(frames: Frames) -> Steps:
    return (*first_partial(frames), HangUp("bad_chunk"))


TRAVEL: Final[Mapping[str, FaultType[FaultPlan]]] = {
    "one_byte_chunks": fault("the body comes in HTTP chunks of one byte", FaultPlan(piece=1)),
    "tiny_chunks": fault_with_argument(
        "tiny_chunks:N (64) the body comes in HTTP chunks of N bytes", "64", _tiny
    ),
    "slow_first_byte": fault_with_argument(
        "slow_first_byte:SECONDS (1) nothing at all for that long", "1", _slow
    ),
    "stall": fault("not even headers until release()", FaultPlan(hold=True)),
    "stall_after_headers": fault(
        "headers, then nothing until release()", FaultPlan(transform=_stall_after_headers)
    ),
    "stall_mid_event": fault(
        "half of the first event, then nothing until release()", FaultPlan(transform=_stall_mid_event)
    ),
    "stall_between_events": fault(
        "the first partial image, then nothing until release()", FaultPlan(transform=_stall_between_events)
    ),
    "comments_forever": fault(
        "comments and no event until release() (stream)", FaultPlan(transform=_comments, stream_only=True)
    ),
    "cut_mid_event": fault(
        "a clean end of the body in the middle of the last event", FaultPlan(transform=_cut_mid_event)
    ),
    "eof_without_completed": fault(
        "a clean end after the partial images", FaultPlan(transform=_without_completed, stream_only=True)
    ),
    "eof_after_partials": fault_with_argument(
        "eof_after_partials:N (1) a clean end after N partial images", "1", _after_partials
    ),
    "fewer_partials": fault_with_argument(
        "fewer_partials:N (0) at most N partial images, then the picture", "0", _fewer
    ),
    "completed_without_blank_line": fault(
        "the body ends right after the JSON of the completed event", FaultPlan(transform=_open_ended)
    ),
    "reset_after_body": fault(
        "TCP reset once the request was read, without an answer", FaultPlan(hang_up="reset")
    ),
    "close_after_body": fault(
        "clean close once the request was read, without an answer", FaultPlan(hang_up="close")
    ),
    "reset_mid_stream": fault(
        "TCP reset in the middle of the second event", FaultPlan(transform=_then("reset"))
    ),
    "cut_chunked_body": fault(
        "close in the middle of a chunked body, without its last chunk", FaultPlan(transform=_then("close"))
    ),
    "short_content_length": fault(
        "a body shorter than the declared Content-Length", FaultPlan(overlong=True)
    ),
    "malformed_chunk": fault(
        "after headers and first partial a chunk size that is no number, connection left open",
        FaultPlan(transform=_bad_chunk),
    ),
    "gzip": fault("a JSON answer with Content-Encoding: gzip", FaultPlan(gzip=True)),
}
