"""Clients that share their limits through Redis, against the local server; and clients that do not."""

import asyncio
import copy
import pickle
import subprocess
import sys
import time
from itertools import count
from typing import Any

import pytest

from benchmarks.redis_server import RedisServer
from openai_images import ConfigurationError, ImagesClient, Limits, Succeeded
from openai_images.server import LocalImagesServer

PASSWORD = "hunter2-never-shown"
_NUMBERS = count()


@pytest.fixture
def settings(redis_server: RedisServer, server: LocalImagesServer) -> dict[str, Any]:
    """Of clients that share a name of their own."""
    limits = Limits(shared=redis_server.url, name=f"client-{next(_NUMBERS)}", images_per_minute=6000)
    return {"base_url": server.base_url, "api_key": server.api_key, "model": "gpt-image-2", "limits": limits}


async def test_a_429_of_one_client_pauses_the_other(
    settings: dict[str, Any], server: LocalImagesServer
) -> None:
    """It waits for the end of a Retry-After that it never saw."""
    async with ImagesClient(**settings) as one, ImagesClient(**settings) as two:
        await asyncio.gather(one.generate("an otter"), two.generate("an otter"))
        server.script("retry_after_ms:0.8", "ok")
        started = time.monotonic()
        refused = asyncio.create_task(one.generate("an otter"))
        while not server.refused:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        await two.generate("an otter")
        assert time.monotonic() - started >= 0.8
        assert (await refused).attempts == 2


async def test_many_calls(settings: dict[str, Any]) -> None:
    """Those of two clients together keep the limit."""
    async with ImagesClient(**settings) as one, ImagesClient(**settings) as two:

        async def run(client: ImagesClient) -> int:
            async with client.generate_many(["an otter"] * 15) as outcomes:
                return sum([isinstance(outcome, Succeeded) async for outcome in outcomes])

        await asyncio.gather(one.generate("x"), two.generate("x"))
        started = time.monotonic()
        assert await asyncio.gather(run(one), run(two)) == [15, 15]
        assert time.monotonic() - started >= 0.24


async def test_a_closed_client_can_be_used_again(settings: dict[str, Any]) -> None:
    """As with any other."""
    client = ImagesClient(**settings)
    for _ in range(2):
        await client.generate("an otter")
        await client.aclose()


async def test_copies_share_too(settings: dict[str, Any]) -> None:
    """Those of another process included; what they are made of holds no connection."""
    client = ImagesClient(**settings)
    await client.generate("an otter")
    for other in (copy.copy(client), pickle.loads(pickle.dumps(client)), client.with_options(timeout=30)):
        await other.generate("an otter")
        await other.aclose()
    await client.aclose()


async def test_another_server_for_a_test_has_its_own_limits(
    settings: dict[str, Any], server: LocalImagesServer, redis_server: RedisServer
) -> None:
    """What a test sends counts for nobody."""
    async with ImagesClient(**settings) as client:
        await client.generate("an otter")
        before = redis_server.calls()
        with client.override(base_url=server.base_url, api_key=server.api_key):
            await client.generate("an otter")
        assert redis_server.calls() == before
        await client.generate("an otter")
        assert redis_server.calls() > before


async def test_a_key_of_the_environment_that_changes_leaves_the_limit(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, server: LocalImagesServer
) -> None:
    """Whose limits they are, the name says."""
    monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
    del settings["api_key"]
    async with ImagesClient(**settings) as client:
        await client.generate("an otter")
        limiter = client._calls.context.limiter
        monkeypatch.setenv("OPENAI_ORG_ID", "another")
        await client.generate("an otter")
        assert client._calls.context.limiter is limiter


def test_no_client_shows_the_password() -> None:
    """Nor do its settings."""
    limits = Limits(shared=f"redis://me:{PASSWORD}@host/0")
    client = ImagesClient(api_key="k", limits=limits)
    assert PASSWORD not in f"{client!r} {vars(client)!r} {client._calls.context!r}"
    with pytest.raises(ConfigurationError) as caught:
        ImagesClient(limits=Limits(shared=f"{PASSWORD}@host"))
    assert PASSWORD not in str(caught.value)


def test_without_it_nothing_of_it_is_imported() -> None:
    """A client with limits of its own is what it was."""
    code = (
        "import asyncio, sys\n"
        "from openai_images import ImagesClient, Limits\n"
        "client = ImagesClient(api_key='k', base_url='http://127.0.0.1:9/v1', limits=Limits(images_per_minute=5))\n"
        "async def main():\n"
        "    try: await client.generate('an otter', model='gpt-image-2', max_retries=0)\n"
        "    except Exception: pass\n"
        "    await client.aclose()\n"
        "asyncio.run(main())\n"
        "names = ('redis', 'openai_images.ratelimit.shared', 'openai_images.ratelimit.redis_script')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
