"""This client's decoder by itself: bytes in memory, no socket, no event loop."""

import statistics
import time
from collections.abc import Callable

from benchmarks.payloads import SHAPES, Shape, body
from benchmarks.turn import Turn

__all__ = ["decoder_1kb", "decoder_64kb"]


async def decoder_64kb(turn: Turn) -> float:
    """How many times as much CPU the larger picture takes, in pieces as sockets give them."""
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
