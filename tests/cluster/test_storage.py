"""Storage: exclusive creation whoever else tries, whole objects, and what is rejected because it cannot do that."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from openai_images import ConfigurationError
from openai_images.cluster.storage import FolderStorage, FsspecStorage, Storage, open_storage

PLACES = ["folder", "s3"]


@pytest.fixture(params=PLACES)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Each kind."""
    if request.param == "folder":
        return open_storage(tmp_path / "out")
    return open_storage(request.getfixturevalue("s3_url"))


def test_names(storage: Storage) -> None:
    """What is stored is found by its name, and in its folder's listing."""
    assert storage.create("claims/a.1", b"first")
    assert not storage.create("claims/a.1", b"second")
    storage.put("records/a.1.json", b"old")
    storage.put("records/a.1.json", b"newer")
    assert storage.read("claims/a.1") == b"first"
    assert storage.read("records/a.1.json") == b"newer"
    assert storage.exists("claims/a.1")
    assert not storage.exists("claims/a.2")
    assert [tuple(entry) for entry in storage.list("records")] == [("records/a.1.json", 5)]
    assert "claims/a.1" in {entry.name for entry in storage.list("claims")}
    assert list(storage.list("images")) == []
    with pytest.raises(FileNotFoundError):
        storage.read("claims/b.1")
    assert storage.url("images/a.png").endswith("/images/a.png")
    assert storage.url("").rstrip("/") == storage.place


def test_one_of_many_creates_a_name(storage: Storage) -> None:
    """Eight threads create the same name at the same time: exactly one has created it, and its data are there."""
    for number in range(4):
        barrier, created = threading.Barrier(8), list[bytes]()

        def create(data: bytes, barrier: Any = barrier, created: Any = created, number: int = number) -> None:
            barrier.wait()
            if storage.create(f"claims/{number}", data):
                created.append(data)

        threads = [threading.Thread(target=create, args=(b"%d" % each,)) for each in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert created == [storage.read(f"claims/{number}")]


def without_links(*_: object, **__: object) -> None:
    """A file system that has no hard links."""
    raise OSError(errno.EPERM, "no links")


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is reserved exclusively, and then gets its data."""
    monkeypatch.setattr(os, "link", without_links)
    storage = FolderStorage(tmp_path)
    assert storage.create("claims/a.1", b"first")
    assert not storage.create("claims/a.1", b"second")
    assert storage.read("claims/a.1") == b"first"
    assert [path.name for path in (tmp_path / "claims").iterdir()] == ["a.1"]


def test_a_reply_that_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS sends a link again whose reply was lost, and finds that its name exists: it has made it itself."""
    link = os.link

    def twice(part: Path, target: Path) -> None:
        link(part, target)
        link(part, target)

    monkeypatch.setattr(os, "link", twice)
    storage = FolderStorage(tmp_path)
    assert storage.create("claims/a.1", b"first")
    assert not storage.create("claims/a.1", b"second")


def test_a_conditional_put_whose_reply_was_lost(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent again by the store's client, or its end is unknown: the object says whose it is."""
    storage = FsspecStorage(s3_url)
    put = storage._fs.pipe_file
    for error in (FileExistsError(), ConnectionError("gone")):

        def lost(*args: Any, error: Exception = error, **options: Any) -> None:
            put(*args, **options)
            raise error

        monkeypatch.setattr(storage._fs, "pipe_file", lost)
        assert storage.create(f"claims/{type(error).__name__}", b"first")
    monkeypatch.setattr(storage._fs, "pipe_file", without_links)
    with pytest.raises(OSError, match="no links"):
        storage.create("claims/other", b"first")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half-written stays, under no name."""
    storage = FolderStorage(tmp_path)
    storage.put("images/a.png", b"old")
    monkeypatch.setattr(storage._disk, "sync", without_links)
    for store in (storage.put, storage.create):
        with pytest.raises(OSError, match="no links"):
            store("images/a.png", b"newer")
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["a.png"]
    assert storage.read("images/a.png") == b"old"


@pytest.mark.parametrize("url", ["memory://run", "ftp://host/run", "http://host/run"])
def test_stores_that_cannot_create_exclusively(url: str) -> None:
    """They are rejected, as an item could be paid for twice."""
    with pytest.raises(ConfigurationError, match="paid for twice"):
        open_storage(url)


def test_a_server_that_ignores_the_condition(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found out by a trial before anything is claimed."""
    store = FsspecStorage(s3_url)._fs
    put = store.pipe_file
    monkeypatch.setattr(store, "pipe_file", lambda path, data, **_: put(path, data))
    with pytest.raises(ConfigurationError, match="If-None-Match"):
        open_storage(s3_url)


@pytest.fixture
def silent_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A URL of an object store whose server accepts connections, and sends nothing."""
    kind = fsspec.get_filesystem_class("s3")
    kind.clear_instance_cache()  # its key does not have the environment
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, "any")
        yield "s3://bucket/run"
    kind.clear_instance_cache()


def test_a_store_that_does_not_respond(silent_store: str, caplog: pytest.LogCaptureFixture) -> None:
    """A put waits for `100 Continue`: it is reported, and fails once, not four times."""
    with pytest.raises(TimeoutError, match=r"no response within 2 s: 's3://bucket/run/claims/trial'"):
        FsspecStorage(silent_store, timeout=2)
    [message] = caplog.messages
    assert message == f"access to {silent_store}/claims/trial has taken 0 s so far, and fails after 2 s"


def test_file_urls_are_folders(tmp_path: Path) -> None:
    """They need no extra."""
    storage = open_storage(f"file://{tmp_path}/out")
    assert isinstance(storage, FolderStorage)
    assert storage.place == f"{tmp_path}/out"
