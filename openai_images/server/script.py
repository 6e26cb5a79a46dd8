"""Which fault the next request takes: a header, then the script, then the one that is always on.

Rules: a scripted fault is used up by one request, in the order in which the headers of requests arrive.
It refuses to look at requests beyond the one header.
"""

from collections import deque
from collections.abc import Iterable

import attrs

from openai_images.server.faults import OK, Fault, find_fault


@attrs.define
class Script:
    """The faults still to come."""

    _queue: deque[Fault] = attrs.field(factory=deque[Fault])
    _always: Fault | None = None
    _turns: dict[str, int] = attrs.field(factory=dict[str, int])

    @property
    def names(self) -> tuple[str, ...]:
        """The names still in the script."""
        return tuple(fault.name for fault in self._queue)

    def extend(self, names: Iterable[str]) -> None:
        """Appends faults; none if one of the names is unknown."""
        self._queue.extend([find_fault(name) for name in names])

    def replace(self, names: Iterable[str]) -> None:
        """A new script in place of the rest of the old one."""
        self._queue = deque([find_fault(name) for name in names])

    def always(self, name: str | None) -> None:
        """The fault of every request the script says nothing about."""
        self._always = None if name is None else find_fault(name)

    def next_fault(self, header: str | None) -> Fault:
        """The fault for the request that has just arrived; `header` is its X-Local-Fault."""
        if header is not None:
            return self._in_turn(find_fault(header))
        if self._queue:
            return self._queue.popleft()
        return OK if self._always is None else self._in_turn(self._always)

    def _in_turn(self, fault: Fault) -> Fault:
        if not fault.plan.every_other:
            return fault
        turn = self._turns.get(fault.name, 0)
        self._turns[fault.name] = turn + 1
        return OK if turn % 2 else fault
