"""The command in a process of its own, for tests that send it signals or take its streams away."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def started(*argv: str, stdout: Any = subprocess.PIPE, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """The command in a process, killed at the latest when the block ends; `before` is code that runs first."""
    code = f"import sys\n{before}\nfrom openai_images.cli import main\nsys.exit(main())"
    command = [sys.executable, *(["-c", code] if before else ["-m", "openai_images"]), *argv]
    # A shell starts its background jobs with SIGINT ignored, and children inherit that.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        running = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, previous)
    with running:
        try:
            yield running
        finally:
            running.kill()


def wait_for(stream: Any, words: str) -> str:
    """Read lines until one has these words."""
    read = ""
    for line in stream:
        read += line
        if words in line:
            return read
    raise AssertionError(f"never said {words!r}: {read}")
