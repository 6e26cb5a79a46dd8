"""The command line: `openai-images generate`, `edit`, `batch`, `costs`, `models`, `serve`, `studio` and `demo`.

Invariants: results go to stdout, everything else to stderr; exit codes: 0 all done, 1 something failed (also a stdout
that cannot be written), 2 usage or configuration, 130 interrupted.
Must not: import slow modules before a command runs; show a key, a prompt, base64, or a traceback without `--verbose`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from openai_images.cli.console import ResilientStream, prepare_descriptors

__all__ = ["main"]

_INTERRUPTED = 130
_EXTRAS = {"click": "click", "rich": "rich", "PIL": "Pillow"}


def main(
    argv: Sequence[str] | None = None, stdout: TextIO | None = None, stderr: TextIO | None = None
) -> int:
    """Run one command and return its exit code; arguments and streams default to those of the process."""
    if argv is None:
        prepare_descriptors()
    out, err = ResilientStream(stdout or sys.stdout), ResilientStream(stderr or sys.stderr)
    code = _run(sys.argv[1:] if argv is None else argv, out, err)
    out.flush()
    if out.error is not None:
        code = code or 1
        if not isinstance(out.error, BrokenPipeError):
            why = getattr(out.error, "strerror", None) or out.error
            err.write(f"error: stdout could not be written: {why}\n")
    err.flush()
    for stream in (out, err):
        stream.release()
    if argv is None and code == _INTERRUPTED:
        os._exit(code)  # without waiting for threads, which may never end
    return code


def _run(argv: Sequence[str], out: ResilientStream, err: ResilientStream) -> int:
    try:
        from openai_images.cli.commands import run

        return run(argv, out, err)
    except ModuleNotFoundError as error:
        missing = _EXTRAS.get((error.name or "").partition(".")[0])
        if missing is None:
            raise
        err.write(f"error: this needs {missing}, which is not installed: pip install 'openai-images[all]'\n")
        return 2
    except KeyboardInterrupt:
        err.write("interrupted\n")
        return _INTERRUPTED
