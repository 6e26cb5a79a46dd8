"""A bare server with a token bucket: `python -m benchmarks.rate_limit_server PER_MINUTE BURST exact|seconds SECONDS`.

Rules: every POST is charged when it has arrived, and answered with a small image after SECONDS or with a 429 at
once; what is left in the bucket is told nowhere, and a refusal says when to come back in the way that was asked for. A
rate of 0 is no limit. `GET /counts` gives the answers so far as JSON. It prints its port once it listens, and ends
when its standard input does.
"""

import asyncio
import json
import math
import sys
import time
from typing import cast

from attrs import Factory, define

from benchmarks.payloads import SHAPES, response
from benchmarks.server import BACKLOG, allow_many_sockets, end_of_request

SHAPE = "json-1kb"
"""What an image's answer is."""


@define
class Bucket:
    """Refills by `per_minute` and holds `burst`; without a rate it is never empty."""

    per_minute: float
    burst: int
    _level: float = Factory(lambda self: float(self.burst), takes_self=True)
    _at: float | None = None

    def take(self, now: float) -> float:
        """Takes one and gives 0, or the seconds until there will be one."""
        if not self.per_minute:
            return 0.0
        passed = 0.0 if self._at is None else now - self._at
        self._level, self._at = min(float(self.burst), self._level + passed * self.per_minute / 60), now
        if self._level < 1:
            return (1 - self._level) * 60 / self.per_minute
        self._level -= 1
        return 0.0


@define
class Door:
    """Decides about each request, and counts."""

    bucket: Bucket
    exact: bool
    seconds: float
    image: bytes = Factory(lambda: response(SHAPES[SHAPE])[0])
    images: int = 0
    refused: int = 0

    def answer(self, request: bytes) -> tuple[bytes, float]:
        """The answer, and how long it takes."""
        if request.startswith(b"GET"):
            counts = {"images": self.images, "refused": self.refused}
            return _http("200 OK", json.dumps(counts).encode()), 0.0
        wait = self.bucket.take(time.monotonic())
        if wait:
            self.refused += 1
            return self._refusal(wait), 0.0
        self.images += 1
        return self.image, self.seconds

    def _refusal(self, wait: float) -> bytes:
        headers = f"Retry-After: {math.ceil(wait)}\r\n"
        again = f"{math.ceil(wait)}s"
        if self.exact:
            headers += f"retry-after-ms: {math.ceil(wait * 1000)}\r\n"
            again = f"{math.ceil(wait * 1000)}ms"
        error = {
            "message": f"Rate limit reached for images per minute. Please try again in {again}.",
            "type": "input-images",
            "param": None,
            "code": "rate_limit_exceeded",
        }
        return _http("429 Too Many Requests", json.dumps({"error": error}).encode(), headers)


class _Connection(asyncio.Protocol):
    """Answers the requests of one connection in turn."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := end_of_request(self._received)) is not None:
            answer, seconds = self._door.answer(self._received)
            self._received = self._received[end:]
            if seconds:
                asyncio.get_running_loop().call_later(seconds, self._transport.write, answer)
            else:
                self._transport.write(answer)


def _http(status: str, body: bytes, headers: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


async def main() -> None:
    allow_many_sockets()
    per_minute, burst, hint, seconds = sys.argv[1:]
    door = Door(Bucket(float(per_minute), int(burst)), hint == "exact", float(seconds))
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(door), "127.0.0.1", 0, backlog=BACKLOG
    )
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
