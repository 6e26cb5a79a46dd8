"""`Batch(…, engine=DaskEngine(client))`: outcomes as on one machine, from a scheduler and workers in this process."""

import asyncio
import errno
import re
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import distributed
import pytest

from openai_images import (
    Batch,
    BatchFolderError,
    BatchItem,
    BatchOptions,
    ClusterError,
    ConfigurationError,
    DaskEngine,
    Failed,
    GenerateRequest,
    ImagesClient,
    Limits,
    ModerationBlockedError,
    Outcome,
    Progress,
    QuotaExhaustedError,
    Succeeded,
)
from openai_images.batch.run.caller import Caller
from openai_images.cluster.job import Job, divide_limits
from openai_images.cluster.storage import FolderStorage, open_storage
from openai_images.cluster.worker import close_workers, run_items
from openai_images.server import LocalImagesServer
from tests.cluster.test_worker import specs
from tests.helpers.batch_runs import many, posts
from tests.helpers.clients import PNG
from tests.helpers.leaks import until


@pytest.fixture
async def dask() -> AsyncIterator[Any]:
    """The client of a cluster with two workers."""
    options = {"n_workers": 2, "threads_per_worker": 16, "processes": False, "dashboard_address": ":0"}
    async with (
        distributed.LocalCluster(asynchronous=True, protocol="tcp://", **options) as cluster,
        distributed.Client(cluster, asynchronous=True) as client,
    ):
        yield client


async def outcomes_of(batch: Batch) -> list[Outcome]:
    """All outcomes."""
    return [outcome async for outcome in batch]


async def test_outcomes_are_those_of_one_machine(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any, tmp_path: Path
) -> None:
    """Each has its image's path, its usage, its cost and its request id; the folder has a page and a journal."""
    async with Batch(client, many(20), out, engine=DaskEngine(dask)) as batch:
        there = {outcome.key: outcome for outcome in await outcomes_of(batch)}
    async with Batch(client, many(20), tmp_path / "here") as batch_here:
        here = {outcome.key: outcome for outcome in await outcomes_of(batch_here)}
    assert there.keys() == here.keys()
    for key, outcome in there.items():
        other = here[key]
        assert isinstance(outcome, Succeeded)
        assert isinstance(other, Succeeded)
        assert outcome.index == other.index
        assert outcome.request == other.request
        path = outcome.result.image.path
        assert path is not None
        assert path.read_bytes() == other.result.image.data
        assert path.parent == out / "images"
        assert outcome.result.usage == other.result.usage
        assert outcome.result.cost() == other.result.cost() is not None
        assert outcome.result.request_id
        assert outcome.result.model == other.result.model
    assert batch.summary.done == 20
    assert batch.summary.spent == batch_here.summary.spent
    assert (out / "index.html").exists()
    assert (out / "journal.jsonl").exists()
    assert set(posts(server).values()) == {2}


@pytest.mark.slow
async def test_images_in_an_object_store_have_urls(
    client: ImagesClient, server: LocalImagesServer, s3_url: str, dask: Any
) -> None:
    """And the page is there, too; another run sends nothing."""
    async with Batch(client, many(20), s3_url, engine=DaskEngine(dask)) as batch:
        outcomes = await outcomes_of(batch)
    urls = {outcome.result.image.url for outcome in outcomes if isinstance(outcome, Succeeded)}
    assert len(urls) == 20
    assert all(str(url).startswith(f"{s3_url}/images/") for url in urls)
    async with Batch(client, many(20), s3_url, engine=DaskEngine(dask)) as again:
        assert await outcomes_of(again) == []
    assert (again.summary.done, len(server.requests)) == (20, 20)
    assert await asyncio.to_thread(open_storage(s3_url).exists, "index.html")


async def test_a_client_that_cannot_be_sent_is_rejected(
    server: LocalImagesServer, out: Path, dask: Any
) -> None:
    """And the engine is free for another batch."""
    engine = DaskEngine(dask)
    async with ImagesClient(base_url=server.base_url, api_key="k", proxy="http://proxy:1") as client:
        with pytest.raises(ConfigurationError, match="proxy="):
            async with Batch(client, many(1), out, engine=engine):
                pass
    assert not out.exists()
    await engine.start()
    await engine.aclose()


async def test_workers_without_a_key_end_the_batch(
    client: ImagesClient, out: Path, dask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is theirs: the client's own is never sent to them."""
    monkeypatch.delenv("OPENAI_API_KEY")
    async with Batch(client, many(3), out, engine=DaskEngine(dask)) as batch:
        with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
            await outcomes_of(batch)
    assert (batch.summary.reason, batch.summary.not_started) == ("key", 3)


async def test_configured_limits_are_divided(client: ImagesClient, out: Path, dask: Any) -> None:
    """By the workers that are there, unless they are shared."""
    engine = DaskEngine(dask)
    await engine.start()
    limits = Limits(images_per_minute=150, requests_per_minute=None)
    async with ImagesClient(base_url=client.base_url, limits=limits) as limited:
        opened = await asyncio.to_thread(engine.open, str(out), [], BatchOptions(), Caller(limited))
    await engine.aclose()
    spec: Any = opened.job.client
    assert (spec.limits.images_per_minute, spec.limits.requests_per_minute) == (75, None)
    shared = Limits(images_per_minute=150, shared="redis://host/0")
    assert divide_limits(shared, 2) == shared


async def test_failures_have_their_class(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any
) -> None:
    """With what the server said, and what it may have cost."""
    server.script("moderation_400")
    async with Batch(client, many(1), out, engine=DaskEngine(dask)) as batch:
        [outcome] = await outcomes_of(batch)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ModerationBlockedError)
    assert outcome.error.status_code == 400
    assert outcome.error.categories
    assert batch.summary.blocked == 1


async def test_an_error_of_all_items_stops_the_batch(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any
) -> None:
    """It is raised at the end; what was not sent is sent by another run."""
    server.always("quota_429")
    async with Batch(client, many(100), out, engine=DaskEngine(dask, in_flight=4)) as batch:
        with pytest.raises(QuotaExhaustedError):
            await outcomes_of(batch)
    assert batch.summary.reason == "quota"
    assert batch.summary.not_started == 100
    assert len(server.requests) < 50
    server.always(None)
    async with Batch(client, many(100), out, engine=DaskEngine(dask)) as again:
        assert len(await outcomes_of(again)) == 100
    assert again.summary.done == 100


async def test_images_that_cannot_be_stored(
    client: ImagesClient, out: Path, dask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch says where its workers saved them, whether or not that could be recorded."""
    create, put = FolderStorage.create, FolderStorage.put
    full: list[str] = ["images/"]

    def fill(name: str) -> None:
        if name.startswith(tuple(full)):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(
        FolderStorage, "create", lambda self, name, data: fill(name) or create(self, name, data)
    )
    monkeypatch.setattr(FolderStorage, "put", lambda self, name, data: fill(name) or put(self, name, data))
    for number, (state, folders) in enumerate([("done", []), ("unknown", ["records/"])]):
        full += folders
        folder = out.with_name(str(number))
        async with Batch(client, many(1), folder, engine=DaskEngine(dask)) as batch:
            with pytest.raises(BatchFolderError, match="No space left on device") as caught:
                await outcomes_of(batch)
        [saved] = re.findall(r"\n  (\S+) on ", str(caught.value))
        assert Path(saved).read_bytes() == PNG
        assert getattr(batch.summary, state) == 1


async def test_the_budget_is_the_drivers(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any
) -> None:
    """No more is handed out than fits; another run of the folder knows what was spent."""
    options = BatchOptions(budget=Decimal("0.06"))
    async with Batch(client, many(100), out, options=options, engine=DaskEngine(dask)) as batch:
        done = len(await outcomes_of(batch))
    assert batch.summary.reason == "budget"
    assert 10 <= done == len(server.requests)
    assert batch.summary.spent is not None
    assert batch.summary.spent <= Decimal("0.06")


async def test_stop_withdraws_what_has_not_begun(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any
) -> None:
    """What is in flight is yielded; the rest was neither sent nor claimed."""
    server.reset(pace=0.3)
    outcomes: list[Outcome] = []
    async with Batch(client, many(200), out, engine=DaskEngine(dask, in_flight=4)) as batch:
        async for outcome in batch:
            outcomes.append(outcome)
            batch.stop()
    assert 0 < len(outcomes) == len(server.requests) < 60
    summary = batch.summary
    assert (summary.done, summary.unknown, summary.reason) == (len(outcomes), 0, "stopped")
    assert summary.not_started == 200 - len(outcomes)


async def test_leaving_the_block_loses_nothing(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any
) -> None:
    """In-flight requests are unknown then; the workers end them, and the next run finds their images."""
    server.reset(pace=1.0)
    async with Batch(client, many(100), out, engine=DaskEngine(dask, in_flight=4)) as batch:
        await anext(batch)
        await until(lambda: len(server.requests) > 8)  # the first eight may have ended by now
    sent = len(server.requests)
    assert 0 < batch.summary.unknown <= 16
    assert batch.summary.done + batch.summary.unknown + batch.summary.not_started == 100
    await asyncio.sleep(1)
    assert len(server.requests) <= sent + 8
    async with Batch(client, many(100), out, engine=DaskEngine(dask)) as again:
        await outcomes_of(again)
    assert (again.summary.done, again.summary.unknown) == (100, 0)
    assert set(posts(server).values()) == {1}


async def test_progress_counts_what_fits_into_the_cluster_as_in_flight(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any
) -> None:
    """Of what was handed out the rest waits."""
    server.reset(pace=0.1)
    seen: list[Progress] = []
    engine = DaskEngine(dask, in_flight=4)
    async with Batch(client, many(60), out, engine=engine, progress=seen.append) as batch:
        await outcomes_of(batch)
    assert max(progress.in_flight for progress in seen) == 8
    assert max(progress.waiting for progress in seen) > 30
    assert seen[-1].done == 60


async def test_equal_items_are_items_of_their_own(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any
) -> None:
    """With `dedupe` they share an image."""
    items = [BatchItem(key, GenerateRequest("otter", model="gpt-image-2")) for key in "abc"]
    async with Batch(client, items, out, engine=DaskEngine(dask)) as batch:
        assert len(await outcomes_of(batch)) == 3
    assert len(server.requests) == 3
    options = BatchOptions(dedupe=True)
    async with Batch(client, items, out.with_name("2"), options=options, engine=DaskEngine(dask)) as batch:
        assert len(await outcomes_of(batch)) == 3
    assert (len(server.requests), batch.summary.done) == (4, 3)


async def test_a_lost_scheduler_is_an_error(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """At once, and at the start already."""
    server.reset(pace=0.2)
    options = {"n_workers": 1, "threads_per_worker": 16, "processes": False, "dashboard_address": ":0"}
    async with (
        distributed.LocalCluster(asynchronous=True, protocol="tcp://", **options) as cluster,
        DaskEngine.connect(cluster.scheduler_address, in_flight=4) as engine,
    ):
        async with Batch(client, many(100), out, engine=engine) as batch:
            await anext(batch)
            await cluster.close()
            async with asyncio.timeout(60):
                with pytest.raises(ClusterError, match="run the same batch again"):
                    await outcomes_of(batch)
        assert batch.summary.reason == "cluster"
        with pytest.raises(ClusterError, match="is lost"):
            async with Batch(client, many(100), out, engine=engine):
                pass
    with pytest.raises(ClusterError, match=r"the Dask scheduler at .* does not respond"):
        async with DaskEngine.connect("tcp://127.0.0.1:9", timeout=0.2):
            pass


async def test_a_cluster_without_workers_is_waited_for(
    client: ImagesClient, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, and ends with an error."""
    reasons: set[str | None] = set()
    options = {"n_workers": 0, "processes": False, "dashboard_address": ":0"}
    async with (
        distributed.LocalCluster(asynchronous=True, protocol="tcp://", **options) as cluster,
        DaskEngine.connect(cluster.scheduler_address, max_wait=0.5) as engine,
        Batch(
            *(client, many(3), out),
            engine=engine,
            progress=lambda progress: reasons.add(progress.wait_reason),
        ) as batch,
    ):
        with pytest.raises(ClusterError, match=r"no worker is connected .*max_wait"):
            await outcomes_of(batch)
    assert "no worker is connected" in caplog.text
    assert batch.summary.not_started == 3


async def test_an_engine_runs_one_batch_at_a_time(client: ImagesClient, out: Path, dask: Any) -> None:
    """Another one is rejected, and the first goes on."""
    engine = DaskEngine(dask)
    async with Batch(client, many(3), out, engine=engine) as batch:
        with pytest.raises(RuntimeError, match="one batch at a time"):
            async with Batch(client, many(3), out, engine=engine):
                pass
        assert len(await outcomes_of(batch)) == 3


async def test_a_second_driver_leaves_the_first_alone(
    client: ImagesClient, server: LocalImagesServer, out: Path, dask: Any
) -> None:
    """What it has in flight in the same processes goes on."""
    server.reset(pace=0.1)
    async with Batch(client, many(24), out, engine=DaskEngine(dask, in_flight=4)) as batch:
        outcomes = asyncio.create_task(outcomes_of(batch))
        while server.posts < 4:
            await asyncio.sleep(0.01)
        other = DaskEngine(dask)
        await other.start()
        await other.aclose()
        assert all(isinstance(outcome, Succeeded) for outcome in await outcomes)
    assert (batch.summary.done, server.posts) == (24, 24)


async def test_clients_are_closed_with_the_last_worker(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Workers of one event loop share them."""
    from openai_images.cluster.dask_plugin import WorkerCleanup

    plugins = {name: WorkerCleanup() for name in "ab"}
    for name, plugin in plugins.items():
        plugin.setup(SimpleNamespace(id=name))
    await run_items(Job.from_client(client, str(out), BatchOptions()), specs(many(1)))
    await plugins["a"].teardown(SimpleNamespace(id="a"))
    assert server.open_connections == 1
    await plugins["b"].teardown(SimpleNamespace(id="b"))
    assert server.open_connections == 0


async def test_a_client_that_is_closed_meanwhile_is_an_error(client: ImagesClient, out: Path) -> None:
    """As a lost scheduler is: nothing waits for ever."""
    options = {"n_workers": 1, "threads_per_worker": 4, "processes": False, "dashboard_address": ":0"}
    async with distributed.LocalCluster(asynchronous=True, protocol="tcp://", **options) as cluster:
        dask = await distributed.Client(cluster, asynchronous=True)
        async with Batch(client, many(3), out, engine=DaskEngine(dask)) as batch, asyncio.timeout(60):
            await dask.close()
            with pytest.raises(ClusterError, match="run the same batch again"):
                await outcomes_of(batch)
    assert (batch.summary.reason, batch.summary.not_started) == ("cluster", 3)


def test_a_synchronous_client_works_too(
    server_thread: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loop is another thread's."""
    monkeypatch.setenv("OPENAI_API_KEY", server_thread.api_key)
    options = {"n_workers": 1, "threads_per_worker": 4, "processes": False, "dashboard_address": ":0"}

    async def run(engine: DaskEngine) -> list[Outcome]:
        async with (
            ImagesClient(base_url=server_thread.base_url) as client,
            Batch(client, many(20), out, engine=engine) as batch,
        ):
            return await outcomes_of(batch)

    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as dask:
        outcomes = asyncio.run(run(DaskEngine(dask)))
        dask.run(close_workers)
    assert all(isinstance(outcome, Succeeded) for outcome in outcomes)
    assert len(server_thread.requests) == len(outcomes) == 20
