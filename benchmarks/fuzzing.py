"""Whether a damaged answer comes to what is promised: a result that holds, or an error of ours that tells no secret.

Rules: what is found is told in words, one line for each broken promise. The decoder is driven as the client drives it:
pieces in, events out, then the end, the result, the pictures that were whole. Foreign exceptions are findings, and so
are a picture that was lost, a sink that was left open, memory out of proportion, and an error that cannot be printed or
pickled.
"""

import math
import pickle
import re
import tracemalloc
from collections.abc import Iterable
from typing import Any

from attrs import asdict, field, frozen, mutable

from benchmarks.corpus import KEY, PROMPT
from benchmarks.mutating import Case, pieces
from benchmarks.plainly import pictures_of_events, pictures_of_json
from openai_images.errors import (
    APIStatusError,
    ImagesError,
    ModerationBlockedError,
    ResponseTooLargeError,
    StreamInterruptedError,
)
from openai_images.models.completeness import NO_IMAGE, flaw_of
from openai_images.models.image import Image
from openai_images.models.results import CompletedImage, Event, ImageResult, PartialImage
from openai_images.models.usage import TokenDetails, Usage
from openai_images.wire import headers as header
from openai_images.wire.base64_decoder import MAX_IMAGE_BYTES, MemorySink
from openai_images.wire.error_mapping import ResponseContext, error_from_body
from openai_images.wire.response import ResponseDecoder
from openai_images.wire.sse import SSEFramer

__all__ = ["Outcome", "Sinks", "broken", "outcome", "where"]

NOW = 1_795_000_000.0
"""When the answers came, in Unix seconds."""

_LONGEST = 5_000
_BASE64 = re.compile(r"(?![0-9]{150})[A-Za-z0-9+/]{150}")  # a number is none
_EXTRA = re.compile(r"extra=<.*?>(?=[,)])", re.DOTALL)  # the names of fields, which are the server's
_PER_BYTE, _BESIDES = 100, 2_000_000
"""Bytes of memory that a byte of JSON may take, decoded as densely as can be; and what it takes to begin."""


@mutable
class Sinks:
    """Makes sinks, and counts how they ended."""

    begun: int = 0
    ended: int = 0

    def __call__(self) -> "CountedSink":
        """One more."""
        self.begun += 1
        return CountedSink(self)


class CountedSink(MemorySink):
    """A sink in memory that says when it is over, and sees that nothing happens to it after that."""

    def __init__(self, sinks: Sinks) -> None:
        """Tell these."""
        super().__init__()
        self._sinks: Sinks | None = sinks

    def write(self, data: bytes, /) -> None:
        """Take the next bytes."""
        assert self._sinks is not None, "a sink that was over was written to"
        super().write(data)

    def finish(self) -> Image:
        """The picture."""
        self._end()
        return super().finish()

    def discard(self) -> None:
        """No picture."""
        self._end()
        super().discard()

    def _end(self) -> None:
        assert self._sinks is not None, "a sink was ended twice"
        self._sinks.ended += 1
        self._sinks = None


@frozen
class Outcome:
    """What came of an answer: its events, and a result or an error; `kept` are the pictures that were whole besides.

    `damaged` is what came in the place of others.
    """

    events: list[Event]
    result: ImageResult | None
    error: ImagesError | None = field(eq=False)
    said: str
    kept: list[Image]
    damaged: list[Image]
    reasons: list[ImagesError] = field(eq=False, factory=list[ImagesError])


def outcome(
    answered: ResponseContext,
    chunks: Iterable[bytes],
    sinks: Sinks,
    max_picture_bytes: int = MAX_IMAGE_BYTES,
) -> Outcome:
    """What the client would make of it."""
    events: list[Event] = []
    if answered.status >= 300:
        refusal = error_from_body(answered, b"".join(chunks))
        return Outcome(events, None, refusal, f"{type(refusal).__name__}: {refusal}", [], [])
    reader = ResponseDecoder(answered, sinks, max_picture_bytes)
    life = 0
    try:
        for chunk in chunks:
            events += reader.feed(chunk)
            assert reader.activity >= life, "life went back"
            life = reader.activity
        events += reader.finish()
        result = reader.result([event for event in events if isinstance(event, CompletedImage)])
    except ImagesError as error:
        said = f"{type(error).__name__}: {error}"
        return Outcome(events, None, error, said, reader.undelivered_images(), reader.damaged())
    finally:
        reader.discard()
    return Outcome(events, result, None, "", [], reader.damaged(), reader.errors())


def broken(damaged: Case, seed: int, *, thorough: bool) -> list[str]:
    """The promises that this answer broke. `thorough`: memory is measured, and other pieces must come to the same."""
    answered = ResponseContext(damaged.status, damaged.headers, (KEY, PROMPT), NOW)
    sinks = Sinks()
    found: list[str] = []
    try:
        if thorough:
            tracemalloc.start()
        came = outcome(answered, pieces(damaged, seed), sinks)
        if thorough:
            found += _memory(tracemalloc.get_traced_memory()[1], len(damaged.body))
            tracemalloc.stop()
            whole = outcome(answered, [damaged.body], Sinks())
            found += _same(came, whole)
        found += _judged(answered, came)
        found += _lost(damaged, came)
        if sinks.begun != sinks.ended:
            found.append(f"{sinks.begun} sinks were begun and {sinks.ended} ended")
        found += _refused(answered, damaged.body)
        found += _headers(damaged)
        _framed(damaged.body, pieces(damaged, seed))
    except Exception as error:  # noqa: BLE001  this is what is looked for
        found.append(f"{type(error).__name__}: {str(error)[:200]}, raised {where(error)}")
    finally:
        if tracemalloc.is_tracing():
            tracemalloc.stop()
    return found


def where(error: BaseException) -> str:
    """The place where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "nowhere" if trace is None else f"in {trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}"


def _memory(peak: int, nbytes: int) -> list[str]:
    most = _PER_BYTE * nbytes + _BESIDES
    return [f"{peak:,} bytes of memory for a body of {nbytes:,}"] if peak > most else []


def _same(one: Outcome, other: Outcome) -> list[str]:
    """Pieces do not matter: NaN, which is never the same as itself, cannot get so far."""
    return (
        []
        if one == other
        else [f"other pieces, another outcome: {one.said or 'a result'} / {other.said or 'a result'}"]
    )


def _lost(damaged: Case, came: Outcome) -> list[str]:
    """Pictures that a plain reader finds; behind an error of its stream, and behind too many, there may be more."""
    if damaged.status >= 300 or isinstance(came.error, ResponseTooLargeError):
        return []
    there = pictures_of_json(damaged.body)
    if came.error is None or isinstance(came.error, StreamInterruptedError):
        there += pictures_of_events(damaged.body)
    images = () if came.result is None else came.result.images
    here = {image.data for image in (*images, *came.kept, *came.damaged) if image.nbytes}
    # A word such as "null" in the place of base64 is no loss.
    there = [picture for picture in there if len(picture) >= 16 or flaw_of([picture]) != NO_IMAGE]
    lost = sum(picture not in here for picture in there)
    return [f"{lost} of {len(there)} pictures were lost"] if lost else []


def _judged(answered: ResponseContext, came: Outcome) -> list[str]:
    found: list[str] = []
    if came.error is not None:
        found += _of_error(answered, came.error)
    if came.result is not None:
        found += _of_result(came.result)
    for event in came.events:
        if isinstance(event, PartialImage | CompletedImage):
            found += _of_image(event.image)
            found += _counts(event, "image_index", "partial_image_index", "created_at", "sequence_number")
        found += _shown(repr(event), secret=False)
    given = () if came.result is None else came.result.images
    flawed = [image for image in (*given, *came.kept) if image.flaw is not None]
    found += [f"{len(flawed)} that are no whole pictures were given as such"] if flawed else []
    found += [line for error in came.reasons for line in _of_error(answered, error)]
    return found + [line for image in (*came.kept, *came.damaged) for line in _of_image(image)]


# Results


def _of_result(result: ImageResult) -> list[str]:
    found = [] if result.images else ["a result without a picture"]
    for image in result.images:
        found += _of_image(image)
    found += _counts(result, "created")
    found += _of_usage(result.usage)
    found += [] if result.svg_usage is None else _counts(result.svg_usage, *_TOKENS, "reasoning_tokens")
    return found + _shown(repr(result), secret=False) + _pickled(result)


_TOKENS = ("input_tokens", "output_tokens", "total_tokens")


def _of_usage(usage: Usage | None) -> list[str]:
    if usage is None:
        return []
    details = (usage.input_tokens_details, usage.output_tokens_details)
    kinds = [
        _counts(kind, "image_tokens", "text_tokens") for kind in details if isinstance(kind, TokenDetails)
    ]
    return sum(kinds, _counts(usage, *_TOKENS))


def _of_image(image: Image) -> list[str]:
    """Bytes or a URL; of the bytes, as many as it says."""
    if image.nbytes:
        sides = (image.width, image.height)
        real = all(side is None for side in sides) or all(
            isinstance(side, int) and side > 0 for side in sides
        )
        found = [] if real else [f"a picture of {sides} pixels"]
        return (
            found if len(image.data) == image.nbytes else [*found, "a picture that is not as long as it says"]
        )
    return [] if isinstance(image.url, str) and image.url else ["a picture that has neither bytes nor a URL"]


def _counts(value: Any, *names: str) -> list[str]:
    fields = asdict(value, recurse=False)
    return [
        f"{type(value).__name__}.{name} is {str(fields[name])[:40]!r}"
        for name in names
        if name in fields and fields[name] is not None and not _is_count(fields[name])
    ]


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= 2**53


# Errors


def _of_error(answered: ResponseContext, error: ImagesError) -> list[str]:
    found = (
        _shown(str(error), secret=True)
        + _shown(repr(error), secret=True)
        + _shown(repr(vars(error)), secret=True)
    )
    found += _pickled(error)
    if not str(error).strip() or len(str(error)) > _LONGEST:
        found.append(f"a text of {len(str(error))} characters")
    if error.safe_to_resend and (error.maybe_billed or answered.status < 300):
        found.append(f"{type(error).__name__} with {answered.status} is safe to send again")
    return found + (_of_status_error(answered, error) if isinstance(error, APIStatusError) else [])


def _of_status_error(answered: ResponseContext, error: APIStatusError) -> list[str]:
    found = [
        f"{name} is a {type(value).__name__}"
        for name, value in (("code", error.code), ("type", error.type), ("param", error.param))
        if value == "" or type(value) not in (str, type(None))
    ]
    if error.status_code != answered.status:
        found.append(f"status {error.status_code} instead of {answered.status}")
    wait = error.retry_after
    if wait is not None and not 0 < wait < math.inf:
        found.append(f"a wait of {wait}")
    if isinstance(error, ModerationBlockedError):
        texts = (*error.categories, error.stage)
        found += [] if all(type(text) is str and text for text in texts) else [f"moderation said {texts}"]
    return found


def _shown(text: str, *, secret: bool) -> list[str]:
    """What may be read by anyone: base64 nowhere, the key and the prompt in no error, and all of it can be printed."""
    text = text if secret else _EXTRA.sub("", text)
    found = ["base64 is shown"] if _BASE64.search(text) else []
    try:
        text.encode()
    except UnicodeEncodeError:
        found.append("a text that cannot be encoded")
    if secret:
        found += [f"the {name} is shown" for name, sent in (("key", KEY), ("prompt", PROMPT)) if sent in text]
    return found


def _pickled(value: object) -> list[str]:
    again = pickle.loads(pickle.dumps(value))  # noqa: S301  our own, made a moment ago
    same = str(again) == str(value) if isinstance(value, ImagesError) else again == value
    return [] if same else [f"{type(value).__name__} comes out of a pickle as something else"]


# Parts by themselves


def _refused(answered: ResponseContext, body: bytes) -> list[str]:
    """The same body as a refusal."""
    status = answered.status if answered.status >= 300 else (400, 429, 500, 503)[len(body) % 4]
    refusal = ResponseContext(status, answered.headers, answered.secrets, answered.now)
    return _of_error(refusal, error_from_body(refusal, body))


def _headers(damaged: Case) -> list[str]:
    text = damaged.body[:2_000].decode("utf-8", "replace")
    found: list[str] = []
    for words in (text, *damaged.headers.values()):
        wait = header.retry_after(damaged.headers, words, NOW)
        if wait is not None and not 0 < wait < math.inf:
            found.append(f"a wait of {wait}")
        length = header.parse_duration(words)
        if length is not None and not 0 <= length < math.inf:
            found.append(f"a duration of {length}")
    for kind, limit in header.advertised_limits(damaged.headers).items():
        if not (
            0 <= limit.remaining <= limit.limit < math.inf and 0 < limit.rate < math.inf and limit.limit > 0
        ):
            found.append(f"a limit of {kind}: {limit}")
    assert header.should_retry(damaged.headers) in (True, False, None)
    return found


def _framed(body: bytes, chunks: Iterable[bytes]) -> None:
    """Frames are the same for any pieces."""

    def tokens(parts: Iterable[bytes]) -> list[object]:
        framer, data, found = SSEFramer(), b"", list[object]()
        for part in parts:
            for token in framer.feed(part):
                if isinstance(token, bytes):
                    data += token
                else:
                    found.append((data, token))
                    data = b""
        return [*found, data, framer.has_data]

    assert tokens([body]) == tokens(chunks), "other pieces, other frames"
