"""The workers of a Dask cluster: how many there are, whether they start chunks, and why their requests wait.

Invariants: while nothing can start (no worker, or all slots taken by other tasks), it warns and waits for at most
`max_wait` seconds; workers are asked only when no chunk has ended for some seconds, as each of them logs that; one that
does not respond delays the others for a few seconds.
Must not: import distributed, an extra; decide that the scheduler is lost.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from openai_images._util.waits import LONG_WAIT, Wait
from openai_images.cluster.engine import SENT_IS_RECORDED
from openai_images.cluster.job import RunReport
from openai_images.cluster.worker import report_run, stop_run
from openai_images.errors import ClusterError
from openai_images.models.options import Timing

_log = logging.getLogger("openai_images")

_WORKERS_INTERVAL, _REPORT_INTERVAL = 2.0, 10.0

_REPORT_SECONDS = 5.0
"""Seconds to wait for the report of a worker, which may be suspended."""

ANSWER_SECONDS: Final = 30.0
"""Seconds after which a scheduler that does not respond counts as lost: it may be suspended with an open connection."""


def dask_address(client: Any) -> str:
    """Return the address of the scheduler of this `distributed.Client`."""
    scheduler = client.scheduler
    return "an unknown address" if scheduler is None else str(scheduler.address)


class WorkerWatch:
    """Watches the workers; call `look` often, `started` and `ended` for each chunk of a run."""

    def __init__(self, client: Any, timing: Timing, max_wait: float) -> None:
        self._client = client
        self._timing = timing
        self._max_wait = max_wait
        self._slots: Mapping[str, int] = {}
        self._looked_at = self._asked_at = -math.inf
        self._run = ""
        self._chunks = 0
        self._quiet_since = 0.0
        self._idle_since: float | None = None
        self._reports: Mapping[str, RunReport | None] = {}
        self._stall: Wait | None = None

    @property
    def processes(self) -> int:
        """The number of workers."""
        return len(self._slots)

    async def slots(self) -> Mapping[str, int]:
        """Return the number of concurrent chunks of each worker, by its address. Raises OSError and TimeoutError."""
        self._slots = await asyncio.wait_for(self._client.scheduler.ncores(), ANSWER_SECONDS)
        return self._slots

    def started(self, run: str) -> None:
        """Count a chunk of this run that is given to the scheduler."""
        self._run = run
        if not self._chunks:
            self._note_activity()
        self._chunks += 1

    def ended(self) -> None:
        """Count a chunk that has ended."""
        self._chunks -= 1
        self._note_activity()

    async def look(self) -> None:
        """Look at the workers, if it is time to. Raises `ClusterError` after `max_wait` seconds without a start.

        Raises OSError and TimeoutError if the scheduler does not respond.
        """
        now = self._timing.monotonic()
        if now - self._looked_at >= _WORKERS_INTERVAL:
            self._looked_at = now
            await self.slots()
        is_quiet = self._chunks > 0 and now - self._quiet_since >= LONG_WAIT
        if is_quiet and now - self._asked_at >= _REPORT_INTERVAL:
            self._asked_at = now
            await self._read_reports()
        self._note_stall(now)

    async def stop(self, run: str) -> Collection[str] | None:
        """Tell all workers to start no more items of a run; return the ids of those that they still run.

        None if a worker does not respond.
        """
        reports = await self._ask(stop_run, run)
        return None if None in reports.values() else _started(reports)

    def wait_reason(self) -> str | None:
        """Return why nothing starts, or why the requests of workers wait, and until when; None if they do not."""
        stall, reports = self._stall, self._reports.values()  # another thread may call this
        if stall is not None:
            return stall.describe(self._timing.monotonic(), self._timing.wall())
        count, silent = len(reports), sum(report is None for report in reports)
        reasons = [report.wait_reason for report in reports if report is not None and report.wait_reason]
        if reasons:
            return reasons[0] if len(reasons) == count else f"{len(reasons)} of {count} workers: {reasons[0]}"
        return f"{silent} of {count} Dask workers do not respond" if silent else None

    def _note_activity(self) -> None:
        if self._idle_since is not None:
            self._stall = None
        self._quiet_since, self._idle_since, self._reports = self._timing.monotonic(), None, {}

    async def _read_reports(self) -> None:
        run, since = self._run, self._quiet_since
        reports = await self._ask(report_run, run)
        if since != self._quiet_since:  # a chunk has ended in the meantime
            return
        self._reports = reports
        is_idle = all(report == RunReport() for report in reports.values())
        self._idle_since = (self._idle_since or since) if is_idle else None

    async def _ask(self, function: Callable[[str], object], run: str) -> dict[str, RunReport | None]:
        """Call a function in each worker; return its reports, None for a worker that does not respond."""

        async def ask(address: str) -> RunReport | None:
            call = self._client.run(function, run, workers=[address], on_error="ignore")
            try:
                reports: dict[str, RunReport] = await asyncio.wait_for(call, _REPORT_SECONDS)
            except (OSError, TimeoutError):
                return None
            return reports.get(address)

        addresses = list(self._slots)
        return dict(zip(addresses, await asyncio.gather(*map(ask, addresses)), strict=True))

    def _note_stall(self, now: float) -> None:
        address, since, hint = dask_address(self._client), self._idle_since, ""
        if not self._slots:
            cause, since = f"no worker is connected to the Dask scheduler at {address}", now
            hint = f": dask worker {address} --nthreads 32"
        elif since is not None:
            cause = (
                f"the Dask workers start no request: other tasks take all slots ({sum(self._slots.values())})"
            )
        else:
            self._stall = None
            return
        if self._stall is None or self._stall.cause != cause:
            self._stall = Wait(since + self._max_wait, cause)
            _log.warning("%s%s", self.wait_reason(), hint)
        elif now > self._stall.end:
            raise ClusterError(
                f"{cause}, for {self._max_wait:.0f} s (DaskEngine(max_wait=…)). {SENT_IS_RECORDED}"
            )


def _started(reports: Mapping[str, RunReport | None]) -> set[str]:
    return {id_ for report in reports.values() if report is not None for id_ in report.items}


def warn_of_few_slots(slots: Mapping[str, int], chunk: int, in_flight: int) -> None:
    """Log a warning if a worker has too few slots to keep `in_flight` requests in flight in chunks of `chunk`."""
    fewest = min(slots.values(), default=None)
    if fewest is not None and fewest * chunk < 2 * in_flight:
        _log.warning(
            "a Dask worker with %d threads runs %d items concurrently, too few to keep %d requests in flight: "
            "start workers with --nthreads %d",
            *(fewest, fewest * chunk, in_flight, math.ceil(4 * in_flight / chunk)),
        )
