"""The last requests of a server, for its page.

Invariants: `RECENT_REQUESTS` are kept, each a few hundred bytes whatever it held; any value of a body will do.
Must not: keep bodies, headers or keys.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

RECENT_REQUESTS: Final = 50
"""How many requests are kept: what fits on a page."""

PROMPT_BEGINNING: Final = 160
"""Characters of a prompt that are kept."""

_MAX_TEXT: Final = 200


class RequestDetails(NamedTuple):
    """What is known of a request once its body has arrived."""

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
    """The last requests, and how many there were."""

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
        """What was kept of a request that has ended."""
        return self._details.pop(id(request), RequestDetails())

    def add(self, request: RecentRequest) -> None:
        """Keep a request, and drop the oldest if there are too many."""
        self.total += 1
        self.last.append(request._replace(path=shorten(request.path, _MAX_TEXT)))


def shorten(value: object, limit: int) -> str:
    """The beginning of a text, on one line; empty for anything else."""
    text = " ".join(value[: 4 * limit].split()) if isinstance(value, str) else ""
    return text if len(text) <= limit else f"{text[:limit].rstrip()}\N{HORIZONTAL ELLIPSIS}"
