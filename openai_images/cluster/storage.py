"""Shared storage of a batch: a folder that all machines see, or a URL of an object store.

Invariants: `create` is exclusive among all processes; every stored object is complete, and on the disk itself when a
method returns. Methods block and are called in threads. Names are relative, with `/`. A store that cannot create an
object exclusively is rejected before use, by its scheme and by a trial; no listing is cached. A call that takes long is
logged, and has an end.
Must not: know what is stored; import fsspec, an extra, for a folder.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from openai_images._util.atomic_file import create_new, part_path
from openai_images._util.filesystem import Disk
from openai_images.cluster.bounded_calls import LONG_CALL, PAGES, REPORT, TIMEOUT, bounded
from openai_images.errors import ConfigurationError

_PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.part", re.DOTALL)

_EXCLUSIVE: Final = frozenset({"s3", "s3a", "gs", "gcs"})
"""Stores whose `pipe_file(mode="create")` is a conditional put; fsspec's default only checks if the name exists."""

_TRIAL: Final = "claims/trial"
_PAUSES: Final = (0.1, 0.3, 1.0)
"""Seconds between attempts to find out whether an object was created; the store's package has its own retries."""
_FINAL = (TimeoutError, FileNotFoundError, PermissionError)

_T = TypeVar("_T")
_log = logging.getLogger("openai_images")

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


class StoredObject(NamedTuple):
    """An object's name, and its size in bytes."""

    name: str
    nbytes: int


class Storage(Protocol):
    """The place of claims, records and images. Each method raises OSError if the storage cannot be used."""

    place: str
    """The folder or URL without credentials, for messages."""

    def create(self, name: str, data: bytes) -> bool:
        """Store `data`, which must be unique, only if the name is free; return whether this call created it."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Store `data` atomically, replacing an existing object."""
        ...

    def read(self, name: str) -> bytes:
        """Return the data of an object. Raises FileNotFoundError."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether the object exists."""
        ...

    def list(self, folder: str) -> Iterator[StoredObject]:
        """Yield the objects of a folder in any order; nothing if the folder does not exist."""
        ...

    def url(self, name: str) -> str:
        """Return the path or URL of an object."""
        ...


@bounded(create=1, put=1, read=1, exists=1, list=PAGES, parts=PAGES)
class FolderStorage:
    """A folder on a local or network file system; each call takes at most `timeout` seconds."""

    timeout = TIMEOUT

    def __init__(self, path: str | os.PathLike[str], disk: Disk | None = None) -> None:
        self.root = Path(os.path.abspath(path))  # noqa: PTH100  Path.resolve would follow a link the user made
        self.place = str(self.root)
        self._disk = disk or Disk()
        self._folders: set[Path] = set()

    def create(self, name: str, data: bytes) -> bool:
        """Write to a part file, then rename it by a hard link, or by the file system's substitute for one."""
        target, part = self._write(name, data)
        try:
            is_created = create_new(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        if not is_created:
            part.unlink(missing_ok=True)
            # NFS: if the response to a link is lost, it is sent again and finds the name that it created itself.
            is_created = self._disk.read(target) == data
        self._disk.sync_folder(target.parent)
        return is_created

    def put(self, name: str, data: bytes) -> None:
        """Write to a part file, then rename it."""
        target, part = self._write(name, data)
        part.replace(target)
        self._disk.sync_folder(target.parent)

    def read(self, name: str) -> bytes:
        """Return the file's data. Raises FileNotFoundError."""
        return (self.root / name).read_bytes()

    def exists(self, name: str) -> bool:
        """Return whether the file exists."""
        return os.path.lexists(self.root / name)

    def list(self, folder: str) -> Iterator[StoredObject]:
        """Return the files of a folder except part files."""
        try:
            with os.scandir(self.root / folder) as entries:
                files = [entry for entry in entries if not entry.name.startswith(".") and entry.is_file()]
                return iter([StoredObject(f"{folder}/{file.name}", file.stat().st_size) for file in files])
        except FileNotFoundError:
            return iter(())

    def parts(self, folder: str) -> Iterator[tuple[str, str]]:
        """Return (final name, name) of the part files of a folder, complete or not."""
        names = [path.name for path in (self.root / folder).glob(".*.part")]
        matches = [match for name in names if (match := _PART.fullmatch(name))]
        return iter([(f"{folder}/{match['name']}", f"{folder}/{match[0]}") for match in matches])

    def url(self, name: str) -> str:
        """Return the path."""
        return str(self.root / name)

    def _write(self, name: str, data: bytes) -> tuple[Path, Path]:
        """Write a part file to the disk itself; return its target and its own path."""
        target = self.root / name
        if target.parent not in self._folders:
            self._disk.make_folder(target.parent)
            self._folders.add(target.parent)
        part = part_path(target.parent, target.name)
        try:
            descriptor = self._disk.create(part)
            try:
                self._disk.write(descriptor, data)
                self._disk.sync(descriptor)
            finally:
                self._disk.close(descriptor)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return target, part


class FsspecStorage:
    """The storage at a URL. Raises `ConfigurationError` if it cannot create objects exclusively, and OSError."""

    def __init__(
        self, url: str, *, sleep: Callable[[float], None] = time.sleep, timeout: float = TIMEOUT
    ) -> None:
        """`sleep` blocks a thread; each call takes at most `timeout` seconds."""
        self._sleep, self._timeout = sleep, timeout
        self.place = url.rstrip("/")
        scheme = url.partition("://")[0]
        if scheme not in _EXCLUSIVE:
            raise ConfigurationError(
                f"{scheme}:// cannot create an object only if it is absent, so an item could be paid for twice; "
                "use s3:// or gs://, or a folder that all machines can access"
            )
        self._fs, self._root = _open(self.place)
        self._reject_overwriting()

    def create(self, name: str, data: bytes) -> bool:
        """Create an object by a conditional put; after an error, read it to find out who created it."""
        for seconds in (*_PAUSES, None):
            try:
                self._call(name, self._fs.pipe_file, data, mode="create")
            except OSError as error:
                # If the response to a put is lost, the store's package sends it again and finds its own object; S3
                # rejects one of two concurrent puts (409 ConditionalRequestConflict) without telling which succeeded.
                found = None if isinstance(error, TimeoutError) else self._read_or_none(name)
                if found is not None:
                    return found == data
                if seconds is None or isinstance(error, _FINAL):
                    raise
                self._sleep(seconds)
            else:
                return True
        raise AssertionError

    def put(self, name: str, data: bytes) -> None:
        """Put an object, which an object store does atomically."""
        self._call(name, self._fs.pipe_file, data)

    def read(self, name: str) -> bytes:
        """Read the object. Raises FileNotFoundError."""
        data: bytes = self._call(name, self._fs.cat_file)
        return data

    def exists(self, name: str) -> bool:
        """Return whether the object exists."""
        try:
            self._call(name, self._fs.info)
        except FileNotFoundError:
            return False
        return True

    def list(self, folder: str) -> Iterator[StoredObject]:
        """Yield the objects in a folder."""
        found: dict[str, Any] = self._call(folder, self._fs.find, detail=True, timeout=self._timeout * PAGES)
        start = len(self._path(folder)) + 1
        for path, info in found.items():
            if info.get("type") == "file":
                yield StoredObject(f"{folder}/{path[start:]}", int(info.get("size") or 0))

    def url(self, name: str) -> str:
        """Return the object's URL."""
        return f"{self.place}/{name}"

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _call(self, name: str, method: Callable[..., _T], *args: object, **options: Any) -> _T:
        """Call a method of the file system. Raises OSError with the place and the name, or FileNotFoundError."""
        # The packages' own timeouts do not cover all waits: aiohttp's for `100 Continue` from S3 has no end.
        times = self._timeout * REPORT, float(options.setdefault("timeout", self._timeout))
        report = threading.Timer(times[0], _log.warning, (LONG_CALL, self.url(name), *times))
        report.start()
        started = time.monotonic()
        try:
            return method(self._path(name), *args, **options)
        except FileNotFoundError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.strerror:
                raise
            code = errno.EACCES if isinstance(error, PermissionError) else errno.EIO
            text = f"{type(error).__name__}: {str(error)[:300] or type(error).__name__}"
            if isinstance(error, TimeoutError) and time.monotonic() - started >= times[1]:
                code, text = errno.ETIMEDOUT, f"no response within {times[1]:.0f} s"
            raise OSError(code, text, self.url(name)) from error
        finally:
            report.cancel()

    def _read_or_none(self, name: str) -> bytes | None:
        """Return the object, or None if it does not exist. Raises the OSError of the last attempt."""
        for seconds in (*_PAUSES, None):
            try:
                return self.read(name)
            except FileNotFoundError:
                return None
            except OSError as error:
                if seconds is None or isinstance(error, _FINAL):
                    raise
                self._sleep(seconds)
        raise AssertionError

    def _reject_overwriting(self) -> None:
        """Create an object twice: some compatible servers ignore the condition. Raises `ConfigurationError`."""
        if self.create(_TRIAL, os.urandom(16)) and self.create(_TRIAL, os.urandom(16)):
            raise ConfigurationError(
                f"{self.place} stored an object over another one although it was to be created only if absent "
                "(If-None-Match), so two workers could pay for the same item; use another object store, or a folder "
                "that all machines can access"
            )


def _open(url: str) -> tuple[Any, str]:
    """Return fsspec's file system and the path in it. Raises `ConfigurationError`."""
    try:
        fsspec: Any = import_module("fsspec")
    except ImportError:
        msg = f"{url} needs fsspec: pip install 'openai-images[fsspec]', and the package of the store, such as s3fs"
        raise ConfigurationError(msg) from None
    try:
        opened: tuple[Any, str] = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise ConfigurationError(f"{url} cannot be used: {error}") from None
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{url} is not a URL of an object store: {error}") from None
    return opened


def is_url(out: str) -> bool:
    """Return whether this is the URL of an object store; `file://` is a folder."""
    return _URL.match(out) is not None and not out.startswith("file://")


def open_storage(out: str | os.PathLike[str]) -> Storage:
    """Return the storage of a folder or a URL. Raises `ConfigurationError` and OSError."""
    text = os.fspath(out)
    return FsspecStorage(text) if is_url(text) else FolderStorage(text.removeprefix("file://"))
