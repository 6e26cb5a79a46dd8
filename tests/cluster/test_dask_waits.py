"""Why a Dask cluster does nothing: its slots are taken, or its workers wait; a stop waits for neither."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import distributed
import pytest

from openai_images import Batch, ClusterError, DaskEngine, ImagesClient, Progress, Succeeded, Timing
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import many
from tests.helpers.clients import FakeTime
from tests.helpers.leaks import until

occupied, free = threading.Event(), threading.Event()


def foreign_task() -> None:
    """Take a slot until it is free again."""
    occupied.set()
    free.wait(60)


@pytest.fixture
async def dask() -> AsyncIterator[Any]:
    """The client of a cluster with one slot."""
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    async with (
        distributed.LocalCluster(asynchronous=True, protocol="tcp://", **options) as cluster,
        distributed.Client(cluster, asynchronous=True) as client,
    ):
        yield client


@pytest.fixture
async def busy(dask: Any) -> AsyncIterator[threading.Event]:
    """The slot is taken until this is set."""
    occupied.clear()
    free.clear()
    task = dask.submit(foreign_task, pure=False)
    await asyncio.to_thread(occupied.wait, 60)
    yield free
    free.set()
    await task


class Clock(FakeTime):
    """A clock that is put forward by hand; sleeps are real."""

    @property
    def timing(self) -> Timing:
        """What an engine takes."""
        return Timing(monotonic=self.monotonic, wall=lambda: self.WALL, sleep=asyncio.sleep)


@pytest.fixture
def clock() -> Clock:
    """One."""
    return Clock()


class Reasons:
    """Why a batch waits, as its progress says."""

    last = ""

    def see(self, progress: Progress) -> None:
        """Keep the last reason."""
        self.last = progress.wait_reason or ""


@pytest.fixture
def reasons() -> Reasons:
    """Of one batch."""
    return Reasons()


async def test_slots_that_are_taken(
    client: ImagesClient, out: Path, dask: Any, busy: threading.Event, clock: Clock, reasons: Reasons
) -> None:
    """The reason and the end of the wait are shown; it goes on as soon as a slot is free."""
    engine = DaskEngine(dask, timing=clock.timing)
    async with Batch(client, many(3), out, engine=engine, progress=reasons.see) as batch:
        outcomes = asyncio.ensure_future(collect(batch))
        await asyncio.sleep(0.2)
        assert reasons.last == ""
        clock.skipped += 6
        await until(lambda: "other tasks take all slots (1), until" in reasons.last)
        assert 580 < int(reasons.last.split()[-4]) < 595
        busy.set()
        assert await outcomes == 3
        assert reasons.last == ""


async def collect(batch: Batch) -> int:
    """The number of outcomes, all of which are images."""
    return len([outcome async for outcome in batch if isinstance(outcome, Succeeded)])


@pytest.mark.usefixtures("busy")
async def test_slots_that_stay_taken(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any, clock: Clock, reasons: Reasons
) -> None:
    """The batch ends when it said it would; nothing was sent."""
    engine = DaskEngine(dask, timing=clock.timing)
    async with Batch(client, many(3), out, engine=engine, progress=reasons.see) as batch:
        outcomes = asyncio.ensure_future(collect(batch))
        await asyncio.sleep(0.2)
        clock.skipped += 6
        await until(lambda: "until" in reasons.last)
        clock.skipped += 600
        with pytest.raises(ClusterError, match=r"other tasks take all slots \(1\), for 600 s .*max_wait"):
            await asyncio.wait_for(outcomes, 60)
    assert (batch.summary.not_started, batch.summary.reason, server.posts) == (3, "cluster", 0)


@pytest.mark.usefixtures("busy")
async def test_a_stop_waits_for_no_other_task(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any
) -> None:
    """Requests that no worker has started are withdrawn, and not sent when the slot is free."""
    async with Batch(client, many(3), out, engine=DaskEngine(dask)) as batch:
        outcomes = asyncio.ensure_future(collect(batch))
        await asyncio.sleep(0.2)
        batch.stop()
        assert await asyncio.wait_for(outcomes, 10) == 0
        assert not free.is_set()
        free.set()
    assert (batch.summary.not_started, batch.summary.unknown, server.posts) == (3, 0, 0)


async def test_workers_that_wait(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any, clock: Clock, reasons: Reasons
) -> None:
    """Their reason is the batch's."""
    server.always("rate_limited:77")
    engine = DaskEngine(dask, timing=clock.timing)
    async with Batch(client, many(3), out, engine=engine, progress=reasons.see) as batch:
        outcomes = asyncio.ensure_future(collect(batch))
        await until(lambda: server.posts > 0)
        while "rate limit" not in reasons.last:  # until the workers are asked again
            clock.skipped += 6
            await asyncio.sleep(0.3)
        assert "until" in reasons.last
        batch.stop()
        assert await asyncio.wait_for(outcomes, 10) == 0
    assert (batch.summary.not_started, batch.summary.unknown) == (3, 0)


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("failure", [ValueError("what is that"), ValueError(), TimeoutError()])
async def test_workers_that_cannot_be_watched(
    client: ImagesClient,
    out: Path,
    dask: Any,
    clock: Clock,
    failure: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The batch ends with the reason, whatever it is, as nobody would notice the loss of the scheduler."""

    async def broken() -> None:
        raise failure

    async with Batch(client, many(3), out, engine=DaskEngine(dask, timing=clock.timing)) as batch:
        outcomes = asyncio.ensure_future(collect(batch))
        await asyncio.sleep(0.2)
        monkeypatch.setattr(dask.scheduler, "ncores", broken)
        clock.skipped += 3
        with pytest.raises(ClusterError, match=r"what is that|ValueError|no response in 30 s"):
            await asyncio.wait_for(outcomes, 5)
