"""Runs the script of the shared limits on a Redis server, over one connection for each event loop.

Invariants: a script is run once or its outcome is unknown: nothing is sent again from here, since a place that was
reserved twice is lost, and one that was returned twice is used by two. A connection is closed by `aclose`, or with its
loop: `asyncio.run` closes the loop's async generators, and one of them holds it. No text contains a password.
Must not: know what the script does, or wait for an unreachable server.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from typing import Any, NamedTuple, cast

from openai_images.errors import ConfigurationError
from openai_images.models.options import Limits, display_redis_url

_TIMEOUT = 5.0  # seconds to connect, and for an answer
_LONGEST_TEXT = 200  # characters of a server's error

_NO_PACKAGE = "Limits(shared=…) needs the package redis: run pip install 'openai-images[redis]'"


class UnreachableError(Exception):
    """The server could not be asked, or did not answer; the text says why, without secrets."""


class _Connection(NamedTuple):
    client: Any
    run: Any
    lifeline: AsyncGenerator[None]


class RedisScript:
    """The script, the server and the key of one name; `run` connects when it is first needed."""

    def __init__(self, limits: Limits) -> None:
        """Raises `ConfigurationError` if the package redis is missing."""
        if find_spec("redis") is None:
            raise ConfigurationError(_NO_PACKAGE)
        self._limits = limits  # the URL is only in there: its repr hides the password
        self._key = f"openai-images:limits:{limits.name}"
        self._connections: dict[asyncio.AbstractEventLoop, _Connection] = {}

    @property
    def description(self) -> str:
        """The server and the name, for messages."""
        return f"{display_redis_url(self._limits.shared)} (name {self._limits.name!r})"

    async def run(self, ask: Mapping[str, Any]) -> dict[str, Any]:
        """Run the script once and return its answer.

        Raises `UnreachableError`, and `ConfigurationError` for what does not get better by waiting.
        """
        connection = await self._connection()
        from redis import exceptions  # noqa: PLC0415  an extra, imported when it is needed

        refusals = (
            exceptions.AuthenticationError,
            exceptions.AuthorizationError,
            exceptions.NoPermissionError,
        )
        try:
            answer: dict[str, Any] = json.loads(
                await connection.run(keys=[self._key], args=[json.dumps(ask, allow_nan=False)])
            )
        except (exceptions.RedisError, OSError) as error:
            # Of a failure while connecting, the cause says more.
            is_refused = isinstance(error, refusals) or isinstance(error.__cause__, refusals)
            reason = _text(error)
        else:
            return answer
        # Raised outside of the handler: what redis raises has the password in its frames.
        if is_refused:
            raise ConfigurationError(
                f"the Redis server {self.description} refused ({reason}); check the user and the password in "
                "Limits(shared=…), and that the user may run EVALSHA, SCRIPT LOAD and the commands of hashes"
            )
        raise UnreachableError(reason)

    async def aclose(self) -> None:
        """Close the connection of the running loop. Idempotent; a later `run` makes a new one."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            await connection.lifeline.aclose()

    async def _connection(self) -> _Connection:
        loop = asyncio.get_running_loop()
        connection = self._connections.get(loop)
        if connection is None:
            for other in list(self._connections):  # a copy: other threads' loops come and go meanwhile
                if other.is_closed():
                    self._connections.pop(other, None)
            await asyncio.to_thread(import_module, "redis.asyncio")  # which takes a fifth of a second
            connection = self._connections[loop] = self._connect()
            await anext(connection.lifeline)
        return connection

    def _connect(self) -> _Connection:
        from redis.asyncio import Redis  # noqa: PLC0415
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        options: dict[str, Any] = {
            "socket_timeout": _TIMEOUT,
            "socket_connect_timeout": _TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
        }
        client, from_url = None, cast("Callable[..., Any]", Redis.from_url)  # pyright: ignore[reportUnknownMemberType]
        with suppress(ValueError, TypeError):  # an option in the URL's query; the text may hold anything
            client = from_url(str(self._limits.shared), **options)
        if client is None:
            raise ConfigurationError(
                f"Limits(shared=…) {self.description}: the part after '?' cannot be used; see the options of redis-py"
            )
        script = files("openai_images.ratelimit").joinpath("reserve.lua").read_text("utf-8")
        return _Connection(client, client.register_script(script), _close_with_loop(client))


def _text(error: BaseException) -> str:
    text = " ".join(str(error).split())[:_LONGEST_TEXT]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


async def _close_with_loop(client: Any) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await client.aclose()
