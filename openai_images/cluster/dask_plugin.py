"""The clean-up of a Dask worker that is closed.

Invariants: clients are closed with the last worker of their event loop, as workers of `LocalCluster(processes=False)`
share them; every driver registers the plugin, but only the first one is used: replacing it would close the clients.
Must not: be imported without distributed, an extra.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from distributed import WorkerPlugin

from openai_images.cluster.worker import close_workers

_open_workers: WeakKeyDictionary[asyncio.AbstractEventLoop, set[str]] = WeakKeyDictionary()


class WorkerCleanup(WorkerPlugin):
    """Closes the clients of a worker's event loop."""

    name = "openai_images"
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Register the worker."""
        _open_workers.setdefault(asyncio.get_running_loop(), set()).add(worker.id)

    async def teardown(self, worker: Any) -> None:
        """Close the clients after the last worker."""
        workers = _open_workers.get(asyncio.get_running_loop(), set())
        workers.discard(worker.id)
        if not workers:
            await close_workers()
