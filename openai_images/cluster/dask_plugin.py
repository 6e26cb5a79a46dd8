"""What a Dask worker does when it is closed.

Must not: be imported without distributed, an extra.
"""

from __future__ import annotations

from typing import Any

from distributed import WorkerPlugin

from openai_images.cluster.worker import close_workers


class WorkerCleanup(WorkerPlugin):
    """Closes the clients of a worker's process."""

    name = "openai_images"

    async def teardown(self, worker: Any) -> None:  # noqa: ARG002  the signature of Dask
        """Close them."""
        await close_workers()
