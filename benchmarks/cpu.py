"""What the processor does: per megabyte, per call, and as images grow.

Rules: it is user and system time of the contender's process, all its threads.
"""

import statistics
import time
from collections.abc import Callable

from benchmarks.payloads import SHAPES, Shape, body
from benchmarks.turn import Tally, Turn


async def _cpu(turn: Turn) -> float:
    """CPU milliseconds of this process, user and system, for all batches."""
    async with turn.warm(turn.case.parallel) as ask:
        tally = Tally()
        start = time.process_time()
        for _ in range(turn.case.batches):
            await turn.batch(ask, tally.hand)
        used = time.process_time() - start
    turn.check(tally.nbytes, turn.case.batches * turn.case.parallel)
    return used * 1e3


async def cpu_per_mb(turn: Turn) -> float:
    """CPU milliseconds for each decoded MB."""
    megabytes = turn.case.batches * turn.case.parallel * turn.shape.decoded_bytes / 1e6
    return await _cpu(turn) / megabytes


async def cpu_per_call(turn: Turn) -> float:
    """CPU milliseconds for each call."""
    return await _cpu(turn) / (turn.case.batches * turn.case.parallel)


async def growth(turn: Turn) -> float:
    """How many times as much CPU the larger image takes: medians of calls in turn."""
    assert turn.case.larger is not None
    costs: list[list[float]] = [[], []]
    async with turn.warm() as small, turn.contender(turn.case.larger) as large:
        await large(Tally().hand)
        for _ in range(turn.case.batches):
            for ask, cost in zip((small, large), costs, strict=True):
                start = time.process_time()
                await ask(Tally().hand)
                cost.append(time.process_time() - start)
    return statistics.median(costs[1]) / statistics.median(costs[0])


async def decoder_64kb(turn: Turn) -> float:
    """How many times as much CPU the larger image takes, in pieces as sockets give them."""
    return _growth(turn, 64 * 1024)


async def decoder_1kb(turn: Turn) -> float:
    """The same in pieces of 1 KB."""
    return _growth(turn, 1024)


def _growth(turn: Turn, size: int) -> float:
    assert turn.case.larger is not None
    decoders = [_decoder(SHAPES[name], size) for name in (turn.case.shape, turn.case.larger)]
    costs: list[list[float]] = [[], []]
    for _ in range(turn.case.batches):
        for decode, cost in zip(decoders, costs, strict=True):
            start = time.process_time()
            decode()
            cost.append(time.process_time() - start)
    return statistics.median(costs[1]) / statistics.median(costs[0])


def _decoder(shape: Shape, size: int) -> Callable[[], None]:
    """A function that decodes the answer once."""
    from openai_images.models.results import CompletedImage
    from openai_images.wire.error_mapping import ResponseContext
    from openai_images.wire.response import ResponseDecoder

    content = body(shape)
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    answered = ResponseContext(200, {"content-type": "text/event-stream"}, (), 0.0)

    def decode() -> None:
        reader = ResponseDecoder(answered)
        events = [event for piece in pieces for event in reader.feed(piece)]
        events += reader.finish()
        decoded = sum(len(event.image.data) for event in events if isinstance(event, CompletedImage))
        assert decoded == shape.decoded_bytes, f"{decoded:,} bytes of {shape.decoded_bytes:,}"

    decode()
    return decode
