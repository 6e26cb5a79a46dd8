"""Time and chance, as one value that tests replace: no other module of this package asks a clock."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from attrs import frozen

__all__ = ["Timing"]


def _chance() -> float:
    # `random.random` is a method: pickled, it would take its state along, and all workers would wait alike.
    return random.random()  # noqa: S311


@frozen(kw_only=True)
class Timing:
    """`monotonic` and `wall` give seconds, `sleep` waits, `random` gives 0.0 up to 1.0."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = _chance
