"""One contender's turn, in a process of its own: `python -m benchmarks.contender_process CONTENDER CASE PORT [small]`.

Prints one JSON object: the number as `value`, with the `parts`, `digests`, `errors` and `notes` of the turn; or
`missing` with what is not installed.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks import cpu, delays, imports, many, memory
from benchmarks.contenders import Missing
from benchmarks.measures import case_of
from benchmarks.turn import Turn

PROBES: dict[str, Callable[[Turn], Awaitable[float]]] = {
    probe.__name__: probe
    for probe in (
        cpu.cpu_per_mb,
        cpu.cpu_per_call,
        delays.stall,
        delays.latency,
        cpu.growth,
        imports.late_imports,
        memory.memory,
        memory.memory_per_call,
        memory.crowd,
        cpu.decoder_64kb,
        cpu.decoder_1kb,
        imports.import_time,
        imports.help_time,
        imports.help_imports,
        many.work_off,
        many.cpu_per_picture,
        many.memory_growth,
    )
}


async def _take(turn: Turn) -> float:
    return await PROBES[turn.case.probe](turn)


def main() -> None:
    """Take the number that the command line names."""
    name, key, port, *small = sys.argv[1:]
    case = case_of(key).small if small else case_of(key)
    turn = Turn(name, case, int(port))
    report: dict[str, Any]
    try:
        loop_factory = turn.clock.new_loop if case.probe == "stall" else None
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            value = runner.run(_take(turn))
        report = {"value": value, "parts": turn.parts, "digests": turn.digests}
        report |= {"errors": turn.errors, "notes": turn.notes}
    except ModuleNotFoundError as error:
        report = {"missing": f"no module {error.name!r}"}
    except Missing as error:
        report = {"missing": str(error)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
