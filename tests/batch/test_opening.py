"""A batch that is cancelled while it opens its folder lets go of it before the cancellation is raised."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openai_images import Batch, ImagesClient
from tests.helpers.batch_runs import items_of
from tests.helpers.leaks import until


async def test_a_second_cancellation_does_not_cut_short_the_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's lock is a thing of this process: a thread that never ran would keep it for ever."""
    opening, closing = threading.Event(), threading.Event()
    may_open, may_close = threading.Event(), threading.Event()
    closed: list[bool] = []

    def close() -> None:
        closing.set()
        closed.append(may_close.wait(5))

    def open_folder(_: Any) -> Any:
        opening.set()
        assert may_open.wait(5)
        return SimpleNamespace(close=close), None

    monkeypatch.setattr(Batch, "_open", open_folder)
    client = ImagesClient(api_key="k", base_url="http://127.0.0.1:1/v1")
    entering = asyncio.ensure_future(Batch(client, items_of("an otter"), tmp_path).__aenter__())
    await until(opening.is_set)
    entering.cancel()
    may_open.set()
    await until(closing.is_set)
    for _ in range(2):
        entering.cancel()
        for _ in range(9):
            await asyncio.sleep(0)
        assert not entering.done()
    may_close.set()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert closed == [True]


async def test_a_folder_that_never_opens_ends_no_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one on a dead network file system; if it opens later, it is closed then."""
    opening, may_open, closed = threading.Event(), threading.Event(), threading.Event()

    def open_folder(_: Any) -> Any:
        opening.set()
        assert may_open.wait(60)
        return SimpleNamespace(close=closed.set), None

    monkeypatch.setattr(Batch, "_open", open_folder)
    monkeypatch.setattr("openai_images._util.aio._UNDO_SECONDS", 0.0)
    client = ImagesClient(api_key="k", base_url="http://127.0.0.1:1/v1")
    entering = asyncio.ensure_future(Batch(client, items_of("an otter"), tmp_path).__aenter__())
    await until(opening.is_set)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(entering, 30)
    assert not closed.is_set()
    may_open.set()
    await until(closed.is_set)
