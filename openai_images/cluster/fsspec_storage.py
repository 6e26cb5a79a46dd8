"""Object stores through fsspec: `s3://bucket/run`, `gs://…`. Needs the extra `fsspec` and the store's package.

Invariants: a store that cannot create an object exclusively is rejected before use, by its scheme and by a trial; no
listing is cached.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final, TypeVar

from openai_images.cluster.storage import StoredObject, storage_error
from openai_images.errors import ConfigurationError

_EXCLUSIVE: Final = frozenset({"s3", "s3a", "gs", "gcs"})
"""Stores whose `pipe_file(mode="create")` is a conditional put; fsspec's default only checks if the name exists."""

_TRIAL: Final = "claims/trial"
_PAUSES: Final = (0.1, 0.3, 1.0)
"""Seconds between attempts to find out whether an object was created; the store's package has its own retries."""

_T = TypeVar("_T")


class FsspecStorage:
    """The storage at a URL. Raises `ConfigurationError` if it cannot create objects exclusively, and OSError."""

    def __init__(self, url: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """`sleep` blocks a thread."""
        self._sleep = sleep
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
                self._fs.pipe_file(self._path(name), data, mode="create")
            except Exception as error:
                # If the response to a put is lost, the store's package sends it again and finds its own object; S3
                # rejects one of two concurrent puts (409 ConditionalRequestConflict) without telling which succeeded.
                failure = storage_error(self.place, name, error)
                found = self._read_or_none(name)
                if found is not None:
                    return found == data
                if seconds is None or isinstance(error, PermissionError | FileNotFoundError):
                    raise failure from error
                self._sleep(seconds)
            else:
                return True
        raise AssertionError

    def put(self, name: str, data: bytes) -> None:
        """Put an object, which an object store does atomically."""
        self._call(name, lambda: self._fs.pipe_file(self._path(name), data))

    def read(self, name: str) -> bytes:
        """Read the object. Raises FileNotFoundError."""
        data: bytes = self._call(name, lambda: self._fs.cat_file(self._path(name)))
        return data

    def exists(self, name: str) -> bool:
        """Return whether the object exists."""
        try:
            self._call(name, lambda: self._fs.info(self._path(name)))
        except FileNotFoundError:
            return False
        return True

    def list(self, folder: str) -> Iterator[StoredObject]:
        """Yield the objects in a folder."""
        base = self._path(folder)
        found: dict[str, Any] = self._call(folder, lambda: self._fs.find(base, detail=True))
        for path, info in found.items():
            if info.get("type") == "file":
                yield StoredObject(f"{folder}/{path[len(base) + 1 :]}", int(info.get("size") or 0))

    def url(self, name: str) -> str:
        """Return the object's URL."""
        return f"{self.place}/{name}"

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _call(self, name: str, call: Callable[[], _T]) -> _T:
        try:
            return call()
        except FileNotFoundError:
            raise
        except Exception as error:
            raise storage_error(self.place, name, error) from error

    def _read_or_none(self, name: str) -> bytes | None:
        """Return the object, or None if it does not exist. Raises the OSError of the last attempt."""
        for seconds in (*_PAUSES, None):
            try:
                return self.read(name)
            except FileNotFoundError:
                return None
            except OSError:
                if seconds is None:
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
