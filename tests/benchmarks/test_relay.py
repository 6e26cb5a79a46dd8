"""The benchmark of relays: whether it would see that slow browsers hold up fast ones."""

import asyncio
from typing import Any

import pytest

from benchmarks import relay
from benchmarks.payloads import SHAPES, response
from benchmarks.turn import LoopClock


async def see(way: str, kind: str) -> relay.Seen:
    """Relay to three fast browsers and three others."""
    answer = b"".join(response(SHAPES[relay.SLOW_SHAPE]))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as api, relay.browsers() as port:
        url = f"http://127.0.0.1:{api.sockets[0].getsockname()[1]}"
        return await relay.run(way, url, port, relay.Load(6, kind, to_end=False), LoopClock())


@pytest.mark.parametrize("way", ["inline", "url"])
async def test_fast_browsers_have_theirs(way: str) -> None:
    """Before any other browser, which reads nothing."""
    assert (await see(way, "stuck")).others == 0


async def test_it_would_see_a_fast_browser_that_waits_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """One write at a time for the whole app: then the fast ones end no sooner than those who read nothing."""
    turn = asyncio.Lock()

    async def one_by_one(stream: Any, writer: asyncio.StreamWriter) -> None:
        async with turn:
            await relay.inline(stream, writer)

    monkeypatch.setitem(relay.WAYS, "one by one", one_by_one)
    monkeypatch.setattr(relay, "PATIENCE", 0.5)
    with pytest.raises(TimeoutError):
        await see("one by one", "stuck")
