"""Whether a damaged answer comes to what is promised: a result that holds, or an error of ours that tells no secret.

Rules: what is found is told in words, one line for each broken promise. The decoder is driven as the client drives it:
pieces in, events out, then the end, the result, the images that were whole. Foreign exceptions are findings, and so
are an image that was lost, a sink that was left open, memory out of proportion, and an error that cannot be printed or
pickled.
"""

import math
import tracemalloc
from collections.abc import Iterable

from attrs import field, frozen, mutable

from benchmarks.corpus import KEY, PROMPT
from benchmarks.fuzz_cases import Case, pieces
from benchmarks.fuzz_promises import (
    counts,
    images_of_events,
    images_of_json,
    of_error,
    of_image,
    of_result,
    shown,
)
from openai_images.errors import (
    ImagesError,
    ResponseTooLargeError,
    StreamInterruptedError,
)
from openai_images.models.completeness import NO_IMAGE, flaw_of
from openai_images.models.image import Image
from openai_images.models.results import CompletedImage, ImageEvent, ImageResult, PartialImage
from openai_images.wire import headers as header
from openai_images.wire.base64_decoder import MAX_IMAGE_BYTES, MemorySink
from openai_images.wire.error_mapping import ResponseContext, error_from_body
from openai_images.wire.response import ResponseDecoder
from openai_images.wire.sse import SSEFramer

NOW = 1_795_000_000.0
"""When the answers came, in Unix seconds."""

_PER_BYTE, _BESIDES = 100, 2_000_000
"""Bytes of memory that a byte of JSON may take, decoded as densely as can be; and what it takes to begin."""


@mutable
class Sinks:
    """Makes sinks, and counts how they ended."""

    begun: int = 0
    ended: int = 0

    def __call__(self) -> "CountedSink":
        self.begun += 1
        return CountedSink(self)


class CountedSink(MemorySink):
    """A sink in memory that says when it is over, and sees that nothing happens to it after that."""

    def __init__(self, sinks: Sinks) -> None:
        super().__init__()
        self._sinks: Sinks | None = sinks

    def write(self, data: bytes, /) -> None:
        assert self._sinks is not None, "a sink that was over was written to"
        super().write(data)

    def finish(self) -> Image:
        self._end()
        return super().finish()

    def discard(self) -> None:
        self._end()
        super().discard()

    def _end(self) -> None:
        assert self._sinks is not None, "a sink was ended twice"
        self._sinks.ended += 1
        self._sinks = None


@frozen
class Outcome:
    """What came of an answer: its events, and a result or an error; `kept` are the images that were whole besides.

    `damaged` is what came in the place of others.
    """

    events: list[ImageEvent]
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
    events: list[ImageEvent] = []
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
    """Images that a plain reader finds; behind an error of its stream, and behind too many, there may be more."""
    if damaged.status >= 300 or isinstance(came.error, ResponseTooLargeError):
        return []
    there = images_of_json(damaged.body)
    if came.error is None or isinstance(came.error, StreamInterruptedError):
        there += images_of_events(damaged.body)
    images = () if came.result is None else came.result.images
    here = {image.data for image in (*images, *came.kept, *came.damaged) if image.nbytes}
    # A word such as "null" in the place of base64 is no loss, nor is anything that is no image beside a URL.
    least = 16 if all(image.nbytes for image in images) else math.inf
    there = [image for image in there if len(image) >= least or flaw_of([image]) != NO_IMAGE]
    lost = sum(image not in here for image in there)
    return [f"{lost} of {len(there)} images were lost"] if lost else []


def _judged(answered: ResponseContext, came: Outcome) -> list[str]:
    found: list[str] = []
    if came.error is not None:
        found += of_error(answered, came.error)
    if came.result is not None:
        found += of_result(came.result)
    for event in came.events:
        if isinstance(event, PartialImage | CompletedImage):
            found += of_image(event.image)
            found += counts(event, "image_index", "partial_image_index", "created_at", "sequence_number")
        found += shown(repr(event), secret=False)
    given = () if came.result is None else came.result.images
    flawed = [image for image in (*given, *came.kept) if image.flaw is not None]
    found += [f"{len(flawed)} that are no whole images were given as such"] if flawed else []
    found += [line for error in came.reasons for line in of_error(answered, error)]
    return found + [line for image in (*came.kept, *came.damaged) for line in of_image(image)]


# Parts by themselves


def _refused(answered: ResponseContext, body: bytes) -> list[str]:
    """The same body as a refusal."""
    status = answered.status if answered.status >= 300 else (400, 429, 500, 503)[len(body) % 4]
    refusal = ResponseContext(status, answered.headers, answered.secrets, answered.now)
    return of_error(refusal, error_from_body(refusal, body))


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
