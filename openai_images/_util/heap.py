"""Settings of glibc's allocator for images: keep freed memory, or return it. No effect with other C libraries.

By default glibc returns freed megabytes to the system immediately; new pages for the next image cost more than decoding
it. Invariants: nothing here raises; a function changes only the settings that it names.
Must not: be imported by modules that do not handle images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache

_FREED = 33_000_000
"""Bytes, just below 32 MiB: the largest size to which glibc adapts its thresholds (M_MMAP_THRESHOLD in mallopt(3))."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_THRESHOLD = 32 * 1024 * 1024


@cache
def adapt_to_images() -> None:
    """Let the allocator keep up to 64 MB of freed memory: glibc does so after a block of half that size was freed.

    Takes some microseconds, once per process: the block is never written, and only tracemalloc sees it.
    """
    if not sys.flags.dev_mode:  # the debug allocator would write to the whole block
        with suppress(MemoryError):
            bytes(_FREED)


def keep_freed(nbytes: int) -> None:
    """Let the allocator keep up to `nbytes` of freed memory while the process runs; only for the package's programs."""
    if (mallopt := _libc("mallopt")) is not None and _libc("malloc_trim") is not None:
        mallopt(_M_TRIM_THRESHOLD, nbytes)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)


def give_back() -> None:
    """Return all freed memory to the system; the allocator keeps its thresholds."""
    if (malloc_trim := _libc("malloc_trim")) is not None:
        malloc_trim(0)


def _libc(name: str) -> Callable[..., object] | None:
    """Return a function of the C library, or None if it lacks it; only glibc has `malloc_trim`."""
    with suppress(ImportError, OSError, AttributeError, TypeError):  # TypeError: Windows
        import ctypes  # noqa: PLC0415  the import takes milliseconds; most programs do not need it

        function: Callable[..., object] = getattr(ctypes.CDLL(None), name)
        return function
    return None
