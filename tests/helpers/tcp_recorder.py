"""An HTTP server that keeps what it is sent, as it came, and answers what a test gives it.

In a loop: `async with Recorder() as server`. In a thread, for commands: `with recording() as server`.
"""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.helpers.clients import JSON_ANSWER


@dataclass(frozen=True)
class Recorded:
    """One request: its target as it stood in the first line, its headers with their names in lower case, its body."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def authorizing(self) -> dict[str, str]:
        """The headers that authorize."""
        names = ("authorization", "api-key", "ocp-apim-subscription-key")
        return {name: self.headers[name] for name in names if name in self.headers}


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    body: bytes = JSON_ANSWER
    status: int = 200
    headers: Mapping[str, str] | None = None
    kind: str = "application/json"


class Recorder:
    """Answers each request with the next of `answers`, the last one for all others, and keeps the `requests`."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        """Answer so, over TLS if there is a context."""
        self._answers = list(answers) or [Answer()]
        self._tls = tls
        self.requests: list[Recorded] = []

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port: int = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def only(self) -> Recorded:
        """The one request that came."""
        [request] = self.requests
        return request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Recorded(request.method, request.raw_path, headers, await request.read()))
        answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
        return web.Response(
            body=answer.body,
            status=answer.status,
            headers={"Content-Type": answer.kind, **(answer.headers or {})},
        )


@contextmanager
def recording(*answers: Answer) -> Iterator[Recorder]:
    """A recorder in a thread of its own, for tests whose code under test owns the main thread."""
    up: Future[tuple[Recorder, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        async with Recorder(*answers) as recorder:
            done = asyncio.Event()
            up.set_result((recorder, asyncio.get_running_loop(), done))
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="recorder")
    thread.start()
    recorder, loop, done = up.result(timeout=30)
    try:
        yield recorder
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(timeout=30)
