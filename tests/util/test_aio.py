"""Megabytes are freed one image after the other, so that the event loop runs in between."""

import asyncio
import weakref
from collections import deque

from openai_images._util.aio import free_gradually


class Image:
    """Something that can be seen to be freed."""


async def test_one_in_each_turn() -> None:
    """All are gone after as many turns."""
    images = deque([Image(), Image(), Image()])
    alive = weakref.WeakSet(images)
    counts = []
    free_gradually(images)
    for _ in range(4):
        counts.append(len(alive))
        await asyncio.sleep(0)
    assert counts == [2, 1, 0, 0]
