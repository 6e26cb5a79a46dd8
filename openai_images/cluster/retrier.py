"""Retries operations of a storage: one failing write of thousands must not end a run.

Invariants: an operation must be safe to repeat; it is retried for a minute at most, after one warning; after a minute
without success, operations are tried only once until one succeeds; lasting errors, such as a full disk, are raised
immediately. Blocks.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from attrs import define

_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds; a minute in total."""

_LASTING: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}
)

_T = TypeVar("_T")
_log = logging.getLogger("openai_images")


@define
class Retrier:
    """Runs calls to a storage; `place` is its name in messages; `sleep` (seconds) blocks."""

    place: str
    sleep: Callable[[float], None]
    _has_explained: bool = False
    _is_down: bool = False

    def run(self, call: Callable[[], _T]) -> _T:
        """Return the call's result. Raises the OSError of the last attempt."""
        for seconds in (*(() if self._is_down else _PAUSES), None):
            try:
                answer = call()
            except OSError as error:
                if seconds is None or _lasts(error):
                    self._is_down = True
                    raise
                self._explain(error)
                self.sleep(seconds)
            else:
                self._is_down = False
                return answer
        raise AssertionError

    def _explain(self, error: OSError) -> None:
        if not self._has_explained:
            self._has_explained = True
            _log.warning(
                "%s cannot be used (%s): retrying for up to %d s each time (logged once)",
                *(self.place, error.strerror or type(error).__name__, sum(_PAUSES)),
            )


def _lasts(error: OSError) -> bool:
    return error.errno in _LASTING or isinstance(error, FileNotFoundError | PermissionError)
