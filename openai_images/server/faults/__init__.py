"""The faults the local server can commit, by name; some take an argument after a colon (`status:503`).

Rules: `FAULTS` is read-only and says in a line what each does; an unknown name or a bad argument is a `ValueError`
that lists what is known. It refuses to be extended at run time: a fault is part of the server.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from openai_images.server.faults.content import CONTENT
from openai_images.server.faults.plan import NORMAL, Fault, Kind, Plan, Situation, fixed
from openai_images.server.faults.travel import TRAVEL
from openai_images.server.faults.whole import WHOLE_REPLIES, moderation_reply

__all__ = ["FAULTS", "OK", "Fault", "Plan", "Situation", "find_fault", "moderation_reply"]

OK: Final = Fault("ok", NORMAL)

_KINDS: Final[Mapping[str, Kind]] = {"ok": fixed("no fault", NORMAL), **TRAVEL, **CONTENT, **WHOLE_REPLIES}

FAULTS: Final[Mapping[str, str]] = MappingProxyType({name: kind.about for name, kind in _KINDS.items()})


def find_fault(name: str) -> Fault:
    """The fault called `name`, with the argument behind its colon if it has one."""
    base, colon, argument = name.partition(":")
    kind = _KINDS.get(base)
    if kind is None:
        raise ValueError(f"unknown fault {name!r}; known faults: {', '.join(sorted(_KINDS))}")
    if colon and not kind.takes_argument:
        raise ValueError(f"the fault {base!r} takes no argument, but got {argument!r}")
    given = argument if colon else kind.default
    if given is None:
        raise ValueError(f"the fault {base!r} needs an argument: {kind.about}")
    try:
        return Fault(name, kind.make(given))
    except ValueError as error:
        raise ValueError(f"bad argument {given!r} for the fault {base!r}: {error}") from None
