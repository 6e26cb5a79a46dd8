"""The wall clock of every process of a test run, moved ahead by DAYS_AHEAD days: `PYTHONPATH=tests/ahead` loads this.

Rules: monotonic clocks and the clock of files are left alone. It refuses to be imported by a test.
"""

import os
import time

_SECONDS = float(os.environ.get("DAYS_AHEAD", "0")) * 86_400
_real = time.time


def _ahead() -> float:
    return _real() + _SECONDS


# It is pickled by name, as the real one is.
_ahead.__module__, _ahead.__qualname__, _ahead.__name__ = "time", "time", "time"
time.time = _ahead
