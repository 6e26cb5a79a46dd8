"""Every decoder gets its bytes in every way they may arrive: whole, one by one, with more behind them, cut anywhere."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TypeVar

from openai_images.errors import ImagesError

T = TypeVar("T")
Decode = Callable[[Iterable[bytes]], T]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """The data in pieces of one size."""
    return (data[at : at + size] for at in range(0, len(data), size))


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    """The data cut at these places (of any order and size)."""
    bounds = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


def ways(data: bytes) -> Iterator[list[bytes]]:
    """The ways in which the data may arrive, empty pieces among them."""
    yield [data]
    yield list(pieces(data, 1))
    yield list(pieces(data, 7))
    for seed in range(3):
        chance = random.Random(seed)
        yield cut(data, [chance.randrange(len(data) + 1) for _ in range(chance.choice([1, 4, 12]))])


def fed(decode: Decode[T], data: bytes, *, trailing: Iterable[bytes] = ()) -> T:
    """What `decode` makes of the data: the same however it is cut, and whatever comes behind it."""
    whole = decode([data])
    for more in (b"", *trailing):
        for chunks in ways(data + more):
            assert decode(chunks) == whole, (chunks[:20], more)
    return whole


def said(decode: Decode[T]) -> Decode[T | tuple[type[ImagesError], str]]:
    """`decode`, giving an error of ours as its class and text, so that it can be compared."""

    def outcome(chunks: Iterable[bytes]) -> T | tuple[type[ImagesError], str]:
        try:
            return decode(chunks)
        except ImagesError as error:
            return type(error), str(error)

    return outcome
