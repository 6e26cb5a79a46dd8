"""The command line: `openai-images generate`, `edit`, `batch`, `serve` and `demo`.

Rules: results go to stdout, everything else to stderr; the exit code is 0 when all went well, 1 when something
failed, 2 for usage or configuration, 130 when interrupted. Nothing heavy is imported before a command runs, so `--help`
answers at once. It refuses to show a traceback (unless `--verbose`), a key, a prompt or base64.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

from openai_images.cli.streams import hush

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_EXTRAS = {"click": "click", "rich": "rich", "PIL": "Pillow"}


def main(
    argv: Sequence[str] | None = None, stdout: TextIO | None = None, stderr: TextIO | None = None
) -> int:
    """Run one command and give its exit code; arguments and streams default to the process's own."""
    out, err = stdout or sys.stdout or _nowhere(), stderr or sys.stderr or _nowhere()
    try:
        from openai_images.cli.commands import run

        return run(sys.argv[1:] if argv is None else argv, out, err)
    except ModuleNotFoundError as error:
        missing = _EXTRAS.get((error.name or "").partition(".")[0])
        if missing is None:
            raise
        err.write(f"error: this needs {missing}, which is not installed: pip install 'openai-images[all]'\n")
        return 2
    except KeyboardInterrupt:
        err.write("interrupted\n")
        return 130
    except BrokenPipeError:
        hush(out)
        return 1


def _nowhere() -> TextIO:
    """Where the shell closed a stream (`>&-`) Python has None; the picture is painted and written all the same."""
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  it stays open as long as the process
