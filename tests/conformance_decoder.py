"""The framer as a plain generator of events, as suites of event-stream cases want it: bytes in, tuples out."""

from collections.abc import Iterable, Iterator

from openai_images.wire.sse import SSEEventEnd, SSEFramer


def decode(chunks: Iterable[bytes]) -> Iterator[tuple[str, str, str]]:
    """Yield (event, data, id) as soon as an event has ended."""
    framer, data = SSEFramer(), bytearray()
    for chunk in chunks:
        for piece in framer.feed(chunk):
            if isinstance(piece, SSEEventEnd):
                yield piece.event, data.decode("utf-8", "replace"), piece.id
                data.clear()
            else:
                data += piece
