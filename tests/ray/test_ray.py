"""`RayBatch` on a local Ray with two actors; run by `make test-ray`, in an environment of its own.

Ray is too large for the other tests, so these need no more than pytest, and are skipped where Ray is missing.
"""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from openai_images import BatchItem, BatchOptions, GenerateRequest, ImagesClient, RayBatch
from openai_images.server import LocalImagesServer

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore::Warning:ray")  # Ray's own

ITEMS = 300
FLIGHT = 32


def items(count: int = ITEMS) -> list[BatchItem]:
    """So many items."""
    numbers = range(1, count + 1)
    return [
        BatchItem(f"{each:05d}", GenerateRequest(f"otter number {each}", model="gpt-image-2"))
        for each in numbers
    ]


@pytest.fixture(scope="module")
def server() -> Iterator[LocalImagesServer]:
    """Its key is in the environment of the actors."""
    with LocalImagesServer.in_thread(pictures="small", pace=0.3) as server:
        yield server


@pytest.fixture(scope="module")
def cluster(server: LocalImagesServer) -> Iterator[None]:
    """A local Ray, which no other may be mistaken for."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "OPENAI_API_KEY": server.api_key}
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def posts(server: LocalImagesServer) -> Counter[str]:
    """How often each prompt was sent."""
    return Counter(request.json["prompt"] for request in server.requests)


@pytest.mark.usefixtures("cluster")
def test_all_items_are_done_once(server: LocalImagesServer, tmp_path: Path) -> None:
    """Rows are small and tell where the images are; the folder has a page; running it again sends nothing."""
    server.reset(pace=0.3)
    out = tmp_path / "out"
    client = ImagesClient(base_url=server.base_url, api_key=server.api_key)
    batch = RayBatch.open(client, items(), str(out), in_flight=FLIGHT)
    rows = batch.dataset().take_all()
    assert Counter(row["state"] for row in rows) == {"done": ITEMS}
    assert all(Path(row["images"][0]).exists() for row in rows)
    assert max(len(json.dumps(row)) for row in rows) < 4_000
    assert (len(posts(server)), set(posts(server).values())) == (ITEMS, {1})
    status = batch.finish()
    assert (status.summary.done, status.summary.unknown) == (ITEMS, 0)
    assert (out / "index.html").exists()
    again = RayBatch.open(client, items(), str(out))
    assert again.plan.to_send == ()
    assert again.dataset().take_all() == []


@pytest.mark.usefixtures("cluster")
def test_a_killed_actor_pays_for_nothing_twice(server: LocalImagesServer, tmp_path: Path) -> None:
    """What was in flight is unknown, and sent again only with retry_unknown; then all images are there."""
    server.reset(pace=0.5)
    out = tmp_path / "out"
    client = ImagesClient(base_url=server.base_url, api_key=server.api_key)
    batch = RayBatch.open(client, items(), str(out), in_flight=FLIGHT)
    killer = threading.Thread(target=kill_one, args=(server, out))
    killer.start()
    rows = batch.dataset().take_all()
    killer.join()
    assert set(posts(server).values()) == {1}
    states = Counter(row["state"] for row in rows)
    assert states.keys() <= {"done", "unknown"}
    assert len(rows) == ITEMS
    status = batch.finish()
    unknown = status.summary.unknown
    assert status.summary.done + unknown == ITEMS
    assert 0 < unknown <= FLIGHT
    before = posts(server)
    last = RayBatch.open(client, items(), str(out), options=BatchOptions(retry_unknown=True))
    assert len(last.plan.to_send) == unknown
    last.dataset().take_all()
    assert set((posts(server) - before).values()) == {1}
    assert last.finish().summary.done == ITEMS


def kill_one(server: LocalImagesServer, out: Path) -> None:
    """Kill the process of one actor, which its claims name, when a third of the items was sent."""
    while server.posts < ITEMS / 3:
        threading.Event().wait(0.01)
    [claim, *_] = (path for path in (out / "claims").iterdir() if not path.name.startswith("."))
    worker = json.loads(claim.read_text())["worker"]
    os.kill(int(worker.rpartition(":")[2]), signal.SIGKILL)
