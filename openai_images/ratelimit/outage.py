"""Counts failures to reach the server of shared limits, and decides when it is unreachable and when that is an error.

Invariants: an outage begins with the first request to the server that was not answered, and is logged once.
Must not: wait, or reach a server.
"""

from __future__ import annotations

import logging
import math
from datetime import datetime

from attrs import define

from openai_images.errors import SharedLimitError
from openai_images.models.options import Timing

_log = logging.getLogger("openai_images")

_LONGEST = 60.0  # seconds
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0  # seconds between attempts to reach the server
_REFUSING = 5.0  # seconds after an outage became an error in which calls fail without another attempt


@define(eq=False)
class Outage:
    """Since when the server has been away, until when it is awaited, and why."""

    since: float
    until: str
    last_at: float
    reason: str = ""
    failures: int = 0
    is_told: bool = False
    refused_at: float = math.inf

    def is_over(self, now: float) -> bool:
        """Whether the server was asked last so long ago that the next failure is another outage."""
        return now - self.last_at > _LONGEST


class Outages:
    """The outage that lasts, if there is one."""

    def __init__(self, server: str, timing: Timing) -> None:
        """`server` is its description, without secrets."""
        self._server = server
        self._timing = timing
        self._outage: Outage | None = None

    @property
    def wait_reason(self) -> str | None:
        """Why nothing is sent and until when; None while the server answers."""
        outage = self._outage
        if outage is None or not outage.is_told or outage.is_over(self._timing.monotonic()):
            return None
        return self._describe(outage)

    def record_failure(self, reason: str, asked_at: float) -> float | None:
        """Count a failure; return the seconds until the next attempt, None after a minute."""
        outage = self._continue(reason, asked_at)
        outage.failures += 1
        if outage.failures == 2:  # a connection that was closed while idle fails once
            self._tell(outage)
        if outage.last_at - outage.since >= _LONGEST:
            outage.refused_at = outage.last_at
            return None
        return min(_FIRST_DELAY * 2.0 ** min(outage.failures - 1, 10), _LONGEST_DELAY)

    def record_silence(self, asked_at: float) -> None:
        """Say that there has been no answer for too long; the attempt goes on."""
        self._tell(self._continue("no answer", asked_at))

    def record_answer(self) -> None:
        """End the outage."""
        outage, self._outage = self._outage, None
        if outage is not None and outage.is_told:
            _log.warning("the shared limit at %s is reached again", self._server)

    def raise_if_refusing(self) -> None:
        """Raise the last attempt's error again, if that was just now: many calls must not wait one after the other."""
        outage = self._outage
        if outage is not None and 0 <= self._timing.monotonic() - outage.refused_at < _REFUSING:
            raise self.error()

    def error(self) -> SharedLimitError:
        """Return what a call raises after a minute."""
        reason = "" if self._outage is None else f" ({self._outage.reason})"
        return SharedLimitError(
            f"the Redis server {self._server} could not be reached for {_LONGEST:.0f} s{reason}, so "
            "nothing was sent; check Limits(shared=…) and that the server is up"
        )

    def _continue(self, reason: str, asked_at: float) -> Outage:
        """Return the outage that lasts, or a new one since `asked_at`."""
        now, outage = self._timing.monotonic(), self._outage
        if outage is None or outage.is_over(now):
            end = self._timing.wall() + _LONGEST - (now - asked_at)
            until = datetime.fromtimestamp(end).astimezone()
            outage = self._outage = Outage(asked_at, until.strftime("%H:%M:%S"), now)
        outage.reason, outage.last_at = reason, now
        return outage

    def _tell(self, outage: Outage) -> None:
        if not outage.is_told:
            outage.is_told = True
            _log.warning("%s", self._describe(outage))

    def _describe(self, outage: Outage) -> str:
        text = f"the shared limit at {self._server} cannot be reached ({outage.reason}): nothing is sent"
        return f"{text}, trying until {outage.until}" if outage.refused_at == math.inf else text
