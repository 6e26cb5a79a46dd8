"""The files of partial images, which the client writes beside the picture and most people do not want to keep.

Rules: only files that came with this call go, also those that arrived when nobody listened any more.
It refuses to touch what lay there before.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from openai_images import Image

__all__ = ["PartialFiles"]


class PartialFiles:
    """Partial images written for the stem or file `into`; gone when the block ends, unless `keep`."""

    def __init__(self, into: Path, *, keep: bool) -> None:
        """Remember what is there already."""
        self._into = into
        self._keep = keep
        self._before = self._found()
        self._added: list[Image] = []

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove them."""
        if self._keep:
            return
        for path in self._found() - self._before | {image.path for image in self._added if image.path}:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def __len__(self) -> int:
        """How many have arrived."""
        return len(self._added)

    def add(self, image: Image) -> None:
        """One has arrived."""
        self._added.append(image)

    def _found(self) -> set[Path]:
        """The files that are named like partial images of this picture."""
        starts = (f"{self._into.stem}.partial-", f"{self._into.name}.partial-")
        try:
            return {path for path in self._into.parent.iterdir() if path.name.startswith(starts)}
        except OSError:
            return set()
