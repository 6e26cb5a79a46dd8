"""Whether a kept connection is still open, looked at right before the first byte of a request goes out.

Invariants: only public interfaces of asyncio; reads nothing. Must not: wait for the network. A server that closes the
connection while the request is under way cannot be noticed from here.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Any

from aiohttp.http import StreamWriter

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

_TURNS = 4
"""Turns of the loop, in which it reads an end: asyncio needs two. TLS has something to read without one, too."""


async def is_open(writer: AbstractStreamWriter) -> bool:
    """Whether a request that is written now would go out, for all that has arrived here."""
    for _ in range(_TURNS):
        if not isinstance(writer, StreamWriter):
            return True
        if writer.transport is None or writer.transport.is_closing():
            return False
        if not _is_readable(writer.transport.get_extra_info("socket")):
            return True
        await asyncio.sleep(0)
    return writer.transport is not None and not writer.transport.is_closing()


def _is_readable(sock: Any) -> bool:
    """Whether something came that the loop has not read yet: before a request that can hardly be but an end."""
    try:
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([sock], [], [], 0)[0])
    except (OSError, TypeError, ValueError):  # no socket, or a closed one
        return False
