"""What `python -m benchmarks economy` measures, each in a process of its own: a way to take an output file, or a batch.

Rules: nothing is imported that a program with a batch would not import, so that the peak of memory is its own.
"""

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

from openai_images import Batch, BatchOptions, ImagesClient, read_batch_items
from openai_images.batch.folder.image_files import Downloads, complete
from openai_images.batch.provider.files import OutputLine, OutputReader
from openai_images.client.files import FileSink
from openai_images.http.get_requests import open_file
from openai_images.models.image import Image


class _NoSink:
    """Throws an image away."""

    def write(self, data: bytes, /) -> None:
        """Do nothing."""

    def finish(self) -> Image:
        return Image(nbytes=1)

    def discard(self) -> None:
        """Do nothing."""


async def _take(way: str, port: int, folder: Path) -> tuple[int, int]:
    """Take the output file in one of the ways; the number of bytes and of lines."""
    base_url = f"http://127.0.0.1:{port}"
    async with ImagesClient(api_key="none", base_url=f"{base_url}/v1") as client:
        _, context = client._calls.connection()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        download = await open_file(f"{base_url}/file", {}, context.transport, context.timeouts)
        downloads, nbytes, lines = Downloads(folder), 0, 0
        reader = OutputReader(downloads.new_sink if way == "disk" else _NoSink)
        with (folder / "raw").open("wb", buffering=0) as raw:
            while chunk := await download.read():
                nbytes += len(chunk)
                if way == "save":
                    raw.write(chunk)
                elif way != "read" and not (reader.in_image and reader.feed_image(chunk)):
                    for line in reader.feed(chunk):
                        lines += 1
                        if sinks := downloads.take():
                            await asyncio.to_thread(_complete, line, sinks)
                for sink in downloads.due:
                    await asyncio.to_thread(sink.flush)
        download.close()
    return nbytes, lines


def _complete(line: OutputLine, sinks: dict[Path, FileSink]) -> None:
    for image in line.result.images if line.result else ():
        complete(image, sinks)


def _work(way: str, port: int, folder: Path) -> None:
    """One way, in a process of its own: prints what it took."""

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    before, started = cpu(), time.monotonic()
    nbytes, lines = asyncio.run(_take(way, port, folder))
    took = {"cpu": cpu() - before, "seconds": time.monotonic() - started, "peak": _peak()}
    print(json.dumps({"way": way, "mb": nbytes / 1e6, "lines": lines, **took}))


async def _batch(source: Path, out: Path) -> None:
    """Run the batch, and print what it took: seconds, CPU seconds and the peak of memory in MB."""
    started = time.monotonic()
    async with ImagesClient() as client:
        items = read_batch_items(source)
        before = _peak()
        async with Batch(client, items, out, options=BatchOptions(economy=True)) as batch:
            async for _ in batch:
                pass
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "done": batch.summary.done,
                "not_started": batch.summary.not_started,
                "seconds": round(time.monotonic() - started, 1),
                "cpu": round(used.ru_utime + used.ru_stime, 1),
                "peak": round(_peak(), 1),
                "peak_before": round(before, 1),
            }
        )
    )


def _peak() -> float:
    """The peak of this process's memory in MB; `ru_maxrss` would be that of its parent, if larger."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


def main() -> int:
    way, *arguments = sys.argv[1:]
    if way == "batch":
        asyncio.run(_batch(*map(Path, arguments)))
    else:
        _work(way, int(arguments[0]), Path(arguments[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
