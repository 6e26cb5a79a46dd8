"""When identical failures of many calls end them, as further spending makes no sense.

Invariants: a failure counts if it may have cost money, or is about the account and not the prompt; two are identical
if class, status and the server's code are. A success resets all counts, another failure does not. While a streak is
in doubt nothing new is sent: what is in flight may still end it.
"""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from typing import TypeAlias

from openai_images.errors import (
    AuthenticationError,
    DownloadError,
    ImagesError,
    ModerationBlockedError,
    NotFoundError,
    PartialResultError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitError,
)
from openai_images.many.scheduler import Scheduler
from openai_images.models.results import ImageResult

DEFAULT_IDENTICAL_FAILURES = 5

_MOST_KINDS = 64
"""Kinds that are counted at a time: a server that makes up a code for each answer is not to fill the memory."""


class UnsentOSError(OSError):
    """The disk takes no image, so the request was not sent."""


FailureKind: TypeAlias = tuple[type[BaseException], object, str]


def failure_kind(error: BaseException) -> FailureKind | None:
    """What identical failures have in common; None for those that are the request's own, or cost nothing."""
    if isinstance(error, OSError) and not isinstance(error, ImagesError):
        return None if isinstance(error, UnsentOSError) else (OSError, error.errno, "")
    if isinstance(error, ModerationBlockedError) or (
        isinstance(error, DownloadError) and _only_fetched(error.response)
    ):
        return None
    refused = isinstance(error, AuthenticationError | PermissionDeniedError | NotFoundError)
    if not refused and not getattr(error, "maybe_billed", False):
        return None
    status, code = getattr(error, "status_code", None), getattr(error, "code", None)
    return type(error), status if isinstance(status, int) else None, code if isinstance(code, str) else ""


def ends_all(error: BaseException) -> bool:
    """Whether it ends many calls at once: money is used up, or a rate limit that was waited for too long."""
    return isinstance(error, QuotaExhaustedError) or (
        isinstance(error, RateLimitError) and error.safe_to_resend
    )


class FailureStreak:
    """Counts identical failures with no success between; `limit` of them are enough, None: none ever are.

    `verdict` is the exception that says so, until something succeeds all the same: what is in flight by then may.
    """

    def __init__(self, limit: int | None) -> None:
        """Nothing has failed yet."""
        self._limit = limit
        self._counts: Counter[FailureKind] = Counter()
        self.verdict: ImagesError | OSError | None = None

    def succeeded(self, result: ImageResult) -> None:
        """One was answered with pictures."""
        if not _only_fetched(result):
            self._counts.clear()
            self.verdict = None

    def failed(self, error: ImagesError | OSError) -> None:
        """Count a failure; where it is one too many, the verdict is of the same class, with all that it has."""
        if isinstance(error, PartialResultError):
            self.succeeded(error.result)
            return
        kind = failure_kind(error)
        if kind is None or self._limit is None:
            return
        if kind not in self._counts and len(self._counts) >= _MOST_KINDS:
            self._counts.clear()
        self._counts[kind] += 1
        if self.verdict is None and self._counts[kind] >= self._limit:
            self.verdict = _ended_by(error, self._limit)


def _only_fetched(result: object) -> bool:
    """Whether no request was made for it: its pictures were paid for in an earlier run."""
    return isinstance(result, ImageResult) and not result.attempts


def _ended_by(error: ImagesError | OSError, limit: int) -> ImagesError | OSError:
    times = "a failure" if limit == 1 else f"{limit} identical failures in a row"
    words = f"stopped after {times} and no success, and nothing more was sent; the last one"
    if isinstance(error, OSError) and not isinstance(error, ImagesError):
        told: ImagesError | OSError = OSError(
            error.errno, f"{words}: {error.strerror or error}", error.filename
        )
    else:
        told = copy.copy(error)
        told.args = (f"{words}: {error}", *error.args[1:])
    told.__cause__ = error
    return told


class Doubt:
    """`judge` after each end of a call; `passed` before each is sent."""

    def __init__(self, limit: int | None, scheduler: Scheduler) -> None:
        """There is none before `limit` identical failures."""
        self.streak = FailureStreak(limit)
        self._scheduler = scheduler
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def is_open(self) -> bool:
        """Whether nothing new is to be started."""
        return self.streak.verdict is not None

    def judge(self) -> ImagesError | OSError | None:
        """What ends all of it, None while nothing does."""
        verdict = self.streak.verdict
        if verdict is not None and self._scheduler.has_sent:
            self._settled.clear()
            return None
        if verdict is not None and self._scheduler.has_more:
            return verdict
        self.streak.verdict = None
        self._settled.set()
        return None

    async def passed(self, ticket: int) -> None:
        """Wait while it is open whether this is to be sent."""
        while not self._settled.is_set():
            self._scheduler.wait(ticket)
            await self._settled.wait()
