"""Why a picture did not come from where it is: for good, or for now.

Rules: the texts hold hosts, paths and reasons, no query and nothing of a header. None of these leaves the package:
people get a `DownloadError`, which also knows what did come.
"""

from __future__ import annotations


class NotFetchedError(Exception):
    """Why a picture did not come, after how many `attempts`; `status` is that of the last answer, if one came."""

    def __init__(self, why: str, *, status: int | None = None) -> None:
        """Keep the reason, which holds nothing secret."""
        super().__init__(why)
        self.status = status
        self.attempts = 0


class PassingError(NotFetchedError):
    """What another attempt may mend; `seconds` is the wait that the server asked for."""

    def __init__(self, why: str, *, status: int | None = None, seconds: float | None = None) -> None:
        """Keep how long to wait."""
        super().__init__(why, status=status)
        self.seconds = seconds
