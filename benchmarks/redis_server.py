"""A Redis server of its own for each test or measure: on a socket in a folder, nothing written to a disk."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

_PROGRAM = os.environ.get("REDIS_SERVER", "redis-server")
"""Another one may be named, such as valkey-server."""
_READY = 10.0  # seconds


def is_installed() -> bool:
    return shutil.which(_PROGRAM) is not None


class RedisServer:
    """`with RedisServer() as server`: started and ended with the block; `stop` and `start` in between."""

    def __init__(self, *arguments: str) -> None:
        """`arguments` are options of the server, such as `--requirepass`."""
        self._arguments = arguments
        self._folder = tempfile.TemporaryDirectory(prefix="redis")
        self._process: subprocess.Popen[bytes] | None = None
        self.path = Path(self._folder.name) / "socket"

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> None:
        """Start it, empty. Raises RuntimeError where it does not answer."""
        program = shutil.which(_PROGRAM)
        assert program is not None, "this needs Debian's redis-server: apt-get install redis-server"
        options = ("--port", "0", "--unixsocket", str(self.path), "--save", "", "--appendonly", "no")
        self._process = subprocess.Popen(
            [program, *options, "--dir", self._folder.name, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + _READY
        while not self._answers():
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError("redis-server does not answer")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it; what it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.path.unlink(missing_ok=True)

    def calls(self, command: str = "evalsha") -> int:
        """How often a command was called."""
        stats: dict[str, dict[str, int]] = self.ask("INFO", "commandstats")
        return stats.get(f"cmdstat_{command}", {"calls": 0})["calls"]

    def ask(self, *command: str) -> Any:
        from redis import Redis

        with Redis(unix_socket_path=str(self.path)) as client:
            run = cast("Callable[..., Any]", client.execute_command)  # pyright: ignore[reportUnknownMemberType]
            return run(*command)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._folder.cleanup()

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.path))
                connection.sendall(b"PING\r\n")
                return connection.recv(16)[:1] in {b"+", b"-"}  # "-": it wants a password
        except OSError:
            return False
