"""Who works off a load of prompts, each as one would write it today.

Rules: a picture counts where its bytes are those that were served; a failed call is a picture less and stops nobody
else. Imports are inside, and over before the clock starts.
"""

import asyncio
import base64
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import Factory, define

from benchmarks.contenders import KEY, MODEL, OURS, SDK
from benchmarks.loads import Load
from benchmarks.payloads import SHAPES, digests
from benchmarks.rate_limit_server import SHAPE

__all__ = ["SDK_PATIENT", "WORKERS", "Done", "Worker"]

SDK_PATIENT = f"{SDK}, 10 retries"


@define
class Done:
    """What came of a load: pictures, errors by name, and the seconds from the first prompt to the last outcome."""

    pictures: int = 0
    seconds: float = 0.0
    errors: dict[str, int] = Factory(dict[str, int])
    _right: str = Factory(lambda: digests(SHAPES[SHAPE])[0])

    def take(self, picture: bytes) -> None:
        """Count a picture."""
        assert hashlib.sha256(picture).hexdigest() == self._right, "not the picture that was sent"
        self.pictures += 1

    def fail(self, error: BaseException) -> None:
        """Count a failure."""
        name = type(error).__name__
        self.errors[name] = self.errors.get(name, 0) + 1


Worker = Callable[[str, Load], Awaitable[Done]]


def _prompts(load: Load) -> list[str]:
    return [f"a cute baby sea otter, number {number}" for number in range(load.prompts)]


async def openai_images(url: str, load: Load) -> Done:
    """This client's `generate_many`, which knows the limit where it is told."""
    from openai_images import ImagesClient, Limits, Succeeded

    limits = Limits(concurrency=load.concurrency, images_per_minute=load.per_minute if load.told else None)
    done = Done()
    async with ImagesClient(api_key=KEY, base_url=url, model=MODEL, limits=limits) as client:
        started = time.perf_counter()
        async with client.generate_many(_prompts(load), concurrency=load.concurrency) as outcomes:
            async for outcome in outcomes:
                if isinstance(outcome, Succeeded):
                    done.take(outcome.result.image.data)
                else:
                    done.fail(outcome.error)
        done.seconds = time.perf_counter() - started
    return done


def _async_openai(**options: Any) -> Worker:
    async def async_openai(url: str, load: Load) -> Done:
        """The official client behind a semaphore, as its users do it."""
        from openai import AsyncOpenAI

        done, slots = Done(), asyncio.Semaphore(load.concurrency)
        async with AsyncOpenAI(api_key=KEY, base_url=url, **options) as client:

            async def one(prompt: str) -> None:
                async with slots:
                    try:
                        response = await client.images.generate(prompt=prompt, model=MODEL)
                    except Exception as error:  # noqa: BLE001  counted, whatever it is
                        done.fail(error)
                        return
                for image in response.data or []:
                    done.take(base64.b64decode(image.b64_json or ""))

            started = time.perf_counter()
            await asyncio.gather(*map(one, _prompts(load)))
            done.seconds = time.perf_counter() - started
        return done

    return async_openai


WORKERS: dict[str, Worker] = {
    OURS: openai_images,
    SDK: _async_openai(),
    SDK_PATIENT: _async_openai(max_retries=10),
}
