"""The workers of a Dask cluster: how many there are, and the wait for the first one.

Invariants: without workers, it warns and waits for at most `max_wait` seconds.
Must not: import distributed, an extra; decide that the scheduler is lost.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from typing import Any, Final

from openai_images.cluster.engine import SENT_IS_RECORDED
from openai_images.errors import ClusterError
from openai_images.models.options import Timing

_log = logging.getLogger("openai_images")

_WORKERS_INTERVAL = 2.0

ANSWER_SECONDS: Final = 30.0
"""Seconds after which a scheduler that does not respond counts as lost: it may be suspended with an open connection."""


def dask_address(client: Any) -> str:
    """Return the address of the scheduler of this `distributed.Client`."""
    scheduler = client.scheduler
    return "an unknown address" if scheduler is None else str(scheduler.address)


class WorkerWatch:
    """Watches the workers; call `look` often."""

    def __init__(self, client: Any, timing: Timing, max_wait: float) -> None:
        self._client = client
        self._timing = timing
        self._max_wait = max_wait
        self._looked_at = -math.inf
        self._without_workers: float | None = None
        self.processes = 0

    async def slots(self) -> Mapping[str, int]:
        """Return the number of concurrent chunks of each worker, by its address. Raises OSError and TimeoutError."""
        slots: Mapping[str, int] = await asyncio.wait_for(self._client.scheduler.ncores(), ANSWER_SECONDS)
        self.processes = len(slots)
        return slots

    async def look(self) -> None:
        """Look at the workers, if it is time to. Raises `ClusterError` after `max_wait` seconds without a worker.

        Raises OSError and TimeoutError if the scheduler does not respond.
        """
        if self._timing.monotonic() - self._looked_at >= _WORKERS_INTERVAL:
            self._looked_at = self._timing.monotonic()
            self._note_workers(await self.slots())

    def wait_reason(self) -> str | None:
        """Return a text if there is no worker, otherwise None."""
        if self._without_workers is None:
            return None
        return f"no worker is connected to the Dask scheduler at {dask_address(self._client)}"

    def _note_workers(self, slots: Mapping[str, int]) -> None:
        now, address = self._timing.monotonic(), dask_address(self._client)
        if slots:
            self._without_workers = None
        elif self._without_workers is None:
            self._without_workers = now
            _log.warning(
                "no worker is connected to the Dask scheduler at %s; waiting for one, at most %.0f s: "
                "dask worker %s --nthreads 32",
                *(address, self._max_wait, address),
            )
        elif now - self._without_workers > self._max_wait:
            where = f"the Dask scheduler at {address}"
            raise ClusterError(
                f"no worker connected to {where} in {self._max_wait:.0f} s. {SENT_IS_RECORDED}"
            )


def warn_of_few_slots(slots: Mapping[str, int], chunk: int, in_flight: int) -> None:
    """Log a warning if a worker has too few slots to keep `in_flight` requests in flight in chunks of `chunk`."""
    fewest = min(slots.values(), default=None)
    if fewest is not None and fewest * chunk < 2 * in_flight:
        _log.warning(
            "a Dask worker with %d threads runs %d items concurrently, too few to keep %d requests in flight: "
            "start workers with --nthreads %d",
            *(fewest, fewest * chunk, in_flight, math.ceil(4 * in_flight / chunk)),
        )
