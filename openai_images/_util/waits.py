"""Describes long waits: why, and until when.

Invariants: times are parameters, in seconds; of waits with the same cause only one is logged, unless it ended early.
Must not: wait.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

LONG_WAIT = 5.0
"""Seconds; only longer waits are described."""
LOG_INTERVAL = 60.0
"""Seconds after the end of a logged wait within which others may end that are not logged."""

_DAY, _YEAR, _MAX_CAUSES = 86_400.0, 366 * 86_400.0, 100

_log = logging.getLogger("openai_images")


def describe_end(seconds: float, wall: float) -> str:
    """Describe the end of a wait that has `seconds` left: `until 14:05:09, 12 s from now`."""
    if seconds > _YEAR:
        return "without an end"
    end = datetime.fromtimestamp(wall + seconds).astimezone()
    when = end.strftime("%H:%M:%S" if seconds < _DAY else "%Y-%m-%d %H:%M")
    return f"until {when}, {seconds:.0f} s from now"


class Wait(NamedTuple):
    """A long wait: its end by the monotonic clock, and its cause as the beginning of a sentence."""

    end: float
    cause: str

    def describe(self, now: float, wall: float) -> str:
        """Describe the cause and the end."""
        return f"{self.cause}, {describe_end(max(0.0, self.end - now), wall)}"


class OpenWaits:
    """Waits whose end is unknown, such as writes to a disk."""

    def __init__(self) -> None:
        self._begins = dict[object, float]()

    @contextmanager
    def hold(self, now: float) -> Generator[None]:
        """Record a wait that begins now; it lasts until the block is left."""
        key = object()
        self._begins[key] = now
        try:
            yield
        finally:
            del self._begins[key]

    def reason(self, cause: str, now: float, wall: float) -> str | None:
        """Describe the longest wait, by its cause and its begin; None if all are short."""
        begin = min(tuple(self._begins.values()), default=now)
        if now - begin <= LONG_WAIT:
            return None
        return f"{cause} since {datetime.fromtimestamp(wall - (now - begin)).astimezone():%H:%M:%S}"


class LongWaits:
    """The long waits of a client's calls between two attempts, or of one call."""

    def __init__(self, client: LongWaits | None = None) -> None:
        """Also add the waits of a call to those of its `client`."""
        self._waits = dict[object, Wait]()
        self._client = client
        self._logged = dict[str, float]()  # by cause, the time until which others are not logged

    @contextmanager
    def hold(self, cause: str, seconds: float, now: float, wall: float) -> Generator[Wait | None]:
        """Log a wait that begins now, unless it is short; it lasts until the block is left."""
        if self._client is not None:
            with self._client.hold(cause, seconds, now, wall) as wait, self._keep(wait):
                yield wait
            return
        wait = Wait(now + seconds, cause)
        if seconds <= LONG_WAIT:
            yield None
            return
        is_logged = wait.end > self._logged.get(cause, -math.inf) + 1
        if is_logged:
            if len(self._logged) >= _MAX_CAUSES:
                self._logged.clear()
            self._logged[cause] = wait.end + LOG_INTERVAL
            _log.warning("%s", wait.describe(now, wall))
        try:
            with self._keep(wait):
                yield wait
        except BaseException:
            if is_logged:
                self._logged.pop(cause, None)
            raise

    @contextmanager
    def _keep(self, wait: Wait | None) -> Generator[None]:
        key = object()
        if wait is not None:
            self._waits[key] = wait
        try:
            yield
        finally:
            self._waits.pop(key, None)

    def reason(self, now: float, wall: float) -> str | None:
        """Describe the wait that ends last; None without one."""
        waits = tuple(self._waits.values())  # a copy, as another thread may add one
        return max(waits).describe(now, wall) if waits else None
