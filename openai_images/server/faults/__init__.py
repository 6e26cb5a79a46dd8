"""The faults of the local server by name, those of downloads, and the queues in which they wait for a request.

Invariants: `FAULTS` is read-only; an unknown name or a bad argument is a `ValueError` that lists what is known; a fault
is used up by one request, in order of arrival; queues change under a lock, as tests fill them from other threads.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, Generic, Literal

import attrs

from openai_images.server.error_replies import Reply, bad_request, error_reply
from openai_images.server.faults.bodies import BODY_FAULTS
from openai_images.server.faults.plan import (
    MEGABYTES,
    NORMAL,
    STATUS,
    Fault,
    FaultPlan,
    FaultType,
    P,
    Plan,
    argument,
    fault,
    fault_with_argument,
)
from openai_images.server.faults.statuses import STATUS_FAULTS, html_page, status_reply

_EXPIRED: Final = (
    b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code><Message>Server failed '
    b"to authenticate the request.</Message><AuthenticationErrorDetail>Signature not valid in the specified time frame"
    b"</AuthenticationErrorDetail></Error>"
)

_URL: Final = argument(str, lambda url: url.isprintable() and " " not in url, "a url")

Body = Literal["whole", "cut", "reset", "endless", "stalled", "empty"]


@attrs.frozen(kw_only=True)
class DownloadPlan(Plan):
    """How one download differs from the normal one, which is the default.

    `location` makes the target of a redirect from the port, the path with its query, and the hop in it.
    """

    reply: Callable[[], Reply] | None = None
    location: Callable[[int, str, str], str] | None = None
    body: Body = "whole"
    megabytes: float | None = None


def _redirect(url: str) -> DownloadPlan:
    return DownloadPlan(
        location=lambda port, path, _: url or f"http://localhost:{port}{_next_hop(path, '1')}"
    )


def _reply(reply: Reply) -> DownloadPlan:
    return DownloadPlan(reply=lambda: reply)


def _next_hop(url: str, hop: str) -> str:
    path, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith("hop=")]
    return f"{path}?{'&'.join([*kept, f'hop={hop}'])}"


LOOP: Final = DownloadPlan(
    location=lambda _, path, hop: _next_hop(path, "loop-b" if hop == "loop-a" else "loop-a")
)

DOWNLOAD_FAULTS: Final[Mapping[str, FaultType[DownloadPlan]]] = {
    "download_ok": fault("no fault for this download", DownloadPlan()),
    "download_status": fault_with_argument(
        "download_status:NNN (500) a download gets that HTTP status",
        "500",
        STATUS,
        lambda status: _reply(status_reply(status)),
    ),
    "download_404": fault(
        "a download finds nothing: 404",
        _reply(error_reply(404, "The picture was not found.", code="not_found")),
    ),
    "download_expired_403": fault(
        "a download comes too late: 403 with the XML of a storage",
        _reply(Reply(403, _EXPIRED, "application/xml")),
    ),
    "download_500_then_ok": fault(
        "500 for this download, the picture for the next",
        DownloadPlan(reply=lambda: status_reply(500), every_other=True),
    ),
    "download_redirect": fault_with_argument(
        "download_redirect:URL (this server under another host name) a download is sent there, 302",
        "",
        _URL,
        _redirect,
    ),
    "download_redirect_relative": fault(
        "a download is sent to a relative url that works",
        DownloadPlan(location=lambda _, path, __: _next_hop(path, "1")),
    ),
    "download_redirect_other_host": fault(
        "a download is sent to this server under the name localhost", _redirect("")
    ),
    "download_redirect_link_local": fault(
        "a download is sent to http://169.254.169.254/latest/meta-data/",
        _redirect("http://169.254.169.254/latest/meta-data/"),
    ),
    "download_redirect_file": fault(
        "a download is sent to file:///etc/passwd", _redirect("file:///etc/passwd")
    ),
    "download_redirect_loop": fault("a download is sent from here to there and back, for ever", LOOP),
    "download_endless": fault("a download begins as a picture and never ends", DownloadPlan(body="endless")),
    "download_huge": fault_with_argument(
        "download_huge:MB (100) a download of that many megabytes",
        "100",
        MEGABYTES,
        lambda megabytes: DownloadPlan(megabytes=megabytes),
    ),
    "download_cut": fault("a download ends after half of its declared length", DownloadPlan(body="cut")),
    "download_reset": fault("TCP reset after half of a download", DownloadPlan(body="reset")),
    "download_html": fault("a download gives an HTML page", _reply(html_page(200))),
    "download_empty": fault("a download gives nothing, with status 200", DownloadPlan(body="empty")),
    "download_stall": fault("a download gives not even headers until release()", DownloadPlan(hold=True)),
    "download_stall_mid_body": fault(
        "a download gives its first half, then nothing until release()", DownloadPlan(body="stalled")
    ),
}

OK: Final = Fault("ok", NORMAL)
DOWNLOAD_OK: Final = Fault("download_ok", DownloadPlan())

_POSTS: Final[Mapping[str, FaultType[FaultPlan]]] = {
    "ok": fault("no fault", NORMAL),
    **BODY_FAULTS,
    **STATUS_FAULTS,
}

FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {name: type_.about for name, type_ in _POSTS.items()}
    | {name: type_.about for name, type_ in DOWNLOAD_FAULTS.items()}
)
"""Every fault by its name, with a line about it; read-only."""


def find_fault(name: str) -> Fault[FaultPlan]:
    """The fault called `name`, with the argument after its colon if it has one."""
    return _find(name, _POSTS, "POSTs")


def find_download_fault(name: str) -> Fault[DownloadPlan]:
    """The fault of a download called `name`, likewise."""
    return _find(name, DOWNLOAD_FAULTS, "downloads")


def _find(name: str, types: Mapping[str, FaultType[P]], what: str) -> Fault[P]:
    base, colon, argument = name.partition(":")
    type_ = types.get(base)
    if type_ is None and base in FAULTS:
        raise ValueError(f"the fault {name!r} is not one of {what}")
    if type_ is None:
        near = "".join(f"did you mean {match!r}? " for match in get_close_matches(base, FAULTS, 1, 0.8))
        raise ValueError(f"unknown fault {name!r}; {near}known faults: {', '.join(sorted(FAULTS))}")
    if colon and not type_.takes_argument:
        raise ValueError(f"the fault {base!r} takes no argument, but got {argument!r}")
    text = argument if colon else type_.default
    if text is None:
        raise ValueError(f"the fault {base!r} needs an argument: {type_.about}")
    try:
        return Fault(name, type_.make(text))
    except ValueError as error:
        raise ValueError(f"bad argument {text!r} for the fault {base!r}: {error}") from None


@attrs.define
class FaultQueue(Generic[P]):
    """Queued faults of POSTs or of downloads; `find` makes a fault of a name, `normal` is none."""

    find: Callable[[str], Fault[P]]
    normal: Fault[P]
    lock: threading.Lock
    always: Fault[P] | None = None
    pending: deque[Fault[P]] = attrs.field(factory=deque[Fault[P]])
    turns: dict[str, int] = attrs.field(factory=dict[str, int])

    def next_fault(self, header: str | None) -> Fault[P]:
        """The fault for the request that has just arrived; `header` is its X-Local-Fault."""
        with self.lock:
            if header is not None:
                try:
                    return self._alternate(self.find(header))
                except ValueError as error:
                    raise bad_request(str(error), code="invalid_value", param="X-Local-Fault") from None
            if self.pending:
                return self.pending.popleft()
            return self.normal if self.always is None else self._alternate(self.always)

    def _alternate(self, fault: Fault[P]) -> Fault[P]:
        if not fault.plan.every_other:
            return fault
        turn = self.turns.get(fault.name, 0)
        self.turns[fault.name] = turn + 1
        return self.normal if turn % 2 else fault


class FaultQueues:
    """The two queues of a server, filled by name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.posts = FaultQueue(find_fault, OK, self._lock)
        self.downloads = FaultQueue(find_download_fault, DOWNLOAD_OK, self._lock)

    @property
    def names(self) -> tuple[str, ...]:
        """The queued names, those of downloads last."""
        with self._lock:
            posts = [fault.name for fault in self.posts.pending]
            return (*posts, *(fault.name for fault in self.downloads.pending))

    def extend(self, names: Iterable[str], *, replace: bool = False) -> None:
        """Appends faults, or replaces the queued ones; changes nothing if one of the names is unknown."""
        found = [(queue := self._queue_of(name), queue.find(name)) for name in names]
        with self._lock:
            if replace:
                self.posts.pending.clear()
                self.downloads.pending.clear()
            for queue, fault in found:
                queue.pending.append(fault)

    def reset(self, names: Iterable[str], always: str | None) -> None:
        """Queues only these faults, and forgets turns."""
        self.extend(names, replace=True)
        self.always(None)
        self.always(always)
        self.posts.turns.clear()
        self.downloads.turns.clear()

    def always(self, name: str | None) -> None:
        """The fault of every request for which none is queued; None for none of either kind."""
        if name is None:
            self.posts.always = self.downloads.always = None
        else:
            queue = self._queue_of(name)
            queue.always = queue.find(name)

    def _queue_of(self, name: str) -> FaultQueue[Any]:
        return self.downloads if name.startswith("download_") else self.posts
