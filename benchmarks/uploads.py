"""How much memory an edit of large pictures takes: `python -m benchmarks.uploads [--count 16] [--megabytes 40]`.

Rules: the server reads and throws away, in another process than what is measured; each way is measured in a process of
its own. Prints the figures and the goals; exits with 1 where a goal is not met.
"""

import argparse
import asyncio
import re
import sys
import tempfile
from pathlib import Path

from benchmarks.running import apart
from benchmarks.uploading import WAYS, Sent, png

__all__ = ["Drain", "judge", "main", "measure"]

MEGABYTE = 1_000_000
SPARE = 4  # megabytes
COPIES = {"paths": 0, "files": 0, "bytes": 1, "json": 0}
"""How often the pictures may lie in memory: what the user holds is one copy."""

ANSWER = b'{"created":1,"data":[{"b64_json":"R0lGODlhQQABAAAAADs="}]}'


class Drain(asyncio.Protocol):
    """Reads a request, throws its body away, and answers."""

    taken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._head, self._missing = transport, b"", 0

    def data_received(self, data: bytes) -> None:
        """Count; answer at the end of the body."""
        Drain.taken += len(data)
        if not self._missing:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            chunked = length is None
            self._missing, self._head = 1 << 60 if chunked else int(length[1]) if length else 0, b""
        self._missing -= len(data)
        if self._missing <= 0 or data.endswith(b"\r\n0\r\n\r\n"):
            self._missing = 0
            status = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(ANSWER)}\r\n\r\n"
            )
            self._transport.write(status.encode() + ANSWER)


async def measure(way: str, count: int, nbytes: int, folder: Path) -> Sent:
    """What one way showed, with pictures in the folder. Raises RuntimeError where its process fails."""
    (folder / "small.png").write_bytes(png(1000))
    for number in range(count):
        (folder / f"{number}.png").write_bytes(png(nbytes))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Drain, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        before = Drain.taken
        seen = await apart("benchmarks.uploading", way, url, str(folder), str(count))
        if Drain.taken - before < count * nbytes:
            raise RuntimeError(f"{way} sent {Drain.taken - before:,} bytes only")
        return Sent(**seen)


def judge(way: str, seen: Sent, count: int, nbytes: int) -> tuple[str, str, bool]:
    """The goal, what was found, and whether that is enough; those who are compared with have none."""
    above = (seen.peak - seen.idle) / MEGABYTE
    found = f"{above:.1f} MB above idle, {seen.seconds:.2f} s"
    if way not in COPIES:
        return "", found, True
    allowed = COPIES[way] * count * nbytes / MEGABYTE + SPARE
    return f"<= {allowed:.0f} MB", found, above <= allowed


def main() -> int:
    """Measure all ways, print; 1 where a goal is not met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uploads", description="Memory of an edit.")
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of: {'; '.join(WAYS)} (all)")
    parser.add_argument("--count", type=int, default=16, help="how many pictures (%(default)s)")
    parser.add_argument("--megabytes", type=float, default=40, help="of each (%(default)s)")
    arguments = parser.parse_args()
    if unknown := set(arguments.ways) - set(WAYS):
        parser.error(f"no such way: {', '.join(sorted(unknown))}")
    nbytes, good = int(arguments.megabytes * MEGABYTE), True
    print(f"an edit of {arguments.count} pictures of {arguments.megabytes:g} MB each")
    for way in arguments.ways or WAYS:
        with tempfile.TemporaryDirectory() as folder:
            seen = asyncio.run(measure(way, arguments.count, nbytes, Path(folder)))
        goal, found, met = judge(way, seen, arguments.count, nbytes)
        good = good and met
        print(f"{way:20} {found:30} {goal and ('met' if met else 'NOT MET')} {goal}".rstrip())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
