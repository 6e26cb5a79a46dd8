"""The faults of the local server by name: for image requests, downloads, files and batches.

Invariants: `FAULTS` is read-only; an unknown name or a bad argument is a `ValueError` that lists the known values.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from openai_images.server.faults.batches import BATCH_FAULTS, CALL_FAULTS
from openai_images.server.faults.bodies import BODY_FAULTS
from openai_images.server.faults.downloads import DOWNLOAD_FAULTS
from openai_images.server.faults.plan import NORMAL, Fault, FaultPlan, FaultType, P, fault
from openai_images.server.faults.statuses import STATUS_FAULTS

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


def find_post_fault(name: str) -> Fault[FaultPlan]:
    """Return the fault of an image request for `name`."""
    return find_fault(name, POST_FAULTS, "POSTs")


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
