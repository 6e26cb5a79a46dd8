"""Which fault the next request takes: a header, then the script, then the one that is always on.

Rules: a scripted fault is used up by one request, in the order in which the headers of requests arrive; faults whose
names begin with `download_` wait for downloads, all others for POSTs; each change is one step under a lock, since tests
script from other threads. It refuses to look at requests beyond the one header.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic

import attrs

from openai_images.server.faults import (
    DOWNLOAD_OK,
    OK,
    DownloadPlan,
    Fault,
    Plan,
    find_download_fault,
    find_fault,
    is_about_downloads,
)
from openai_images.server.faults.plan import P


@attrs.define
class Script(Generic[P]):
    """The faults still to come of one sort of requests; `find` makes a fault of a name, `normal` is none."""

    find: Callable[[str], Fault[P]]
    normal: Fault[P]
    always: Fault[P] | None = None
    queue: deque[Fault[P]] = attrs.field(factory=deque[Fault[P]])
    lock: threading.Lock = attrs.field(factory=threading.Lock)
    _turns: dict[str, int] = attrs.field(factory=dict[str, int])

    def next_fault(self, header: str | None) -> Fault[P]:
        """The fault for the request that has just arrived; `header` is its X-Local-Fault."""
        with self.lock:
            if header is not None:
                return self._in_turn(self.find(header))
            if self.queue:
                return self.queue.popleft()
            return self.normal if self.always is None else self._in_turn(self.always)

    def _in_turn(self, fault: Fault[P]) -> Fault[P]:
        if not fault.plan.every_other:
            return fault
        turn = self._turns.get(fault.name, 0)
        self._turns[fault.name] = turn + 1
        return self.normal if turn % 2 else fault


@attrs.define
class Scripts:
    """The two scripts of a server, and what is said of both by name."""

    posts: Script[Plan] = attrs.field(init=False)
    downloads: Script[DownloadPlan] = attrs.field(init=False)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        self.posts = Script(find_fault, OK, lock=self._lock)
        self.downloads = Script(find_download_fault, DOWNLOAD_OK, lock=self._lock)

    @property
    def names(self) -> tuple[str, ...]:
        """The names still to come, those of downloads last."""
        with self._lock:
            posts = [fault.name for fault in self.posts.queue]
            return (*posts, *(fault.name for fault in self.downloads.queue))

    def extend(self, names: Iterable[str]) -> None:
        """Appends faults; none if one of the names is unknown."""
        posts, downloads = _found(names)
        with self._lock:
            self.posts.queue.extend(posts)
            self.downloads.queue.extend(downloads)

    def replace(self, names: Iterable[str]) -> None:
        """New scripts in place of the rest of the old ones."""
        posts, downloads = _found(names)
        with self._lock:
            self.posts.queue, self.downloads.queue = deque(posts), deque(downloads)

    def always(self, name: str | None) -> None:
        """The fault of every request the script says nothing about; None for none, of either sort."""
        if name is None:
            self.posts.always = self.downloads.always = None
        elif is_about_downloads(name):
            self.downloads.always = find_download_fault(name)
        else:
            self.posts.always = find_fault(name)


def _found(names: Iterable[str]) -> tuple[list[Fault[Plan]], list[Fault[DownloadPlan]]]:
    """The faults of these names, of either sort."""
    posts: list[Fault[Plan]] = []
    downloads: list[Fault[DownloadPlan]] = []
    for name in names:
        if is_about_downloads(name):
            downloads.append(find_download_fault(name))
        else:
            posts.append(find_fault(name))
    return posts, downloads
