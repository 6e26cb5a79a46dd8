"""The site builds without a warning, quickly, and its own check finds nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    """In under a minute, where Sphinx is installed (`make docs` and .ci/run install it)."""
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "--fail-on-warning", "--quiet"]
    command += ["--doctree-dir", str(tmp_path / "doctrees"), str(ROOT / "docs"), str(tmp_path / "site")]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "ImagesClient.generate" in (tmp_path / "site" / "reference" / "client.html").read_text()
