"""One contender's turn, in a process of its own: `python -m benchmarks.contender_process CONTENDER CASE PORT [small]`.

Prints one JSON object: the number as `value`, with the `parts`, `digests`, `errors` and `notes` of the turn; or
`missing` with what is not installed.
"""

import asyncio
import json
import sys
from typing import Any

from benchmarks.contenders import Missing
from benchmarks.delays import stall
from benchmarks.measures import case_of
from benchmarks.turn import Turn


async def _take(turn: Turn) -> float:
    return await turn.case.probe(turn)


def main() -> None:
    name, key, port, *small = sys.argv[1:]
    case = case_of(key).small if small else case_of(key)
    turn = Turn(name, case, int(port))
    report: dict[str, Any]
    try:
        loop_factory = turn.clock.new_loop if case.probe is stall else None
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
