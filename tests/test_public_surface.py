"""What people rely on stays as it was agreed on: names, signatures, fields, help texts and keys of JSON lines."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

AGREED = Path(__file__).with_name("public_surface.txt")


@pytest.mark.skipif(version("click") < "8.2", reason="writes its help texts in other words")
def test_the_public_surface_is_the_agreed_one() -> None:
    """To change it on purpose: `python -m tests.public_surface > tests/public_surface.txt`."""
    environment = os.environ | {"COLUMNS": "100"}
    command = [sys.executable, "-m", "tests.public_surface"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert found.stderr == ""
    assert found.stdout == AGREED.read_text()
