"""The last requests of a server, for its page.

Invariants: `RECENT_REQUESTS` are kept, each with at most a few hundred bytes; bodies may have any values.
Must not: keep bodies, headers or keys.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

RECENT_REQUESTS: Final = 50
"""Maximum number of requests that are kept, enough for a page."""

PROMPT_BEGINNING: Final = 160
"""Characters of a prompt that are kept."""

_MAX_TEXT: Final = 200


class RequestDetails(NamedTuple):
    """The facts of a request that are known when its body has arrived."""

    fault: str = "ok"
    model: str = ""
    prompt: str = ""


class RecentRequest(NamedTuple):
    """One answered request: `at` is a Unix time in seconds; `status` is 0 if there was no response."""

    at: float
    seconds: float
    method: str
    path: str
    status: int
    details: RequestDetails


class RecentRequests:
    """The last requests, and the number of all."""

    def __init__(self) -> None:
        self.total = 0
        self.last: deque[RecentRequest] = deque(maxlen=RECENT_REQUESTS)
        self._details: dict[int, RequestDetails] = {}  # of active requests, by identity

    def describe(self, request: object, fields: Mapping[str, Any], fault: str) -> None:
        """Keep an active request's fault, its model and the beginning of its prompt."""
        self._details[id(request)] = RequestDetails(
            shorten(fault, _MAX_TEXT),
            shorten(fields.get("model"), _MAX_TEXT),
            shorten(fields.get("prompt"), PROMPT_BEGINNING),
        )

    def pop_details(self, request: object) -> RequestDetails:
        """Return and remove the details of a request that has ended."""
        return self._details.pop(id(request), RequestDetails())

    def add(self, request: RecentRequest) -> None:
        """Keep a request, and drop the oldest if there are too many."""
        self.total += 1
        self.last.append(request._replace(path=shorten(request.path, _MAX_TEXT)))


def shorten(value: object, limit: int) -> str:
    """Return the beginning of a text, on one line; empty for anything else."""
    text = " ".join(value[: 4 * limit].split()) if isinstance(value, str) else ""
    return text if len(text) <= limit else f"{text[:limit].rstrip()}\N{HORIZONTAL ELLIPSIS}"
