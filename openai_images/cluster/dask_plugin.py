"""What a Dask worker does when it is closed.

Invariants: the clients of an event loop are closed with its last worker: those of `LocalCluster(processes=False)` share
them. Every driver registers the plugin, and only the first one's is used: to replace it would close the clients.
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
        """Note that it is there."""
        _open_workers.setdefault(asyncio.get_running_loop(), set()).add(worker.id)

    async def teardown(self, worker: Any) -> None:
        """Close them, if it is the last one."""
        workers = _open_workers.get(asyncio.get_running_loop(), set())
        workers.discard(worker.id)
        if not workers:
            await close_workers()
