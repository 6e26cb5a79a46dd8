"""A batch on one machine imports nothing of many machines, and a shared folder needs no extra."""

import subprocess
import sys

import pytest

CHECK = "import sys; {}; print(*sorted(m for m in sys.modules if m.startswith(('openai_images.cluster', 'fsspec'))))"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from openai_images import Batch, BatchOptions; import openai_images.cli.batch", ""),
        (
            "import tempfile; from openai_images.cluster.storage import open_storage; open_storage('x')",
            "-",
        ),
    ],
)
def test_what_is_imported(code: str, expected: str) -> None:
    """In a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK.format(code)], check=True, capture_output=True, text=True
    )
    found = done.stdout.split()
    assert not [name for name in found if name.startswith("fsspec")]
    assert bool(found) == bool(expected)
