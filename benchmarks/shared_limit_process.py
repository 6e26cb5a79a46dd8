"""One of several processes under a shared limit: waits for a line, then lets its calls through until its time is over.

Prints "ready", and after a line the time of each grant, by the machine's clock. Its limiter's clock may be wrong.
"""

import asyncio
import sys
import time

from attrs import frozen

from openai_images import Limits, RateLimitError, Timing
from openai_images.ratelimit.limiter import Limiter
from openai_images.ratelimit.new_limiter import new_limiter

PER_MINUTE = 6000


@frozen
class Role:
    """What a process does: so many calls at once for so long, with a wrong clock, and a 429 in the middle."""

    waiters: int
    seconds: float
    skew: float
    pause: float


async def main(url: str, name: str, role: Role) -> None:
    """Wait for the line, and let the calls through."""
    skew = role.skew
    timing = Timing(monotonic=lambda: time.monotonic() + skew, wall=lambda: time.time() + skew)
    limiter = new_limiter(Limits(shared=url, name=name, images_per_minute=PER_MINUTE), timing)
    (await limiter.acquire()).release()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    end = time.time() + role.seconds
    rejecting = [reject(limiter, role.seconds / 2, role.pause)] if role.pause else []
    await asyncio.gather(*(call(limiter, end) for _ in range(role.waiters)), *rejecting)
    await limiter.aclose()


async def call(limiter: Limiter, end: float) -> None:
    """One call after another, which take no time."""
    while time.time() < end:
        slot = await limiter.acquire()
        print(f"{time.time():.6f}", flush=True)
        slot.record_success({})
        slot.release()


async def reject(limiter: Limiter, after: float, pause: float) -> None:
    """A 429 with a Retry-After of so many seconds."""
    await asyncio.sleep(after)
    slot = await limiter.acquire()
    print(f"{time.time():.6f}", flush=True)
    slot.release()
    error = RateLimitError("", status_code=429)
    error.retry_after, error.safe_to_resend = pause, True
    print(f"paused {time.time():.6f}", flush=True)
    slot.record_rejection({}, pause, error)


if __name__ == "__main__":
    url, name, *numbers = sys.argv[1:]
    waiters, seconds, skew, pause = map(float, numbers)
    asyncio.run(main(url, name, Role(int(waiters), seconds, skew, pause)))
