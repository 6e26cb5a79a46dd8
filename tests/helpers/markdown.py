"""Runs the code blocks of a Markdown page as they are printed, from top to bottom.

- The `python` blocks of a page share one namespace and one event loop; `await` may stand at the top level, and a
  block may as well call `asyncio.run` itself.
- In `console` blocks each `$ openai-images ...` runs in a shell and must exit with 0; other commands are not run.
- A comment just above a block changes that: `<!-- exit: 2 -->`, or `<!-- no-run: the reason -->`.
- A `python` block that begins with `# NAME.py` is a file; if some are tests, pytest runs them at the end of the page,
  without a key in the environment.
- Blocks of other languages are shown, never run; one without a known language is an error, so none is forgotten.
"""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = re.compile(r"# (?P<name>\w+\.py)\n")
SHOWN_ONLY = {"csv", "html", "http", "json", "jsonl", "text", "toml", "yaml"}
SECONDS = 60

FENCE = re.compile(r"(?P<indent> *)(?P<ticks>`{3,})(?P<language>[^`]*)")
DIRECTIVE = re.compile(r"\s*<!-- (?P<name>no-run|exit): (?P<value>\S.*) -->\s*")
COMMAND = re.compile(r"^\$ ((?:[A-Z_]+=\S* )*openai-images\b(?:.*\\\n)*.*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block: its first line's number in the page, and the comments just above it."""

    page: Path
    line: int
    language: str
    text: str
    directives: dict[str, str]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    directives: dict[str, str] = {}
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    for number, line in lines:
        if directive := DIRECTIVE.fullmatch(line):
            directives[directive["name"]] = directive["value"]
        elif fence := FENCE.fullmatch(line):
            body: list[str] = []
            for _, inner in lines:
                if inner.strip() == fence["ticks"]:
                    break
                body.append(inner.removeprefix(fence["indent"]) + "\n")
            yield Block(page, number + 1, fence["language"].strip(), "".join(body), directives)
            directives = {}
        elif line.strip():
            directives = {}


def run_page(page: Path) -> int:
    """Run a page's blocks in the current directory; the number of those that ran."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    ran = 0
    with asyncio.Runner() as runner:
        for block in blocks(page):
            if "no-run" in block.directives or block.language in SHOWN_ONLY:
                continue
            if block.language == "python" and (file := FILE.match(block.text)):
                Path(file["name"]).write_text(block.text)
            elif block.language == "python":
                run_python(block, namespace, runner)
            elif block.language == "console":
                run_console(block)
            else:
                raise AssertionError(f"{page}:{block.line}: no such language: {block.language!r}")
            ran += 1
    if any(Path().glob("test_*.py")):
        run_tests(page)
    return ran


def run_tests(page: Path) -> None:
    """Run the test files in the current directory, in a pytest of their own."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=3 * SECONDS, env=env)
    assert done.returncode == 0, f"{page}: {done.stdout}{done.stderr}"


def run_python(block: Block, namespace: dict[str, Any], runner: asyncio.Runner) -> None:
    """Run one block; a traceback shows the page's own lines."""
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, block.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        runner.run(asyncio.wait_for(eval(code, namespace), SECONDS))
    else:
        exec(code, namespace)


def run_console(block: Block) -> None:
    """Run the block's commands with the interpreter's own scripts first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    wanted = int(block.directives.get("exit", "0"))
    for command in COMMAND.findall(block.text):
        done = subprocess.run(
            command,
            shell=True,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": path},
        )
        assert done.returncode == wanted, (
            f"{block.page}:{block.line}: {command!r} exited with {done.returncode}, not {wanted}\n"
            f"{done.stdout}{done.stderr}"
        )
