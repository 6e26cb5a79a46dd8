"""`batch --dask`: what is said where it cannot work, and a dry run, which needs no cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--shard", "1/2"), "leave --shard out"),
        (("--local",), "openai-images serve"),
    ],
)
def test_what_does_not_go_together(cli: Cli, server: Any, more: tuple[str, ...], said: str) -> None:
    """It is a usage error, before anything is sent."""
    done = cli("batch", "-p", "otter", "--out", "out", "--dask", "tcp://127.0.0.1:9", *more)
    assert done.code == 2
    assert said in done.err
    assert not server.requests


def test_an_address_that_is_none(cli: Cli, server: Any) -> None:
    """The error names it; no folder is made."""
    done = cli("batch", "-p", "otter", "--out", "out", "--dask", "nonsense://host")
    assert done.code != 0
    assert "the Dask scheduler at nonsense://host does not respond" in done.err
    assert "Traceback" not in done.err
    assert not Path("out").exists()
    assert not server.requests


def test_a_dry_run_needs_no_cluster(cli: Cli, server: Any) -> None:
    """It plans from what is in the storage."""
    done = cli("batch", "-p", "otter", "--out", "out", "--dask", "tcp://127.0.0.1:9", "--dry-run")
    assert done.code == 0
    assert "nothing was sent" in done.err
    assert not server.requests
