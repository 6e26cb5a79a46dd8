"""The decoder's fast path against its exact one: `python -m benchmarks fast_path [--count 30000] [--seed 1]`.

Rules: each case is a stream of the corpus with larger images, as it is or damaged, cut anywhere; it is decoded
twice, once without the fast path. Events, images, errors and their texts must be identical. Each case comes from the
seed and its number, so that `--first N --count 1` has it again; a quarter has a limit that its images may exceed.
"""

import argparse
import base64
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from random import Random
from unittest.mock import patch

from attrs import frozen

from benchmarks.corpus import Answer, answers, images
from benchmarks.fuzz_cases import Case, case, pieces
from benchmarks.fuzz_decoder import NOW, Outcome, Sinks, outcome
from openai_images.wire.base64_decoder import MAX_IMAGE_BYTES, Base64Decoder
from openai_images.wire.error_mapping import ResponseContext

_SIZES = (12_001, 30_002, 60_003)
"""Bytes to add to each image; the fast path decodes pieces of some kilobytes, wherever the first one ended."""

_PIECES = (1, 99, 1_448, 4_096, 4_097, 4_098, 4_099, 9_000)


@frozen
class Compared:
    """How many pieces took the fast path, and the first line in which the two outcomes differ ("" if in none)."""

    fast_pieces: int
    difference: str


def large_answers() -> list[Answer]:
    """Return the streams of the corpus that have images, with larger ones; JSON bodies have no fast path."""
    found: list[Answer] = []
    for size in _SIZES:
        large = answers({name: _enlarged(text, size) for name, text in images().items()})
        found += [
            answer for answer in large.values() if len(answer.body) > size and b"data: {" in answer.body
        ]
    return found


def _enlarged(text: str, size: int) -> str:
    """Return the base64 of this image with so many bytes more; a PNG stays whole."""
    data, noise = base64.b64decode(text), Random(size).randbytes(size)  # noqa: S311  repeatable, not secret
    if data.startswith(b"\x89PNG"):
        noise = struct.pack(">I4s", size, b"tEXt") + noise + bytes(4)
    end = len(data) - 12  # the last chunk of a PNG
    return base64.b64encode(data[:end] + noise + data[end:]).decode()


def compare(corpus: list[Answer], seed: int, number: int) -> Compared:
    """Decode the case with this number in both ways."""
    damaged = case(corpus, seed, number)
    limit = MAX_IMAGE_BYTES if number % 4 else 1_000 + number % 40_000
    with _counted() as fast_pieces:
        fast = _decode(damaged, seed, limit)
    with _counted(enabled=False):
        exact = _decode(damaged, seed, limit)
    lines = zip(_lines(fast), _lines(exact), strict=True)
    found = next((f"{mine[:300]} / {other[:300]}" for mine, other in lines if mine != other), "")
    if not found and fast != exact:
        found = "equal in print only"
    return Compared(sum(fast_pieces), found and f"case {number} ({damaged.made}): {found}")


def _decode(damaged: Case, seed: int, limit: int) -> Outcome:
    answered = ResponseContext(200, damaged.headers, (), NOW)
    chunks = pieces(damaged, seed) if damaged.number % 3 == 0 else _socket_pieces(damaged, seed)
    return outcome(answered, chunks, Sinks(), limit)


def _socket_pieces(damaged: Case, seed: int) -> Iterator[bytes]:
    """Yield the body as sockets give it: packets, records, and what a timer cut off."""
    chance, start = Random(f"{seed}:{damaged.number}:socket"), 0  # noqa: S311  repeatable, not secret
    while start < len(damaged.body):
        size = chance.choice(_PIECES)
        yield damaged.body[start : start + size]
        start += size


def _lines(found: Outcome) -> list[str]:
    """Return all that can be compared as text: images show a digest of their bytes."""
    errors = [found.error, *found.reasons]
    facts = [(type(error).__name__, str(error), getattr(error, "__dict__", None)) for error in errors]
    values = found.events, found.result, found.said, found.kept, found.damaged
    return [*map(repr, values), repr(facts)]


@contextmanager
def _counted(*, enabled: bool = True) -> Generator[list[bool]]:
    """Note each piece that takes the fast path, or let none take it."""
    taken: list[bool] = []
    original = Base64Decoder.feed_plain

    def feed_plain(decoder: Base64Decoder, piece: bytes) -> bool:
        taken.append(enabled and original(decoder, piece))
        return taken[-1]

    with patch.object(Base64Decoder, "feed_plain", feed_plain):
        yield taken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks fast_path", description=__doc__)
    parser.add_argument("--count", type=int, default=30_000, help="how many (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the damage (%(default)s)")
    arguments = parser.parse_args()
    corpus = large_answers()
    taken, fast_pieces, differences = 0, 0, 0
    for number in range(arguments.first, arguments.first + arguments.count):
        compared = compare(corpus, arguments.seed, number)
        taken += compared.fast_pieces > 0
        fast_pieces += compared.fast_pieces
        if compared.difference:
            differences += 1
            print(compared.difference, flush=True)
    print(
        f"{arguments.count:,} answers, {taken:,} of them with {fast_pieces:,} pieces on the fast path, "
        f"{differences:,} with another outcome"
    )
    return int(differences > 0 or not taken)
