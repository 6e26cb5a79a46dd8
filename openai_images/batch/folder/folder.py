"""A batch's folder: checks and locks it, and opens and repairs its journal.

Invariants: a folder with other contents than a batch is rejected and not changed; one process at a time uses a folder;
the torn last line of a journal is moved to `journal.torn`. Blocks; called in a thread.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from attrs import define, evolve, field

from openai_images._util.filesystem import Disk, FolderLock
from openai_images.batch.journal.journal import FORMAT, Journal
from openai_images.batch.journal.journal_reader import JournalContents, parse_journal
from openai_images.errors import BatchFolderError

_MAX_HOLDER = 64
_FIRST_BYTES = b'{"state":"begun"'
_SYSTEM_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})  # created by file managers


class Paths:
    """The files of a batch's folder.

    `torn` has torn last lines of the journal; `lock` is the lock file, which stays and contains the process id.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images, self.thumbs = root / "images", root / "thumbs"
        self.journal, self.torn = root / "journal.jsonl", root / "journal.torn"
        self.lock = root / "batch.lock"


@define
class BatchFolder:
    """The folder of a batch: `claim` it, `open_journal`, and `release` it at the end."""

    disk: Disk
    paths: Paths
    _lock: FolderLock | None = field(default=None, init=False)

    def claim(self) -> None:
        """Create and lock the folder. Raises `BatchFolderError` and OSError."""
        self._reject_foreign_folder()
        self.disk.make_folder(self.paths.root)
        try:
            lock = self.disk.lock(self.paths.lock)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            msg = (
                f"the file system of {self._display_path} cannot lock files, so a second process could pay for "
                "everything again; use a folder on another file system"
            )
            raise BatchFolderError(msg) from error
        if lock is None:
            raise self._in_use_error()
        self._lock = lock
        self._reject_foreign_folder()
        self.disk.make_folder(self.paths.images)
        self.disk.check_writable(self.paths.images)

    def release(self) -> None:
        """Unlock the folder. Idempotent."""
        if self._lock is not None:
            self._lock.release()

    def open_journal(self) -> tuple[Journal, JournalContents]:
        """Lock, read and repair the journal. Raises `BatchFolderError` and OSError."""
        descriptor = self.disk.open(self.paths.journal)
        try:
            if not self.disk.try_lock(descriptor):  # someone may have removed batch.lock of a running batch
                raise self._in_use_error()  # noqa: TRY301
            data = self.disk.read(self.paths.journal)
            contents = parse_journal(data)
            self._reject_journal(data, contents)
            size, contents = self._repair(descriptor, len(data), contents)
            self.disk.sync_folder(self.paths.root)
        except BaseException:
            self.disk.close(descriptor)
            raise
        return Journal(self.disk, descriptor, size), contents

    @property
    def _display_path(self) -> str:
        return repr(str(self.paths.root))

    def _in_use_error(self) -> BatchFolderError:
        holder = self.disk.read(self.paths.lock, 0, _MAX_HOLDER).decode(errors="replace").strip()
        own_pid = str(os.getpid()) if self._lock is not None else ""  # this run wrote it
        user = f"process {holder}" if holder.isdecimal() and holder != own_pid else "another process"
        msg = f"{user} is using the batch folder {self._display_path}; wait until it has ended, or use another folder"
        return BatchFolderError(msg)

    def _reject_links(self) -> None:
        """Reject links: files must be in the folder itself."""
        paths = self.paths
        files = dict.fromkeys((paths.lock, paths.journal, paths.torn), stat.S_ISREG)
        for path, is_right in {**files, paths.images: stat.S_ISDIR, paths.thumbs: stat.S_ISDIR}.items():
            try:
                mode = path.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                continue
            if not is_right(mode):
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "not what a batch creates"
                msg = f"{str(path)!r} is {kind}; nothing was changed. Remove it, or use another folder"
                raise BatchFolderError(msg)

    def _reject_foreign_folder(self) -> None:
        self._reject_links()
        root, paths = self.paths.root, self.paths
        if (root / "claims").is_dir():
            msg = (
                f"{self._display_path} is the folder of a batch that many machines share, which could pay for the same "
                "images: continue it with shard=Shard(1, 1), or --shard 1/1"
            )
            raise BatchFolderError(msg)
        if paths.journal.is_file():
            if not _FIRST_BYTES.startswith(self.disk.read(paths.journal, 0, len(_FIRST_BYTES))):
                data = self.disk.read(paths.journal)
                self._reject_journal(data, parse_journal(data))
            return
        if not root.exists():
            return
        if not root.is_dir():
            raise BatchFolderError(
                f"{self._display_path} is a file; pass the name of a folder, which the batch creates"
            )
        own_files = {paths.lock, paths.torn, paths.images}
        foreign_files = [
            path for path in root.iterdir() if path not in own_files and path.name not in _SYSTEM_FILES
        ]
        if foreign_files or (paths.images.is_dir() and any(paths.images.iterdir())):
            msg = (
                f"{self._display_path} is not empty and has no journal.jsonl, so it is not the folder of a batch; "
                "nothing in it was changed. Use a new or an empty folder"
            )
            raise BatchFolderError(msg)

    def _reject_journal(self, data: bytes, contents: JournalContents) -> None:
        """Reject an unreadable journal, which may hide paid requests, and one of a newer version."""
        is_torn_beginning = contents.torn == data and _FIRST_BYTES.startswith(data[: len(_FIRST_BYTES)])
        if not contents.rows and data.strip() and not is_torn_beginning:
            msg = (
                f"{str(self.paths.journal)!r} has no row of a batch, so it is unknown what was paid for; "
                "nothing was sent, and nothing changed. Restore it, or use another folder"
            )
            raise BatchFolderError(msg)
        if not contents.rows and self.paths.images.is_dir() and any(self.paths.images.iterdir()):
            msg = (
                f"{str(self.paths.journal)!r} has no row, although there are images next to it: its rows were lost; "
                "nothing was sent, and nothing changed. Restore it, or use another folder"
            )
            raise BatchFolderError(msg)
        newest = max((row.get("format", 0) for row in contents.rows if row["state"] == "begun"), default=0)
        if newest > FORMAT:
            msg = f"the journal in {self._display_path} is from a newer version of this package; use that version"
            raise BatchFolderError(msg)

    def _repair(self, descriptor: int, size: int, contents: JournalContents) -> tuple[int, JournalContents]:
        """Add a missing newline to the last line, and move a torn line to `journal.torn`, with a note."""
        disk, torn = self.disk, contents.torn
        if torn:
            torn_file = disk.open(self.paths.torn)
            try:
                disk.write(torn_file, torn + b"\n")
                disk.sync(torn_file)
            finally:
                disk.close(torn_file)
            disk.sync_folder(self.paths.root)
            size -= len(torn)
            disk.truncate(descriptor, size)
            disk.sync(descriptor)
            note = (
                f"the last line of journal.jsonl was torn ({len(torn):,} bytes, as after a crash): it was moved to "
                "journal.torn, and its item is checked again"
            )
            contents = evolve(contents, notes=(*contents.notes, note))
        if contents.lacks_newline:
            disk.write(descriptor, b"\n")
            disk.sync(descriptor)
            size += 1
        return size, contents
