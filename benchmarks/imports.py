"""What starting costs: imports and `--help`, each in a new interpreter whose modules were compiled before.

Also what a first request imports. The compiled modules are in a folder of the benchmark, so that
PYTHONDONTWRITEBYTECODE does not make every interpreter compile them again.
"""

import atexit
import functools
import os
import resource
import statistics
import subprocess
import sys
import tempfile

from benchmarks.cases import Case, Compare, Goal
from benchmarks.contenders import FLOOR, INTO, OURS, SDK, Missing
from benchmarks.turn import Tally, Turn

STATEMENTS = {
    OURS: 'from openai_images import ImagesClient; ImagesClient(api_key="x")',
    SDK: "import openai",
    FLOOR: "import aiohttp, attrs, cattrs, pybase64",
}
TIMED = "import time; start = time.process_time(); {}; print((time.process_time() - start) * 1e3)"
HELP = ("-m", "openai_images", "--help")
SECONDS = 60


async def import_time(turn: Turn) -> float:
    """CPU milliseconds of the contender's statement, without the interpreter's own start."""
    code = TIMED.format(STATEMENTS[turn.name])
    _run("-c", code)
    return statistics.median(float(_run("-c", code).stdout) for _ in range(turn.case.batches))


async def help_time(turn: Turn) -> float:
    """CPU milliseconds of the whole command, the interpreter's own start included."""
    times: list[float] = []
    for _ in range(turn.case.batches + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _run(*HELP)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3)
    return statistics.median(times[1:])


async def help_imports(turn: Turn) -> float:
    """How many modules of aiohttp the command imports; their names are noted."""
    lines = _run("-X", "importtime", *HELP).stderr.splitlines()
    names = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
    turn.notes.extend(name for name in names if name.partition(".")[0] == "aiohttp")
    return len(turn.notes)


async def late_imports(turn: Turn) -> float:
    """How many modules a first request and a first stream import; their names are noted."""
    late: list[str] = []
    for name in ("json-1kb", "stream-1kb"):
        async with turn.contender(name) as ask:
            before = set(sys.modules)
            await ask(Tally().hand)
            late += sorted(set(sys.modules) - before)
    turn.notes.extend(late)
    return len(late)


@functools.cache
def _compiled() -> str:
    folder = tempfile.TemporaryDirectory(prefix="benchmark-compiled-")
    atexit.register(folder.cleanup)
    return folder.name


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPYCACHEPREFIX": _compiled(), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False, env=env
    )
    last = (done.stderr.splitlines() or [""])[-1]
    if last.startswith("ModuleNotFoundError: ") or "openai-images[cli]" in done.stderr:
        raise Missing(last)
    if done.returncode:
        raise RuntimeError(last)
    return done


IMPORTS = (
    Case(
        key="import",
        title=f"import and make a client ({FLOOR}: import this client's four dependencies)",
        unit="CPU ms",
        probe=import_time,
        contenders=(OURS, SDK, FLOOR),
        goals=(
            Goal("<= its four dependencies + 30 ms", 30.0, Compare.ABOVE),
            Goal("<= 0.45 of import openai", 0.45, Compare.RATIO, SDK),
        ),
    ),
    Case(
        key="import-late",
        title="modules imported during the first request",
        unit="modules",
        probe=late_imports,
        contenders=(OURS, INTO, SDK),
        goals=(Goal("0", 0), Goal("into= 0", 0, of=INTO)),
    ),
    Case(
        key="help",
        title="openai-images --help",
        unit="CPU ms",
        probe=help_time,
        contenders=(OURS,),
        goals=(Goal("<= 200 ms", 200.0),),
    ),
    Case(
        key="help-imports",
        title="modules of aiohttp imported by openai-images --help",
        unit="modules",
        probe=help_imports,
        contenders=(OURS,),
        goals=(Goal("0", 0),),
    ),
)
