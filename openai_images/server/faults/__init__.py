"""The faults the local server can commit, by name; some take an argument after a colon (`status:503`).

Rules: `FAULTS` is read-only and says in a line what each does; an unknown name or a bad argument is a `ValueError`
that lists what is known. It refuses to be extended at run time: a fault is part of the server.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from openai_images.server.faults.bodies import CONTENT, TRAVEL
from openai_images.server.faults.downloads import DOWNLOADS, LOOP, DownloadPlan, Place
from openai_images.server.faults.plan import NORMAL, AnyPlan, Fault, Kind, P, Plan, Situation, fixed
from openai_images.server.faults.statuses import WHOLE_REPLIES, moderation_reply

__all__ = [
    "DOWNLOAD_OK",
    "FAULTS",
    "LOOP",
    "OK",
    "AnyPlan",
    "DownloadPlan",
    "Fault",
    "Place",
    "Plan",
    "Situation",
    "find_download_fault",
    "find_fault",
    "is_about_downloads",
    "moderation_reply",
]

OK: Final = Fault("ok", NORMAL)
DOWNLOAD_OK: Final = Fault("download_ok", DownloadPlan())

_KINDS: Final[Mapping[str, Kind[Plan]]] = {
    "ok": fixed("no fault", NORMAL),
    **TRAVEL,
    **CONTENT,
    **WHOLE_REPLIES,
}

FAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {name: kind.about for name, kind in _KINDS.items()}
    | {name: kind.about for name, kind in DOWNLOADS.items()}
)


def is_about_downloads(name: str) -> bool:
    """Whether a fault waits for the download of a picture, not for a request of one."""
    return name.startswith("download_")


def find_fault(name: str) -> Fault[Plan]:
    """The fault called `name`, with the argument behind its colon if it has one."""
    return _find(name, _KINDS, "POSTs")


def find_download_fault(name: str) -> Fault[DownloadPlan]:
    """The fault of a download called `name`, likewise."""
    return _find(name, DOWNLOADS, "downloads")


def _find(name: str, kinds: Mapping[str, Kind[P]], what: str) -> Fault[P]:
    base, colon, argument = name.partition(":")
    kind = kinds.get(base)
    if kind is None and base in FAULTS:
        raise ValueError(f"the fault {name!r} is not one of {what}")
    if kind is None:
        raise ValueError(f"unknown fault {name!r}; known faults: {', '.join(sorted(FAULTS))}")
    if colon and not kind.takes_argument:
        raise ValueError(f"the fault {base!r} takes no argument, but got {argument!r}")
    given = argument if colon else kind.default
    if given is None:
        raise ValueError(f"the fault {base!r} needs an argument: {kind.about}")
    try:
        return Fault(name, kind.make(given))
    except ValueError as error:
        raise ValueError(f"bad argument {given!r} for the fault {base!r}: {error}") from None
