"""Storage that fails now and then, and processes that look at one item: nothing is lost, and nothing is paid twice."""

import asyncio
import errno
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from openai_images import Batch, BatchOptions, Image, ImagesClient, Shard, read_batch_status
from openai_images._util.filesystem import Disk
from openai_images.batch.items.resolved_item import resolve_items
from openai_images.batch.journal.journal import encode_row
from openai_images.batch.run.run_state import ItemTakenError
from openai_images.cluster.claim_store import Claimant, ClaimStore, Retrier
from openai_images.cluster.job import ItemSpec
from openai_images.cluster.records import (
    IMAGES,
    add_row,
    claim_name,
    find_taken,
    item_ids,
    item_stem,
    read_rows,
    read_runs,
    record_name,
)
from openai_images.cluster.storage import FolderStorage, FsspecStorage
from openai_images.server import LocalImagesServer
from tests.cluster.test_worker import specs
from tests.helpers.batch_runs import many
from tests.helpers.clients import PNG
from tests.helpers.memory_storage import MemoryStorage

KEY = "00001"
SENT: dict[str, Any] = {"state": "sent", "key": KEY, "request": "r", "stem": "fox", "pictures": 1}
FILE = {"name": "images/fox.png", "nbytes": len(PNG), "sha256": "0"}
DONE: dict[str, Any] = {"state": "done", "key": KEY, "request": "r", "files": [FILE]}
AWAY: dict[str, Any] = {"state": "away", "key": KEY, "request": "r", "urls": ["https://x/1"]}
ID = "a" * 64


class FaultyStorage(MemoryStorage):
    """Fails where `fault` says so: before the call or, for a creation, after it."""

    def __init__(self) -> None:
        """No faults."""
        super().__init__()
        self.before: Callable[[str, str], None] = lambda *_: None
        self.after: Callable[[str, str], None] = lambda *_: None

    def create(self, name: str, data: bytes) -> bool:
        """With faults."""
        self.before("create", name)
        created = super().create(name, data)
        self.after("create", name)
        return created

    def put(self, name: str, data: bytes) -> None:
        """With faults."""
        self.before("put", name)
        super().put(name, data)


class Fails:
    """The next `times` calls whose name begins so raise an error."""

    def __init__(self, prefix: str, times: int, code: int = errno.EIO) -> None:
        """Not one yet."""
        self.prefix, self.times, self.code = prefix, times, code

    def __call__(self, _: str, name: str) -> None:
        """One call."""
        if name.startswith(self.prefix) and self.times:
            self.times -= 1
            raise OSError(self.code, "503 once")


@pytest.fixture
def storage() -> FaultyStorage:
    """In memory."""
    return FaultyStorage()


@pytest.fixture
def slept() -> list[float]:
    """The seconds that the store waited."""
    return []


@pytest.fixture
def store(storage: FaultyStorage, slept: list[float]) -> Iterator[ClaimStore]:
    """A worker's."""
    store = ClaimStore(storage, Claimant("run", "host:1"), Disk(), keeps_rows=True, sleep=slept.append)
    yield store
    store.close()


async def append(store: ClaimStore, *rows: dict[str, Any]) -> None:
    """Claim or record."""
    for row in rows:
        await store.append(row, has_images=False)


def put_attempt(storage: MemoryStorage, number: int, *ends: dict[str, Any]) -> None:
    """An attempt of another process, with its record if it has an end."""
    storage.put(claim_name(ID, number), encode_row(SENT))
    if ends:
        storage.put(record_name(ID, number), b"".join(map(encode_row, (SENT, *ends))))


async def test_what_has_ended_since_it_was_planned_is_not_requested(
    storage: FaultyStorage, store: ClaimStore
) -> None:
    """It was unknown, and is done or remote by the time its turn comes; it is requested where its image is lost."""
    put_attempt(storage, 1)
    for end in (DONE, AWAY):
        put_attempt(storage, 1, end)
        storage.put("images/fox.png", PNG)
        store.begin(KEY, ID, 1)
        with pytest.raises(ItemTakenError):
            await append(store, SENT)
    assert not storage.exists(claim_name(ID, 2))
    storage.put(record_name(ID, 1), encode_row(SENT) + encode_row(DONE))
    del storage.data["images/fox.png"]  # and `retry_missing` was asked for
    store.begin(KEY, ID, 1)
    await append(store, SENT)
    assert storage.exists(claim_name(ID, 2))


def test_a_worker_is_told_how_the_planned_attempt_has_ended(storage: FaultyStorage) -> None:
    """And of several later attempts the last one that counts."""
    [item] = specs(many(1))
    item = ItemSpec(ID, 1, item.work)
    put_attempt(storage, 1)
    assert (find_taken(storage, item).attempt, find_taken(storage, item).rows) == (1, [])
    put_attempt(storage, 1, DONE)
    storage.put("images/fox.png", PNG)
    assert find_taken(storage, item).rows[-1]["state"] == "done"
    item = ItemSpec(ID, 0, item.work)
    put_attempt(storage, 1)
    storage.data.pop(record_name(ID, 1))
    put_attempt(storage, 2, DONE)
    put_attempt(storage, 3, {"state": "refused", "key": KEY})
    taken = find_taken(storage, item)
    assert (taken.attempt, taken.rows[-1]["state"]) == (2, "done")


async def test_a_claim_that_fails_does_not_touch_the_attempt_before(
    storage: FaultyStorage, store: ClaimStore
) -> None:
    """An item that is paid for, whose images could not be fetched: its record stays as it is."""
    put_attempt(storage, 1, AWAY)
    record = storage.read(record_name(ID, 1))
    storage.before = Fails("claims/", 99)
    store.begin(KEY, ID, 1, is_owner=True)
    with pytest.raises(OSError, match="503"):
        await append(store, SENT)
    await append(store, {"state": "refused", "key": KEY})
    assert storage.read(record_name(ID, 1)) == record
    assert not list(storage.list("records"))[1:]


async def test_a_claim_that_is_there_although_it_failed(storage: FaultyStorage, store: ClaimStore) -> None:
    """It is this process's own: its record says that nothing was sent, so that the next run sends it."""
    storage.after = Fails("claims/", 99)
    store.begin(KEY, ID, 0)
    with pytest.raises(OSError, match="503"):
        await append(store, SENT)
    storage.after = Fails("", 0)
    await append(store, {"state": "refused", "key": KEY})
    assert [row["state"] for row in read_rows(storage, record_name(ID, 1))] == ["sent", "refused"]


@pytest.mark.parametrize("prefix", ["claims/", "records/", "images/"])
async def test_a_hiccup_is_waited_for(
    storage: FaultyStorage,
    store: ClaimStore,
    slept: list[float],
    prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Three failing calls end nothing; it is said once that there is a wait, and until when."""
    storage.before = Fails(prefix, 3)
    store.begin(KEY, ID, 0)
    await append(store, SENT)
    stored = await asyncio.to_thread(store.save, "fox", [Image.from_bytes(PNG)], 1)
    await append(store, DONE)
    assert stored.error is None
    assert storage.read("images/fox.png") == PNG
    assert read_rows(storage, record_name(ID, 1))[-1]["state"] == "done"
    assert slept == [0.5, 1, 2]
    assert caplog.text.count("retrying for up to 60 s") == 1


@pytest.mark.parametrize("end", [None, OSError(errno.ENOSPC, "No space left")])
def test_a_hiccup_is_shown_while_it_lasts(end: OSError | None) -> None:
    """Whatever comes of it."""
    reasons: list[str | None] = []
    errors = [end, OSError(errno.EIO, "Input/output error")]

    def call() -> None:
        if errors and (error := errors.pop()) is not None:
            raise error

    retrier = Retrier("s3://bucket/run", lambda _: reasons.append(retrier.wait_reason))
    with pytest.raises(OSError, match="No space") if end else nullcontext():
        retrier.run(call)
    assert reasons == [
        "s3://bucket/run cannot be used (Input/output error): retrying for up to 60 s each time"
    ]
    assert retrier.wait_reason is None


async def test_a_storage_that_is_gone(storage: FaultyStorage, store: ClaimStore, slept: list[float]) -> None:
    """The image is saved on this machine after a minute, and at once from then on; the record says on which."""
    for code, seconds in ((errno.EIO, 60.5), (errno.EIO, 0)):
        slept.clear()
        storage.before = Fails("images/", 99, code)
        stored = await asyncio.to_thread(store.save, "fox", [Image.from_bytes(PNG)], 1)
        assert stored.error is not None
        assert Path(stored.files[0].name).read_bytes() == PNG
        assert sum(slept) == seconds
    store.begin(KEY, ID, 0)
    outside = {"name": stored.files[0].name, "nbytes": len(PNG), "sha256": "0"}
    await append(store, SENT, {**DONE, "files": [outside]})
    assert read_rows(storage, record_name(ID, 1))[-1]["worker"] == "host:1"


async def test_a_full_disk_is_not_waited_for(
    storage: FaultyStorage, store: ClaimStore, slept: list[float]
) -> None:
    """That lasts; and a storage that is back is waited for again."""
    storage.before = Fails("images/", 99, errno.ENOSPC)
    stored = await asyncio.to_thread(store.save, "fox", [Image.from_bytes(PNG)], 1)
    assert (stored.error is not None, slept) == (True, [])
    for times in (0, 1):
        storage.before = Fails("images/", times)
        assert (await asyncio.to_thread(store.save, "fox", [Image.from_bytes(PNG)], 1)).error is None
    assert slept == [0.5]


async def test_nobody_replaces_the_rows_of_another(storage: FaultyStorage, store: ClaimStore) -> None:
    """An image that is adopted while its worker records its cost, and one that two processes fetch."""
    store.begin(KEY, ID, 0)
    await append(store, SENT)
    add_row(storage, ID, 1, {**DONE, "adopted": True})
    await append(store, {**DONE, "cost": "0.04"})
    add_row(storage, ID, 1, AWAY)  # it is done all the same
    rows = read_rows(storage, record_name(ID, 1))
    assert [row["state"] for row in rows] == ["sent", "away", "done", "done"]
    assert [row.get("cost") for row in rows][2:] == ["0.04", None]


async def test_a_storage_that_does_not_respond_is_not_waited_for_again(
    storage: FaultyStorage, store: ClaimStore, slept: list[float]
) -> None:
    """It had minutes."""
    storage.before = Fails("images/", 99, errno.ETIMEDOUT)
    stored = await asyncio.to_thread(store.save, "fox", [Image.from_bytes(PNG)], 1)
    assert (isinstance(stored.error, TimeoutError), slept) == (True, [])


class FakeStore:
    """The file system of an object store, whose `reply` to a creation is an error."""

    def __init__(self, *replies: Exception | None, is_stored: bool = False, unreadable: int = 0) -> None:
        """So many replies, the last one for ever."""
        self.data: dict[str, bytes] = {}
        self.replies, self.is_stored, self.unreadable = list(replies), is_stored, unreadable

    def pipe_file(self, path: str, data: bytes, mode: str = "", **_: object) -> None:
        """Create."""
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if path in self.data and reply is None:
            reply = FileExistsError()
        if reply is None or self.is_stored:
            self.data[path] = data
        if reply is not None:
            raise reply

    def cat_file(self, path: str, **_: object) -> bytes:
        """Read, as soon as that is possible."""
        if self.unreadable:
            self.unreadable -= 1
            raise OSError(errno.EBUSY, "SlowDown")
        if path not in self.data:
            raise FileNotFoundError(path)
        return self.data[path]


def object_store(fake: FakeStore) -> FsspecStorage:
    """A storage in it."""
    storage = FsspecStorage.__new__(FsspecStorage)
    storage.place, storage._fs, storage._root = "s3://b/r", fake, "b/r"
    storage._sleep, storage._timeout = lambda _: None, 60
    return storage


CONFLICT = OSError(errno.EIO, "ConditionalRequestConflict")


def test_a_conflict_of_two_who_create() -> None:
    """S3 answers 409 to one of them: it tries again, or finds what the other one has created."""
    assert object_store(FakeStore(CONFLICT, None)).create("claims/x", b"mine")
    fake = FakeStore(CONFLICT)
    fake.data["b/r/claims/x"] = b"other"
    assert not object_store(fake).create("claims/x", b"mine")
    with pytest.raises(OSError, match="Conflict"):
        object_store(FakeStore(CONFLICT)).create("claims/x", b"mine")


def test_a_lost_reply_and_a_read_that_fails() -> None:
    """What is there is read again until it is known whose it is; it is never taken for another's."""
    fake = FakeStore(FileExistsError(), is_stored=True, unreadable=2)
    assert object_store(fake).create("claims/x", b"mine")
    fake = FakeStore(FileExistsError(), is_stored=True, unreadable=99)
    with pytest.raises(OSError, match="SlowDown"):
        object_store(fake).create("claims/x", b"mine")


def test_a_short_timeout_of_the_package_is_a_hiccup() -> None:
    """Only the end of the store's own time is final."""
    assert object_store(FakeStore(TimeoutError(), None)).create("claims/x", b"mine")


def test_a_listing_has_more_time_than_an_object() -> None:
    """It has pages."""
    fake, seen = FakeStore(None), list[object]()

    def find(path: str, *, timeout: float, **_: object) -> dict[str, object]:
        seen.extend((path, timeout))
        return {}

    fake.find = find  # type: ignore[attr-defined]
    assert list(object_store(fake).list("claims")) == []
    assert seen == ["b/r/claims", 720]


async def run(client: ImagesClient, out: Path, **options: Any) -> Batch:
    """One item, in a folder of many machines."""
    async with Batch(client, many(1), out, shard=Shard(), options=BatchOptions(**options)) as batch:
        async for _ in batch:
            pass
    return batch


async def test_rows_that_come_after_a_compaction(client: ImagesClient, out: Path) -> None:
    """A failure whose images are fetched later, and images that are brought back: the journal has both."""
    await run(client, out)
    [path] = (out / "records").iterdir()
    sent, done = map(json.loads, path.read_text().splitlines())
    [file] = done["files"]
    picture = (out / file["name"]).rename(out.parent / "saved.png")
    elsewhere = {**done, "files": [{**file, "name": str(picture)}]}
    path.write_bytes(encode_row(sent) + encode_row(elsewhere))
    await asyncio.to_thread(read_batch_status, str(out))
    await run(client, out)
    await asyncio.to_thread(read_batch_status, str(out))
    last = json.loads((out / "journal.jsonl").read_text().splitlines()[-1])
    assert last["files"][0]["name"] == "images/saved.png"
    urls = {**done, "state": "failed", "billed": True, "urls": ["https://x/1"]}
    del urls["files"]
    for added in (out / "records").glob("*-*.json"):
        added.unlink()
    path.write_bytes(encode_row(sent) + encode_row(urls))
    assert (await asyncio.to_thread(read_batch_status, str(out))).summary.away == 1
    storage = FolderStorage(out)
    add_row(
        storage,
        sent["record"].partition(".")[0],
        1,
        {**done, "files": [{**file, "name": "images/saved.png"}]},
    )
    assert (await asyncio.to_thread(read_batch_status, str(out))).summary.done == 1


async def test_images_on_another_machine(client: ImagesClient, out: Path) -> None:
    """The note says which; a file of the same name here is not mistaken for it."""
    await run(client, out)
    [path] = (out / "records").iterdir()
    sent, done = map(json.loads, path.read_text().splitlines())
    there = out.parent / "saved.png"
    there.write_bytes(PNG + b"\0")
    row = {**done, "worker": "node7:42", "files": [{**done["files"][0], "name": str(there)}]}
    path.write_bytes(encode_row(sent) + encode_row(row))
    batch = await run(client, out)
    assert any("machine of node7:42" in note for note in batch.plan.notes)


async def test_an_image_beside_an_incomplete_one(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """A killed process left an empty file, another attempt stored its image beside it: it is adopted, and no other."""
    [item] = resolve_items(many(1), None, BatchOptions())
    id_ = item_ids([item])[item.key]
    stem = item_stem(item.key, id_)
    storage = FolderStorage(out)
    claim = {**SENT, "key": item.key, "request": item.digest, "stem": stem, "record": f"{id_}.1"}
    storage.create(claim_name(id_, 1), encode_row(claim))
    storage.create(f"{IMAGES}/{stem}.png", b"")
    part = out / IMAGES / f".{stem}.png.0123abcd.part"
    part.write_bytes(PNG)
    batch = await run(client, out)
    assert batch.plan.adopted == (item.key,)
    assert (out / IMAGES / f"{stem}.2.png").read_bytes() == PNG
    assert not server.requests


def test_the_newest_run_is_the_one_that_found_most(tmp_path: Path) -> None:
    """A machine's clock may be behind."""
    storage = FolderStorage(tmp_path)
    for name, at, earlier in (("a", "10:00", 0), ("b", "09:00", 1)):
        storage.create(f"runs/{name}.json", json.dumps({"run": name, "at": at, "earlier": earlier}).encode())
    assert [run["run"] for run in read_runs(storage)] == ["a", "b"]


class StuckDisk(Disk):
    """Writes nothing until `over` is set."""

    def __init__(self) -> None:
        """Nothing is written."""
        self.over = threading.Event()

    def write(self, descriptor: int, data: bytes) -> None:
        """As late as the test wants."""
        self.over.wait(60)
        super().write(descriptor, data)


def test_a_folder_that_does_not_respond(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the wait ends; what was to be created may still appear."""
    disk = StuckDisk()
    storage = FolderStorage(tmp_path, disk)
    storage.timeout = 0.06
    with pytest.raises(OSError, match="no response within 0 s") as caught:
        storage.create("claims/a.1", b"1")
    assert (caught.value.errno, caught.value.filename) == (errno.ETIMEDOUT, str(tmp_path / "claims/a.1"))
    assert caplog.messages == [f"access to {tmp_path}/claims/a.1 has taken 0 s so far, and fails after 0 s"]
    disk.over.set()
    storage.timeout = 60.0
    while not storage.exists("claims/a.1"):
        pass
    assert storage.create("claims/a.1", b"2") is False
    with pytest.raises(FileNotFoundError):
        storage.read("claims/a.2")
