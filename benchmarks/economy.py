"""Measure batches in economy: `python -m benchmarks economy [--gigabytes 2] [--prompts 5000]`.

Rules: an output file comes over a socket from a process of its own, and each way to take it is a new process: `read`
throws the bytes away, `save` writes them to a file as they are, `decode` decodes the images and throws them away,
`disk` decodes them into files. CPU seconds are user and system time. Then 5,000 prompts go from end to end against the
local server: 3 % fail, 1 % expire, and one whole batch expires; runs are repeated until nothing is left to send. Exits
with 1 where an image is lost, a request ran twice, or memory exceeds its bound.
"""

import argparse
import asyncio
import base64
import json
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.kill import noise
from benchmarks.processes import ROOT, apart
from openai_images.server import BatchPace, LocalImagesServer

SIDE: Final = 700  # of an image that does not compress: 1.5 MB, 2 MB in base64
WAYS: Final = ("read", "save", "decode", "disk")
MAX_MEMORY: Final = 60.0  # MB
EXPIRED, FAILED = 0.01, 0.03


def _line(number: int, image: bytes) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 196, "total_tokens": 206}
    body = {"created": 1, "data": [{"b64_json": "@"}], "usage": usage}
    response = {"status_code": 200, "request_id": f"req_{number}", "body": body}
    line = {"id": f"batch_req_{number}", "custom_id": str(number), "response": response, "error": None}
    return json.dumps(line).encode().replace(b"@", image) + b"\n"


def _serve(gigabytes: float) -> None:
    """Send an output file to each connection, and print the port."""
    image = base64.b64encode(noise(SIDE))
    lines = int(gigabytes * 1e9 / len(_line(0, image)))
    size = sum(len(_line(number, b"")) for number in range(lines)) + lines * len(image)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head)
                for number in range(lines):
                    connection.sendall(_line(number, image))


def measure(gigabytes: float, rounds: int) -> dict[str, dict[str, Any]]:
    """The best of some rounds of each way."""
    module = [sys.executable, "-m", "benchmarks.economy"]
    best: dict[str, dict[str, Any]] = {}
    with subprocess.Popen(
        [*module, "--serve", str(gigabytes)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            for way in WAYS * rounds:
                with tempfile.TemporaryDirectory() as folder:
                    command = [sys.executable, "-m", "benchmarks.economy_worker", way, port, folder]
                    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
                took = json.loads(done.stdout)
                if way not in best or took["cpu"] < best[way]["cpu"]:
                    best[way] = took
        finally:
            server.kill()
    return best


async def end_to_end(folder: Path, prompts: int, *, side: int = 100, models: int = 2) -> dict[str, Any]:
    """Run a batch with failures and expiries until all is done or failed; what it took, and what is wrong."""
    pace = BatchPace(seconds_per_state=0.5, failed=FAILED, expired=EXPIRED)
    source, out = folder / "requests.jsonl", folder / "out"
    names = ("gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2.6-flare")[:models]
    rows = (
        {"prompt": f"an otter number {n}", "model": names[n % len(names)], "size": "1024x1024"}
        for n in range(prompts)
    )
    await asyncio.to_thread(source.write_text, "".join(json.dumps(row) + "\n" for row in rows))
    found: dict[str, Any] = {"runs": []}
    last: dict[str, str] = {}
    async with LocalImagesServer(pictures=noise(side), batch_pace=pace) as server:
        server.script("batch_expired")  # the whole of the first batch
        env = {"OPENAI_API_KEY": server.api_key, "OPENAI_BASE_URL": server.base_url}
        for _ in range(4):
            found["runs"].append(
                await apart("benchmarks.economy_worker", "batch", str(source), str(out), env=env)
            )
            last = _last(out)
            if all(state in ("done", "failed") for state in last.values()):
                break
        ran = Counter(request.custom_id for request in server.batch_requests)
        paid = {request.custom_id for request in server.batch_requests if request.billed}
        states, images = Counter(last.values()), sum(1 for _ in (out / "images").glob("[!.]*"))
        found |= {"states": dict(states), "images": images, "batches": len(server.batches), "paid": len(paid)}
        twice = [name for name, count in ran.items() if count > 1]
        found["wrong"] = [f"{len(twice)} requests ran twice"] if twice else []
        if not images == len(paid) == states["done"] or states.total() != prompts:
            found["wrong"].append(f"{len(paid)} images were paid for: {images} files, {dict(states)}")
    return found


def _last(out: Path) -> dict[str, str]:
    rows = map(json.loads, (out / "journal.jsonl").read_text().splitlines())
    return {row["key"]: row["state"] for row in rows if row["key"] is not None}


def _print_ways(best: dict[str, dict[str, Any]]) -> bool:
    base = best["read"]["cpu"]
    print("way       MB     lines   CPU s   of read   seconds   peak MB")
    for way, took in best.items():
        print(
            f"{way:8} {took['mb']:7.0f} {took['lines']:6} {took['cpu']:7.2f} {took['cpu'] / base:8.2f} "
            f"{took['seconds']:9.1f} {took['peak']:9.1f}"
        )
    return bool(best["disk"]["peak"] <= MAX_MEMORY)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks economy", description=__doc__)
    parser.add_argument(
        "--gigabytes", type=float, default=2.0, help="of the output file (%(default)s; 0: not)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each way (%(default)s)")
    parser.add_argument("--prompts", type=int, default=5_000, help="from end to end (%(default)s; 0: not)")
    parser.add_argument("--side", type=int, default=100, help="of their images (%(default)s)")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        _serve(arguments.serve)
    good = True
    if arguments.gigabytes:
        good = _print_ways(measure(arguments.gigabytes, arguments.rounds))
    if arguments.prompts:
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(end_to_end(Path(folder), arguments.prompts, side=arguments.side))
        for name, value in found.items():
            print(f"{name}: {value}")
        good = good and not found["wrong"]
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
