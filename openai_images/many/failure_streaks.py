"""Decides when identical failures end a run of many calls, because more requests would fail, too.

Invariants: a failure counts if it may have been billed, or if it is about the account and not the prompt; failures are
identical if class, status and the server's code are equal; a success resets all counts, another failure does not; at
the limit nothing new is sent while requests in flight may still succeed.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

from openai_images.errors import (
    AuthenticationError,
    DownloadError,
    ImagesError,
    ModerationBlockedError,
    NotFoundError,
    OutcomeUnknownError,
    PartialResultError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitError,
)
from openai_images.many.scheduler import Scheduler
from openai_images.models.results import ImageResult

_log = logging.getLogger("openai_images")

DEFAULT_IDENTICAL_FAILURES = 5

_MAX_KINDS = 64
"""The most kinds to count: a server that sends a new code in each response must not fill the memory."""


class UnsentOSError(OSError):
    """An image could not be written, so the request was not sent."""


FailureKind: TypeAlias = tuple[type[BaseException], object, str]


def failure_kind(error: BaseException) -> FailureKind | None:
    """Return what identical failures have in common; None for errors of one request and errors that cost nothing."""
    if isinstance(error, OSError) and not isinstance(error, ImagesError):
        return None if isinstance(error, UnsentOSError) else (OSError, error.errno, "")
    if type(error) is OutcomeUnknownError:  # a worker of a cluster died: the next request may succeed
        return None
    if isinstance(error, ModerationBlockedError) or (
        isinstance(error, DownloadError) and _only_fetched(error.response)
    ):
        return None
    is_account_error = isinstance(error, AuthenticationError | PermissionDeniedError | NotFoundError)
    if not is_account_error and not getattr(error, "maybe_billed", False):
        return None
    status, code = getattr(error, "status_code", None), getattr(error, "code", None)
    return type(error), status if isinstance(status, int) else None, code if isinstance(code, str) else ""


def ends_all(error: BaseException) -> bool:
    """Return whether the error ends the whole run: the quota is exhausted, or a rate limit lasted too long."""
    return isinstance(error, QuotaExhaustedError) or (
        isinstance(error, RateLimitError) and error.safe_to_resend
    )


class FailureStreak:
    """Counts identical failures without a success between them; `limit` of them end the run (None: never).

    `verdict` is the exception to raise; a later success of a request in flight removes it.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._counts: Counter[FailureKind] = Counter()
        self.verdict: ImagesError | OSError | None = None

    def record_success(self, result: ImageResult) -> None:
        """Reset the counts after a response with images."""
        if not _only_fetched(result):
            self._counts.clear()
            self.verdict = None

    def record_failure(self, error: ImagesError | OSError) -> None:
        """Count a failure; at the limit, set the verdict: a copy of it with another message."""
        if isinstance(error, PartialResultError):
            self.record_success(error.result)
            return
        kind = failure_kind(error)
        if kind is None or self._limit is None:
            return
        if kind not in self._counts and len(self._counts) >= _MAX_KINDS:
            self._counts.clear()
        self._counts[kind] += 1
        if self.verdict is None and self._counts[kind] >= self._limit:
            self.verdict = _verdict(error, self._limit)


def _only_fetched(result: object) -> bool:
    """Return whether no request was sent: the images were paid for in an earlier run and only downloaded."""
    return isinstance(result, ImageResult) and not result.attempts


def _verdict(error: ImagesError | OSError, limit: int) -> ImagesError | OSError:
    times = "a failure" if limit == 1 else f"{limit} identical failures without a success"
    summary = f"stopped after {times}; nothing more was sent; the last failure"
    if isinstance(error, OSError) and not isinstance(error, ImagesError):
        verdict: ImagesError | OSError = OSError(
            error.errno, f"{summary}: {error.strerror or error}", error.filename
        )
    else:
        verdict = copy.copy(error)
        verdict.args = (f"{summary}: {error}", *error.args[1:])
    verdict.__cause__ = error
    return verdict


class Doubt:
    """Holds requests back while a verdict is not final: `wait_settled` before sending.

    `judge` when fewer requests are in flight: it calls `end` with the error that ends the run.
    """

    def __init__(
        self, limit: int | None, scheduler: Scheduler, end: Callable[[ImagesError | OSError], object]
    ) -> None:
        self.streak = FailureStreak(limit)
        self._scheduler = scheduler
        self._end = end
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def is_open(self) -> bool:
        """Whether nothing new may start."""
        return self.streak.verdict is not None

    @property
    def wait_reason(self) -> str | None:
        """Why nothing is sent; None unless a verdict is not final."""
        verdict = self.streak.verdict
        if verdict is None or self._settled.is_set():
            return None
        name = type(verdict.__cause__ or verdict).__name__
        return f"identical failures ({name}): nothing is sent until the requests in flight have ended"

    def judge(self) -> None:
        """End the run if there is a verdict, unless one in flight may still succeed, or nothing is left to send."""
        verdict = self.streak.verdict
        if verdict is not None and self._scheduler.has_in_flight:
            if self._settled.is_set():
                self._settled.clear()
                _log.warning("%s", self.wait_reason)
            return
        self._settled.set()
        if verdict is not None and self._scheduler.has_more:
            self._end(verdict)
        else:
            self.streak.verdict = None

    async def wait_settled(self, ticket: int) -> None:
        """Wait until this call may be sent, or the run has ended."""
        while not self._settled.is_set():
            self._scheduler.wait(ticket)
            self.judge()  # it may have counted as the last one in flight
            await self._settled.wait()
