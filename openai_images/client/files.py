"""`into=`: images are written to files while they arrive.

Invariants: an image is written to a part file, which is renamed when it is complete; nothing is overwritten unless
requested; a few hundred kilobytes wait for the disk; threads do the file I/O; a write error leaves images in memory.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  # pyright: ignore[reportUnusedImport]  the first request is to import nothing
import errno
import io
import logging
import os
import threading
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from attrs import evolve

from openai_images._util.atomic_file import create_part, named_error, part_path, publish
from openai_images._util.json import is_list, is_object
from openai_images.client.prepared_request import global_index
from openai_images.errors import RequestInvalidError
from openai_images.models import media
from openai_images.models.image import Image
from openai_images.models.results import CompletedImage, ImageEvent, PartialImage, UnknownEvent

_log = logging.getLogger("openai_images")

_FLUSH = 128 * 1024
"""Bytes to buffer before a thread writes them: fewer cost more thread switches, more cost memory per stream."""

_NAME_RESERVE = "-" * 8
"""The room that a final name needs after the stem for a number, `.partial-3`, a suffix, and `-2`."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".gif", ".svg")
_SUFFIX_ALIASES = {".jpeg": ".jpg", ".jpe": ".jpg"}


class Output(NamedTuple):
    """Where images go: `into` is a path without its suffix.

    Partial images stay in memory unless `keep_partials`. `on_disk_error` is called in the loop's thread for an image
    that could not be written and is kept in memory.
    """

    into: str | os.PathLike[str]
    overwrite: bool = False
    keep_partials: bool = True
    on_disk_error: Callable[[OSError], None] | None = None

    @classmethod
    def from_into(cls, into: str | os.PathLike[str] | None, overwrite: bool, **options: Any) -> Output | None:
        """Return the output for `into=`; None if images stay in memory."""
        return None if into is None else cls(into, overwrite, **options)


class FileSink:
    """One image being written to a file. `write` buffers; `flush` and `publish` do the file I/O, in any thread."""

    def __init__(self, part: Path, flush_bytes: int = _FLUSH) -> None:
        self.part = part
        self._flush_bytes = flush_bytes
        self._lock = threading.Lock()
        self._pending: list[bytes] = []
        self._pending_bytes, self._nbytes, self._head = 0, 0, b""
        self._file: BinaryIO | None = None
        self._memory: io.BytesIO | None = None
        self.error: OSError | None = None
        self._finished, self._dropped = False, False

    @property
    def needs_flush(self) -> bool:
        """Whether enough bytes are buffered, or the image is complete."""
        return self._pending_bytes >= (1 if self._finished else self._flush_bytes)

    def write(self, data: bytes) -> None:
        """Buffer the next bytes."""
        self._pending.append(data)
        self._pending_bytes += len(data)
        self._nbytes += len(data)
        if len(self._head) < media.HEAD_BYTES:
            self._head += data[: media.HEAD_BYTES - len(self._head)]

    def finish(self) -> Image:
        """Return the image in the part file."""
        self._finished = True
        head, self._head = self._head, b""  # freed: images of one answer wait for its end
        return Image.from_file(self.part, head, self._nbytes)

    def discard(self) -> None:
        """Delete the file; a thread that is writing it deletes it afterwards."""
        self._dropped = True
        if self._lock.acquire(blocking=False):
            try:
                self._remove()
            finally:
                self._lock.release()

    def flush(self) -> None:
        """Write the buffered bytes."""
        with self._lock:
            if not self._dropped:
                self._write_pending()
        if self._dropped:
            self.discard()

    def publish(self, image: Image, target: Path, *, overwrite: bool) -> Image:
        """Write the rest and rename the file to `target`; if that fails, return the image in memory."""
        with self._lock:
            if self._dropped:
                self._remove()
                return image
            self._write_pending()
            if self._file is not None:
                try:
                    self._file.close()
                    path = publish(self.part, target, overwrite=overwrite)
                except OSError as error:
                    self._switch_to_memory(error, b"")
                else:
                    self._file = None
                    return evolve(image, path=path)
            return self._in_memory(image)

    def to_memory(self, image: Image) -> Image:
        """Return the image in memory, and delete the file."""
        with self._lock:
            if self._dropped:
                self._remove()
                return image
            self._write_pending()
            if self._memory is None:
                self._to_memory(b"")
            return self._in_memory(image)

    def _write_pending(self) -> None:
        pending, self._pending = self._pending, []
        self._pending_bytes = 0
        for number, data in enumerate(pending):
            if self._memory is not None:
                self._memory.write(data)
                continue
            done = 0
            try:
                if self._file is None:
                    self._file = create_part(self.part)
                while done < len(data):
                    done += self._file.write(memoryview(data)[done:])
            except OSError as error:
                self._switch_to_memory(error, data[done:])
            pending[number] = b""

    def _switch_to_memory(self, error: OSError, rest: bytes) -> None:
        """Continue in memory after a write error: the image is paid for."""
        self.error, folder = error, self.part.parent
        _log.warning("an image could not be written to %s (%s); it is kept in memory", folder, error.strerror)
        self._to_memory(rest)

    def _in_memory(self, image: Image) -> Image:
        return evolve(image, path=None, data=b"" if self._memory is None else self._memory.getvalue())

    def _to_memory(self, rest: bytes) -> None:
        """Read back the written bytes, and continue in memory."""
        written = b"" if self._file is None else self.part.read_bytes()
        self._memory = io.BytesIO()
        self._memory.writelines((written, rest))
        self._remove()

    def _remove(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
            self.part.unlink(missing_ok=True)


class OutputFiles:
    """The files of one call: sinks for arriving images, and names for complete ones."""

    def __init__(self, output: Output, *, several: bool) -> None:
        """Number the images -0, -1, … if there are `several`. Raises `RequestInvalidError`."""
        into = output.into
        self._stem = Path(into)
        if os.fspath(into)[-1:] in ("/", os.sep) or self._stem.name in ("", "..") or "\0" in str(self._stem):
            raise RequestInvalidError(
                f"into={str(into)!r} is not a file name; pass one without its suffix, such as 'out/otter'"
            )
        self._output = output
        self._several = several
        self._sinks: dict[Path, FileSink] = {}
        self._published: set[Path] = set()
        self._unknown, self._first, self._count = 0, 0, 0  # `_first` and `_count` are those of a sub-call

    def for_sub_call(self, first: int, count: int) -> OutputFiles:
        """Return the files of a sub-call whose `count` images are numbered from `first`.

        They need no `prepare`, and share the set of names that must not be overwritten.
        """
        files = copy(self)
        files._sinks, files._unknown, files._first, files._count = {}, 0, first, count  # noqa: SLF001  same class
        return files

    async def prepare(self) -> None:
        """Before anything is sent, create the folder and a test file with a name of the same length. Raises OSError."""
        if not self._count:
            await asyncio.to_thread(self._try_writing)

    def _try_writing(self) -> None:
        stem = self._stem
        if stem.suffix.lower() in _SUFFIXES and stem.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has this name", str(stem))
        part = part_path(stem.parent, stem.name + _NAME_RESERVE)
        try:
            create_part(part).close()
        except ValueError as error:  # raised for NUL, and for characters that the file system cannot encode
            raise OSError(errno.EINVAL, "no file can have this name", str(stem)) from error
        except OSError as error:
            raise named_error(error, part, stem) from error.__cause__
        part.unlink()

    def new_sink(self) -> FileSink:
        """Make the sink of the next image."""
        sink = FileSink(part_path(self._stem.parent, self._stem.name))
        self._sinks[sink.part] = sink
        return sink

    async def flush_due(self) -> None:
        """Write the buffered bytes of all sinks that need it."""
        for sink in [sink for sink in self._sinks.values() if sink.needs_flush]:
            await asyncio.to_thread(sink.flush)
            self._report_error(sink)

    async def store_event(self, event: ImageEvent) -> ImageEvent:
        """Rename the event's image to its final name; return the event with that path."""
        if isinstance(event, CompletedImage):
            return evolve(event, image=await self.store(event.image, event.image_index))
        if isinstance(event, PartialImage) and not self._output.keep_partials:
            return evolve(event, image=await self._to_memory(event.image))
        if isinstance(event, PartialImage):
            index = f".partial-{event.partial_image_index or 0}"
            return evolve(event, image=await self.store(event.image, event.image_index, index))
        if not self._sinks:
            return event
        return UnknownEvent(event.type, await self._store_unknown(event.raw))

    async def store(self, image: Image, index: int, infix: str = "") -> Image:
        """Rename a complete image to its final name; `infix` goes between the stem and the suffix."""
        sink = None if image.path is None else self._sinks.get(image.path)
        if sink is None:
            return image
        suffix = media.file_suffix(image.media_type)
        stem, requested_suffix = self._stem.stem, self._stem.suffix.lower()
        is_named = _SUFFIX_ALIASES.get(requested_suffix, requested_suffix) == suffix
        stem, suffix = (stem, self._stem.suffix) if is_named else (self._stem.name, suffix)
        index = global_index(index, self._first, self._count) if self._count else index
        number = f"-{index}" if self._several or index else ""
        target = self._stem.with_name(f"{stem}{number}{infix}{suffix}")
        # A server may send an index twice, and both images are paid for: only files older than this call are replaced.
        overwrite = self._output.overwrite and target not in self._published
        self._published.add(target)
        stored = await asyncio.to_thread(sink.publish, image, target, overwrite=overwrite)
        self._report_error(sink)
        del self._sinks[sink.part]
        return stored

    async def store_all(self, images: list[Image], infix: str = "") -> list[Image]:
        """Rename complete images to their final names, numbered by position."""
        return [await self.store(image, index, infix) for index, image in enumerate(images)]

    def _report_error(self, sink: FileSink) -> None:
        if sink.error is not None and self._output.on_disk_error is not None:
            self._output.on_disk_error(sink.error)

    async def _to_memory(self, image: Image) -> Image:
        sink = None if image.path is None else self._sinks.get(image.path)
        if sink is None:
            return image
        in_memory = await asyncio.to_thread(sink.to_memory, image)
        del self._sinks[sink.part]
        return in_memory

    async def _store_unknown(self, value: Any) -> Any:
        """Rename every image in an unknown event to a final name."""
        if isinstance(value, Image):
            self._unknown += 1
            return await self.store(value, 0, f".unknown-{self._unknown - 1}")
        if is_object(value):
            return {key: await self._store_unknown(item) for key, item in value.items()}
        if is_list(value):
            return [await self._store_unknown(item) for item in value]
        return value

    def discard(self) -> None:
        """Delete incomplete files."""
        for sink in self._sinks.values():
            sink.discard()
        self._sinks.clear()
