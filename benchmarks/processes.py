"""Modules of the benchmarks and commands in processes of their own, all in the same environment.

Must not: pass on settings that would change what is measured.
"""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_DISTORTING = re.compile(r"\w+_PROXY|OPENAI_\w+|PYTHONDEVMODE|PYTHONASYNCIODEBUG", re.IGNORECASE)


def environment(**more: str) -> dict[str, str]:
    """The environment without settings that would change what is measured, and with these."""
    return {name: value for name, value in os.environ.items() if not _DISTORTING.fullmatch(name)} | more


async def start(module: str, *arguments: str, env: Mapping[str, str], stderr: int | None = PIPE) -> Process:
    """A module, running; its standard output is a pipe."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=ROOT,
        env=environment(**env),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=stderr,
    )


async def apart(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """What a module prints as JSON. Raises RuntimeError where it fails."""
    process = await start(module, *arguments, env=env or {}, stderr=None)
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{module} {arguments[0]} ended with {process.returncode}")
    return json.loads(out)
