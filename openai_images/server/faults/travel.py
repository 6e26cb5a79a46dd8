"""Faults of the way: connections that stall, break or crawl, bodies that end in the wrong place.

Rules: each works on JSON answers and on streams wherever that makes sense; "stall" lasts until `server.release()` or
until the client has gone. It refuses to change what an answer says; that is `content.py`.
"""

from collections.abc import Mapping
from typing import Final

from openai_images.server.faults.plan import Kind, Plan, fixed, taking
from openai_images.server.steps import (
    FINAL,
    CommentsUntilReleased,
    Edit,
    Frame,
    Frames,
    HangUp,
    HangUpKind,
    Hold,
    Steps,
    first_partial,
    halves,
)


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
