"""Opens the storage that `--out` names: a folder, or the URL of an object store."""

from __future__ import annotations

import os
import re

from openai_images.cluster.storage import FolderStorage, Storage

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(out: str) -> bool:
    """Return whether this is the URL of an object store; `file://` is a folder."""
    return _URL.match(out) is not None and not out.startswith("file://")


def open_storage(out: str | os.PathLike[str]) -> Storage:
    """Return the storage of a folder or a URL. Raises `ConfigurationError` and OSError."""
    text = os.fspath(out)
    if not is_url(text):
        return FolderStorage(text.removeprefix("file://"))
    # Imported here: folders need no extra.
    from openai_images.cluster.fsspec_storage import FsspecStorage  # noqa: PLC0415

    return FsspecStorage(text)
