"""One call: its attempts, the waits between them, and what it knows when it fails.

Rules: a slot of the limiter is held only while a request is under way, never while waiting to send again; each attempt
asks for the key anew; an answer that is no success becomes its exception here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from openai_images.errors import ImagesError, RateLimitError, with_facts
from openai_images.http.retry import Spent, decide
from openai_images.models.options import RetryPolicy
from openai_images.ratelimit.limiter import Patience
from openai_images.wire.error_mapping import Answered, refusal_from_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from openai_images.http.transport import Exchange, Transport
    from openai_images.models.options import Timeouts, Timing
    from openai_images.models.outcomes import Watcher
    from openai_images.models.usage import Usage
    from openai_images.ratelimit.limiter import Limiter, Slot
    from openai_images.wire.requests import HttpRequest

_log = logging.getLogger("openai_images")

_SUCCESS = range(200, 300)
_RATE_LIMITED = 429


@frozen
class Means:
    """What every call of a client uses."""

    transport: Transport
    limiter: Limiter
    retry: RetryPolicy
    timeouts: Timeouts
    timing: Timing


class Call:
    """`open` an exchange, `again` after an error, `release` when the answer was read."""

    def __init__(  # noqa: PLR0913
        self,
        means: Means,
        build: Callable[[], Awaitable[HttpRequest]],
        secrets: Callable[[], tuple[str, ...]],
        *,
        prepare: Callable[[], Awaitable[object]] | None = None,
        images: int = 1,
        watcher: Watcher | None = None,
    ) -> None:
        """Send what `build` gives, for so many `images`; `secrets` are the texts that no error may repeat.

        `prepare` comes first and once, before a slot is taken.
        """
        self._prepare = prepare
        self._means = means
        self._build = build
        self._secrets = secrets
        self._watcher = watcher
        self._spent = Spent()
        self._started: float | None = None
        self._images = images
        self._slot: Slot | None = None
        self._headers: Mapping[str, str] = {}
        self._in_doubt = False
        self.attempts = 0
        self.request_id: str | None = None

    async def open(self) -> tuple[Exchange, Answered]:
        """An answer that is a success, after as many attempts as the policy allows. Raises `ImagesError`."""
        if self._prepare is not None:
            await self._prepare()
        if self._started is None:
            self._started = self._means.timing.monotonic()
        while True:
            try:
                return await self._attempt()
            except ImagesError as error:
                has_slot = self._slot is not None  # without one the limiter has given up
                self.release()
                if not has_slot or not await self.again(error):
                    self.failed(error)
                    raise
            except BaseException:
                self.release()
                raise

    async def again(self, error: ImagesError) -> bool:
        """Whether to send again; if so, after the wait."""
        means = self._means
        wait = decide(error, means.retry, self._spent, means.timing.random())
        if (
            wait is not None
            and wait.everyone
            and self._slot is not None
            and isinstance(error, RateLimitError)
        ):
            # Before anything is awaited, as the slot is free for the next one.
            self._slot.record_rejection(self._headers, wait.seconds, error)
        if self._watcher is not None and self.attempts and error.safe_to_resend and not self._in_doubt:
            await self._watcher.refused(error)
        _log.debug(
            "attempt %d: %s, %s",
            self.attempts,
            type(error).__name__,
            f"again in {wait.seconds:.3g} s" if wait else "given up",
        )
        if wait is None:
            return False
        self._in_doubt = self._in_doubt or error.maybe_billed
        if wait.everyone:
            self._spent = evolve(self._spent, refusals=self._spent.refusals + 1)
        else:
            self._spent = evolve(self._spent, retries=self._spent.retries + 1)
            await means.timing.sleep(wait.seconds)
        return True

    def release(self) -> None:
        """Give the limiter's slot back; harmless when called twice."""
        if self._slot is not None:
            self._slot.release()

    def used(self, usage: Usage | None) -> None:
        """Tell the limiter what the call took, where the server said it."""
        if self._slot is not None and usage is not None and usage.total_tokens is not None:
            self._slot.record_usage(usage.total_tokens)

    def facts(self) -> dict[str, Any]:
        """What results and errors carry: attempts, elapsed seconds, the request's name."""
        elapsed = 0.0 if self._started is None else self._means.timing.monotonic() - self._started
        return {"attempts": self.attempts, "elapsed": elapsed, "request_id": self.request_id}

    def failed(self, error: ImagesError) -> ImagesError:
        """The error with what the call knows, also of attempts before: one that may have been billed stays so."""
        doubt = {"maybe_billed": True} if self._in_doubt else {}
        return with_facts(error, {**self.facts(), **doubt})

    async def _attempt(self) -> tuple[Exchange, Answered]:
        means = self._means
        if self._watcher is not None:
            self._watcher.waiting()
        self._slot = None
        longest = means.retry.max_rate_limit_wait - self._spent.waited
        self._slot = await means.limiter.acquire(self._images, Patience(longest, means.retry.max_stall))
        self._spent = evolve(self._spent, waited=self._spent.waited + self._slot.waited)
        request = await self._build()
        if self._watcher is not None:
            await self._watcher.sending(self.attempts + 1)
        self.attempts += 1
        self.request_id = None
        _log.debug("attempt %d: POST, %d bytes", self.attempts, len(request.body))
        exchange = await means.transport.open(request, means.timeouts)
        self._headers = exchange.headers
        if exchange.status != _RATE_LIMITED:
            self._slot.record_success(exchange.headers)
        answered = Answered(
            exchange.status, exchange.headers, self._secrets(), means.timing.wall(), exchange.unsent
        )
        self.request_id = answered.request_id
        _log.debug("attempt %d: status %d, request %s", self.attempts, exchange.status, self.request_id)
        if exchange.status in _SUCCESS:
            return exchange, answered
        try:
            body = await exchange.read_refusal()
        finally:
            exchange.close()
        raise refusal_from_body(answered, body)
