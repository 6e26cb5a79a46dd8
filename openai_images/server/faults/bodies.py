"""Faults of a body: unusual encodings, events and fields; stalls, truncated bodies and resets of the connection.

Invariants: a fault changes one thing; a fault about events leaves a JSON response unchanged; a stall lasts until
`server.release()` or until the client disconnects.
Must not: replace the complete response; `statuses.py` does.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final

from openai_images.server.faults.plan import (
    FINAL,
    MEGABYTES,
    Base64Encoding,
    Dialect,
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
    argument,
    as_string,
    fault,
    fault_with_argument,
    first_partial,
    halves,
)
from openai_images.server.protocol.error_replies import USER_ERROR

_COUNT: Final = argument(int, lambda count: 0 <= count <= 3, "a number from 0 to 3")
_SIZE: Final = argument(int, lambda size: size >= 1, "a size from 1 byte")
_IMAGES: Final = argument(int, lambda count: 1 <= count <= 10, "a number from 1 to 10")
_DELAY: Final = argument(float, lambda seconds: 0 <= seconds <= 3600, "seconds from 0 to 3600")


def _stall_between_events(frames: Frames) -> Steps:
    sent = first_partial(frames)
    return (*sent, WaitForRelease(), *frames[len(sent) :])


def _break_second(how: HangUpKind) -> StepTransform:
    def transform(frames: Frames) -> Steps:
        sent = first_partial(frames)
        return (*sent, halves(frames[len(sent)])[0], HangUp(how))

    return transform


def _make_data_url(text: bytes) -> bytes:
    start = base64.b64decode(text[:16])
    subtype = b"jpeg" if start.startswith(b"\xff\xd8") else b"webp" if start.startswith(b"RIFF") else b"png"
    return b"data:image/" + subtype + b";base64," + text


def _strip_padding(text: bytes) -> bytes:
    # An image whose base64 has no padding gets a zero byte, which image decoders ignore.
    padded = text if text.endswith(b"=") else text + b"AA=="
    return padded.rstrip(b"=")


def _body(about: str, transform: StepTransform) -> FaultType[FaultPlan]:
    return fault(about, FaultPlan(transform=transform))


def _stream(about: str, transform: StepTransform) -> FaultType[FaultPlan]:
    return fault(about, FaultPlan(transform=transform, stream_only=True))


def _dialect(about: str, dialect: Dialect) -> FaultType[FaultPlan]:
    return fault(about, FaultPlan(dialect=dialect))


def _base64(about: str, encode: Base64Encoding) -> FaultType[FaultPlan]:
    return _dialect(about, Dialect(base64=lambda text: as_string(encode(text))))


def _error_event(about: str, data: Mapping[str, Any]) -> FaultType[FaultPlan]:
    about = f"after one partial image an error event{about}"
    return _stream(about, lambda frames: (*first_partial(frames), Event("error", data)))


def _nest(error: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "error", "error": error, "sequence_number": None}


def _error(error_type: str, code: str, message: str) -> dict[str, Any]:
    return {"type": error_type, "code": code, "message": message, "param": None}


_DONE: Final = Text(b"data: [DONE]\n\n")
_BLOCKED: Final = _error(USER_ERROR, "moderation_blocked", "Your request was rejected by the safety system.")
_FAILED: Final = _error("image_generation_server_error", "image_generation_failed", "Image generation failed")
_SERVER: Final = _error("server_error", "server_error", "The server had an error.")
_FLAT: Final = {"type": "error", "code": "server_error", "message": "The server had an error."}
_QUEUED: Final = {"type": "image_generation.queued", "position": 3, "sequence_number": None}

BODY_FAULTS: Final[Mapping[str, FaultType[FaultPlan]]] = {
    "one_byte_chunks": fault("the body comes in HTTP chunks of one byte", FaultPlan(piece=1)),
    "tiny_chunks": fault_with_argument(
        "tiny_chunks:N (64) the body comes in HTTP chunks of N bytes",
        "64",
        _SIZE,
        lambda n: FaultPlan(piece=n),
    ),
    "slow_first_byte": fault_with_argument(
        "slow_first_byte:SECONDS (1) nothing is sent for that long", "1", _DELAY, lambda s: FaultPlan(delay=s)
    ),
    "stall": fault("nothing, not even headers, until release()", FaultPlan(hold=True)),
    "stall_after_headers": _body(
        "headers, then nothing until release()", lambda frames: (WaitForRelease(), *frames)
    ),
    "stall_mid_event": _body(
        "half of the first event, then nothing until release()",
        lambda frames: (halves(frames[0])[0], WaitForRelease(), halves(frames[0])[1], *frames[1:]),
    ),
    "stall_between_events": _body(
        "the first partial image, then nothing until release()", _stall_between_events
    ),
    "comments_forever": _stream(
        "only comments until release() (stream)", lambda frames: (WaitForRelease(comments=True), *frames)
    ),
    "cut_mid_event": _body(
        "a clean end of the body in the middle of the last event",
        lambda frames: (*frames[:-1], halves(frames[-1])[0]),
    ),
    "eof_without_completed": _stream("a clean end after the partial images", lambda frames: frames[:-1]),
    "eof_after_partials": fault_with_argument(
        "eof_after_partials:N (1) a clean end after N partial images",
        "1",
        _COUNT,
        lambda n: FaultPlan(transform=lambda frames: frames[:-1][:n], stream_only=True),
    ),
    "fewer_partials": fault_with_argument(
        "fewer_partials:N (0) at most N partial images, then the image",
        "0",
        _COUNT,
        lambda n: FaultPlan(transform=lambda frames: (*frames[:-1][:n], frames[-1]), stream_only=True),
    ),
    "fewer_images": fault_with_argument(
        "fewer_images:N (1) at most N images, for any n", "1", _IMAGES, lambda n: FaultPlan(max_images=n)
    ),
    "completed_without_blank_line": _body(
        "the body ends right after the JSON of the completed event",
        lambda frames: (*frames[:-1], Frame(FINAL, closed=False)),
    ),
    "reset_after_body": fault(
        "TCP reset after the request was read, without a response", FaultPlan(hang_up="reset")
    ),
    "close_after_body": fault(
        "clean close after the request was read, without a response", FaultPlan(hang_up="close")
    ),
    "reset_mid_stream": _body("TCP reset in the middle of the second event", _break_second("reset")),
    "cut_chunked_body": _body(
        "close in the middle of a chunked body, without its last chunk", _break_second("close")
    ),
    "short_content_length": fault(
        "a body shorter than the declared Content-Length", FaultPlan(overlong=True)
    ),
    "malformed_chunk": _body(
        "after the headers and the first partial image a chunk size that is no number; the connection stays open",
        lambda frames: (*first_partial(frames), HangUp("bad_chunk")),
    ),
    "gzip": fault("a JSON response with Content-Encoding: gzip", FaultPlan(gzip=True)),
    "json_instead_of_sse": fault("a JSON response to a stream request", FaultPlan(kind="json")),
    "sse_instead_of_json": fault("a stream in response to a request without stream", FaultPlan(kind="sse")),
    "moderation_mid_stream": _error_event(", moderation_blocked", _nest(_BLOCKED)),
    "error_event_nested": _error_event(" with an error inside", _nest(_SERVER)),
    "error_event_bare": _error_event(" of an error object only", {"error": _SERVER}),
    "error_event_flat": _error_event(" without an inner object", _FLAT),
    "error_event_server": _error_event(", image_generation_failed", _nest(_FAILED)),
    "unknown_event": _stream(
        "an event of an unknown type comes first",
        lambda frames: (Event("image_generation.queued", _QUEUED), *frames),
    ),
    "ping_event": _stream(
        "an event `ping` with an empty object comes first", lambda frames: (Event("ping", {}), *frames)
    ),
    "done_marker": _stream("[DONE] follows the completed event", lambda frames: (*frames, _DONE)),
    "done_without_completed": _stream(
        "[DONE] in place of the completed event", lambda frames: (*frames[:-1], _DONE)
    ),
    "keepalive_comments": _dialect("a comment before every event", Dialect(comments=True)),
    "crlf": _dialect("lines of the stream end in CR LF", Dialect(line_end=b"\r\n")),
    "cr": _dialect("lines of the stream end in CR alone", Dialect(line_end=b"\r")),
    "bom": _dialect("the stream begins with a byte order mark", Dialect(byte_order_mark=True)),
    "no_event_line": _dialect("events have a data line only", Dialect(event_line=False)),
    "invalid_base64": _base64(
        "characters that are not base64 in the middle of it",
        lambda text: text[: len(text) // 2] + b"!*?" + text[len(text) // 2 :],
    ),
    "escaped_base64": _base64(
        r"base64 with the JSON escapes \/, \u002B and \u003d",
        lambda text: text.replace(b"/", b"\\/").replace(b"+", b"\\u002B").replace(b"=", b"\\u003d"),
    ),
    "data_url_base64": _base64("base64 after a data: URL prefix", _make_data_url),
    "urlsafe_base64": _base64(
        "base64 in the url-safe alphabet", lambda text: text.translate(bytes.maketrans(b"+/", b"-_"))
    ),
    "unpadded_base64": _base64("base64 without its padding", _strip_padding),
    "wrapped_base64": _base64(
        "base64 with a newline after every 76 characters",
        lambda text: b"\\n".join(text[start : start + 76] for start in range(0, len(text), 76)),
    ),
    "null_b64": _dialect("b64_json is null", Dialect(base64=lambda _: b"null")),
    "empty_b64": _base64("b64_json is an empty string", lambda _: b""),
    "url_answer": _dialect("the image as an absolute url", Dialect(links="absolute")),
    "relative_url_answer": _dialect("the image as a relative url", Dialect(links="relative")),
    "data_url_answer": _dialect("the image as a data: url in `url`", Dialect(links="data")),
    "missing_fields": _dialect("everything but the image is missing or null", Dialect(sparse=True)),
    "empty_data": _dialect("a JSON response whose data is empty", Dialect(empty_data=True)),
    "huge_picture": fault_with_argument(
        "huge_picture:MB (16) an image of that many megabytes",
        "16",
        MEGABYTES,
        lambda megabytes: FaultPlan(image_megabytes=megabytes),
    ),
}
