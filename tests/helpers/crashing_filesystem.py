"""Disks for the tests of batches: one that tells what was done to it, one that fails, one whose plug is pulled.

A pulled plug ends everything between two operations, or in the middle of a write; what no sync has brought to the disk
itself is lost then, names as well as bytes.
"""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openai_images._util.filesystem import Disk

CHANGES = ("make_folder", "open", "create", "write", "sync", "truncate", "publish", "sync_folder", "remove")


class Pulled(Exception):  # noqa: N818  no error of the code under test
    """There is no power any more."""


class HastyDisk(Disk):
    """Syncs nothing: the page cache survives the tests, and whoever pulls a plug keeps account of what was synced."""

    def sync(self, descriptor: int) -> None:
        """Not now."""

    def sync_folder(self, folder: Path) -> None:
        """Not now."""


class WatchedDisk(HastyDisk):
    """Calls `about_to` before each operation that changes something; `log` has them with the names they touch."""

    def __init__(self) -> None:
        """Nothing was done yet."""
        self.log: list[tuple[str, str]] = []
        self.paths: dict[int, Path] = {}
        self._lock = threading.RLock()

    def about_to(self, operation: str, path: Path, args: tuple[Any, ...]) -> None:
        """The next operation; raise to prevent it."""

    def did(self, operation: str, path: Path, result: Any) -> None:
        """It was done."""

    def open(self, path: Path) -> int:
        """Watched."""
        return self._opened("open", path)

    def create(self, path: Path) -> int:
        """Watched."""
        return self._opened("create", path)

    def close(self, descriptor: int) -> None:
        """Watched."""
        self.paths.pop(descriptor, None)
        super().close(descriptor)

    def make_folder(self, folder: Path) -> None:
        """Watched."""
        self._do("make_folder", folder)

    def write(self, descriptor: int, data: bytes) -> None:
        """Watched."""
        self._do("write", descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Watched."""
        self._do("sync", descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Watched."""
        self._do("truncate", descriptor, size)

    def publish(self, part: Path, target: Path) -> Path:
        """Watched."""
        return self._do("publish", part, target)

    def sync_folder(self, folder: Path) -> None:
        """Watched."""
        self._do("sync_folder", folder)

    def remove(self, path: Path) -> None:
        """Watched."""
        self._do("remove", path)

    def _opened(self, operation: str, path: Path) -> int:
        descriptor: int = self._do(operation, path)
        self.paths[descriptor] = path
        return descriptor

    def _do(self, operation: str, target: int | Path, *args: Any) -> Any:
        with self._lock:
            path = self.paths[target] if isinstance(target, int) else target
            self.about_to(operation, path, args)
            self.log.append((operation, path.name))
            result = getattr(HastyDisk, operation)(self, target, *args)
            self.did(operation, path, result)
            return result


class FailingDisk(WatchedDisk):
    """Fails with this error number where `fails` says so, after writing half of what was to be written."""

    def __init__(self, fails: Callable[[str, Path], bool], number: int = errno.ENOSPC) -> None:
        """Fail as a disk does."""
        super().__init__()
        self.fails = fails
        self.number = number

    def about_to(self, operation: str, path: Path, args: tuple[Any, ...]) -> None:
        """Prevent it, where its time has come."""
        if self.fails(operation, path):
            self.half(operation, path, args)
            raise OSError(self.number, os.strerror(self.number))

    def half(self, operation: str, path: Path, args: tuple[Any, ...]) -> None:
        """Do half of a write."""
        if operation == "write":
            with path.open("ab") as file:
                file.write(args[0][: len(args[0]) // 2])


class PluggedDisk(FailingDisk):
    """Has power for so many operations; the one after them is done to a half. `loses` what was not synced."""

    def __init__(self, operations: int, *, loses: bool) -> None:
        """Pull the plug then."""
        super().__init__(lambda operation, path: False)
        self.left = operations
        self.loses = loses
        self.is_pulled = False
        self._synced: dict[Path, int] = {}  # files with bytes that may be lost, and how many are safe
        self._new: set[Path] = set()  # names that may be lost
        self._moved: dict[Path, Path] = {}  # and the safe names they had before

    def about_to(self, operation: str, path: Path, args: tuple[Any, ...]) -> None:
        """Prevent it, where its time has come."""
        if self.left > 0 and not self.is_pulled:
            self.left -= 1
            if operation == "write":
                self._synced.setdefault(path, path.stat().st_size)
            if operation in ("open", "create") and not path.exists():
                self._new.add(path)
            return
        if not self.is_pulled:
            self.is_pulled = True
            if operation == "write":
                self._synced.setdefault(path, path.stat().st_size)
            self.half(operation, path, args)
            if self.loses:
                self._lose()
        raise Pulled

    def did(self, operation: str, path: Path, result: Any) -> None:
        """Keep account of what is safe."""
        if operation == "sync":
            self._synced.pop(path, None)
        elif operation == "sync_folder":
            self._new = {name for name in self._new if name.parent != path}
            self._moved = {name: before for name, before in self._moved.items() if name.parent != path}
        elif operation == "publish":
            if path not in self._new:
                self._moved[result] = path
            self._new.discard(path)
            self._new.add(result)

    def _lose(self) -> None:
        """What a power cut takes at the worst."""
        for path, size in self._synced.items():
            if path.exists():
                os.truncate(path, size)
        for path in self._new:
            if path in self._moved:
                path.rename(self._moved[path])
            else:
                path.unlink(missing_ok=True)
