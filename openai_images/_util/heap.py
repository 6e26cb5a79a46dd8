"""What glibc's allocator does with the memory of images that were freed; elsewhere nothing happens.

It gives megabytes back to the system as soon as they are freed, and fresh pages for the next image cost more than
decoding it. Invariants: nothing here raises; a process is changed no further than each function says.
Must not: be imported by anything that is no matter of images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

_FREED = 33_000_000
"""Bytes, just below 32 MiB: the largest size to which glibc adapts its thresholds (M_MMAP_THRESHOLD in mallopt(3))."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_THRESHOLD = 32 * 1024 * 1024


class _State:
    is_adapted = False


def adapt_to_images() -> None:
    """Let the allocator keep up to 64 MB of freed memory, as it does once a block of half that size was freed.

    Takes some microseconds, once: the block is never touched, and only tracemalloc sees it.
    """
    if not _State.is_adapted and not sys.flags.dev_mode:  # its allocator writes to what is never touched
        _State.is_adapted = True
        with suppress(MemoryError):
            bytes(_FREED)


def keep_freed(nbytes: int) -> None:
    """Let the allocator keep up to `nbytes` of freed memory until the process ends: for a program of our own."""
    if (mallopt := _libc("mallopt")) is not None and _libc("malloc_trim") is not None:
        mallopt(_M_TRIM_THRESHOLD, nbytes)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)


def give_back() -> None:
    """Give all freed memory back to the system; the allocator keeps its thresholds."""
    if (malloc_trim := _libc("malloc_trim")) is not None:
        malloc_trim(0)


def _libc(name: str) -> Callable[..., object] | None:
    """Return a function of the C library, if it has it; only glibc has `malloc_trim`."""
    with suppress(ImportError, OSError, AttributeError, TypeError):  # TypeError: Windows
        import ctypes  # noqa: PLC0415  takes milliseconds, and most programs never need it

        function: Callable[..., object] = getattr(ctypes.CDLL(None), name)
        return function
    return None
