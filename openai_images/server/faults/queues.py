"""All faults of the local server by name, and the queues of faults for its next requests.

Invariants: `FAULTS` is read-only; an unknown name or a bad argument is a `ValueError` that lists the known values. Each
fault is used by one request, in order of arrival; queues change under a lock: tests fill them from other threads.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, Generic

import attrs

from openai_images.server.faults.bodies import BODY_FAULTS
from openai_images.server.faults.calls import (
    BATCH_FAULTS,
    BATCH_OK,
    CALL_FAULTS,
    CALL_OK,
    DOWNLOAD_FAULTS,
    DOWNLOAD_OK,
    BatchFaultPlan,
)
from openai_images.server.faults.plan import NORMAL, Fault, FaultPlan, FaultType, P, fault
from openai_images.server.faults.statuses import STATUS_FAULTS
from openai_images.server.protocol.error_replies import bad_request

OK: Final = Fault("ok", NORMAL)

POST_FAULTS: Final[Mapping[str, FaultType[FaultPlan]]] = {
    "ok": fault("no fault", NORMAL),
    **BODY_FAULTS,
    **STATUS_FAULTS,
}

FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: type_.about
        for types in (POST_FAULTS, DOWNLOAD_FAULTS, CALL_FAULTS, BATCH_FAULTS)
        for name, type_ in types.items()
    }
)
"""The description of each fault, by name; read-only."""


def find_fault(name: str, types: Mapping[str, FaultType[P]], what: str) -> Fault[P]:
    """Return the fault for `name`, which may end in a colon and an argument; `types` are those of `what`."""
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
    """The queued faults for one kind of request, `what`; `types` are its faults, `normal` is none."""

    what: str
    types: Mapping[str, FaultType[P]]
    normal: Fault[P]
    lock: threading.Lock
    always: Fault[P] | None = None
    pending: deque[Fault[P]] = attrs.field(factory=deque[Fault[P]])
    turns: dict[str, int] = attrs.field(factory=dict[str, int])

    def next_fault(self, header: str | None) -> Fault[P]:
        """Return the fault for a request that has just arrived; `header` is its X-Local-Fault."""
        with self.lock:
            if header is not None:
                try:
                    return self._alternate(find_fault(header, self.types, self.what))
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
    """The queues of a server, filled by name; `calls` has one for each step of files and batches."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.posts = FaultQueue("POSTs", POST_FAULTS, OK, self._lock)
        self.downloads = FaultQueue("downloads", DOWNLOAD_FAULTS, DOWNLOAD_OK, self._lock)
        self.batches = FaultQueue("batches", BATCH_FAULTS, BATCH_OK, self._lock)
        self.calls = {
            step: FaultQueue(f"the step {step}", {step: type_}, CALL_OK, self._lock)
            for step, type_ in CALL_FAULTS.items()
        }
        self._all: tuple[FaultQueue[Any], ...] = (
            self.posts,
            self.downloads,
            self.batches,
            *self.calls.values(),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The queued names, those of downloads, batches and files last."""
        with self._lock:
            return tuple(fault.name for queue in self._all for fault in queue.pending)

    def extend(self, names: Iterable[str], *, replace: bool = False) -> None:
        """Append faults, or replace the queued ones; change nothing if one of the names is unknown."""
        found = [self._find(name) for name in names]
        with self._lock:
            if replace:
                for queue in self._all:
                    queue.pending.clear()
            for queue, fault in found:
                queue.pending.append(fault)

    def reset(self, names: Iterable[str], always: str | None) -> None:
        """Replace all queues by these faults, and reset the turns of alternating ones."""
        self.extend(names, replace=True)
        self.always(None)
        self.always(always)
        for queue in self._all:
            queue.turns.clear()

    def always(self, name: str | None) -> None:
        """Set the fault of every request for which none is queued; None: no fault for requests of all kinds."""
        if name is None:
            for queue in self._all:
                queue.always = None
        else:
            queue, queue.always = self._find(name)

    def next_of_batch(self, header: str | None) -> Fault[BatchFaultPlan]:
        """Return the fault of a new batch; `header` is used if it names a fault of a batch."""
        return self.batches.next_fault(header if is_of_batch(header) else None)

    def _find(self, name: str) -> tuple[FaultQueue[Any], Fault[Any]]:
        """Return the queue of a fault, and the fault. Raises ValueError."""
        base = name.partition(":")[0]
        queue = next((queue for queue in self._all if base in queue.types), self.posts)
        return queue, find_fault(name, queue.types, queue.what)


def is_of_batch(header: str | None) -> bool:
    """Whether an X-Local-Fault names a fault of a batch, not of the call that creates it."""
    return header is not None and header.partition(":")[0] in BATCH_FAULTS
