"""The suite stays green when models end: what knows of models, in a process whose clock is a year ahead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
KNOWING = (
    *("catalog/test_models.py", "validation/test_validator.py", "models/test_cost.py"),
    *("models/test_edit_requests.py", "server/test_answers.py", "server/test_parameters.py"),
    *("client/test_validation.py", "cli/test_demo.py", "test_docs.py"),
)
SLOW_PAGES = " or ".join(
    (
        "README",
        *(
            f"docs/{name}"
            for name in ("batches", "command-line", "editing", "local-server", "many-machines", "testing")
        ),
    )
)


def ahead(*arguments: str) -> str:
    """What a new Python prints with its clock a year ahead."""
    env = os.environ | {"PYTHONPATH": str(TESTS / "ahead"), "DAYS_AHEAD": "365"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=TESTS.parent, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_clock_is_ahead() -> None:
    """In the process, and in those that it starts."""
    year = "import time; print(time.time() // 86_400)"
    code = f"import subprocess, sys; {year}; subprocess.run([sys.executable, '-c', {year!r}], check=True)"
    today = subprocess.run([sys.executable, "-c", year], capture_output=True, text=True, check=True).stdout
    already = float(os.environ.get("DAYS_AHEAD", "0"))  # where the whole suite runs ahead
    for day in ahead("-c", code).split():
        assert float(day) - float(today) + already in (365, 366)


def test_nothing_depends_on_models_that_end() -> None:
    """Tables, checks, the local server, the demo and the pages."""
    paths = [str(TESTS / name) for name in KNOWING]
    said = ahead("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"not ({SLOW_PAGES})", *paths)
    assert "failed" not in said
