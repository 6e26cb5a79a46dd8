"""Identical failures in a row end a batch before it pays for all of them; it can be resumed."""

from pathlib import Path

import pytest

from openai_images import (
    BatchOptions,
    ConfigurationError,
    DecodeError,
    ImagesClient,
    ImagesError,
    PermissionDeniedError,
)
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import many, posts, run
from tests.helpers.clients import PNG, FakeTime, client_of
from tests.helpers.leaks import nothing_left


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize(
    ("fault", "kind", "state"),
    [
        ("html_200", DecodeError, "unknown"),
        ("status:403", PermissionDeniedError, "failed"),
        ("close_after_body", ImagesError, "unknown"),
    ],
)
async def test_it_ends_and_goes_on(
    client: ImagesClient,
    server: LocalImagesServer,
    out: Path,
    fault: str,
    kind: type[ImagesError],
    state: str,
    concurrency: int,
) -> None:
    """The reason is raised after the outcomes and is in summary and page; the next run sends only the rest."""
    server.always(fault)
    async with nothing_left():
        ran = await run(client, many(40), out, concurrency=concurrency)
        await client.aclose()
    sent = server.posts
    assert isinstance(ran.error, kind)
    assert "stopped after 5 identical failures without a success" in str(ran.error)
    assert 5 <= sent == len(ran.failed) <= 5 + concurrency
    assert (ran.summary.reason, getattr(ran.summary, state), ran.summary.not_started) == (
        "failures",
        sent,
        40 - sent,
    )
    assert "too many identical failures" in (out / "index.html").read_text()
    server.always(None)
    again = await run(client, many(40), out)
    assert (again.error, again.summary.done, max(posts(server).values())) == (None, 40 - sent, 1)
    last = await run(client, many(40), out, retry_failed=True, retry_unknown=True)
    assert last.summary.done == 40


async def test_the_option(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Another number, or none, is the caller's choice."""
    server.always("html_200")
    assert (await run(client, many(3), out, concurrency=1, max_identical_failures=2)).summary.unknown == 2
    assert (
        await run(client, many(20), out, concurrency=1, max_identical_failures=None)
    ).summary.unknown == 20
    with pytest.raises(ConfigurationError, match="max_identical_failures=0"):
        BatchOptions(max_identical_failures=0)


async def test_prompts_that_are_blocked(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Moderation is the prompts' own, however many are blocked."""
    server.always("moderation_400")
    ran = await run(client, many(12), out, concurrency=1)
    assert (ran.error, ran.summary.blocked, ran.summary.reason) == (None, 12, "")


async def test_urls_that_have_ended(time: FakeTime, out: Path) -> None:
    """What cannot be fetched in a later run cost nothing there, and does not keep the others from being sent."""
    async with (
        LocalImagesServer(pictures=PNG, picture_links="absolute", now=lambda: FakeTime.WALL) as server,
        client_of(server, timing=time.timing) as client,
    ):
        server.always("download_404")
        first = await run(client, many(8), out, concurrency=1, max_identical_failures=None)
        assert (first.summary.away, server.posts) == (8, 8)
        again = await run(client, many(12), out, concurrency=1)
    assert (again.error, again.summary.away, server.posts) == (None, 12, 12)


async def test_urls_nobody_can_fetch(time: FakeTime, out: Path) -> None:
    """Each is paid for and its image does not come: after five no more are asked for, and all URLs are on record."""
    async with (
        LocalImagesServer(pictures=PNG, picture_links="absolute", now=lambda: FakeTime.WALL) as server,
        client_of(server, timing=time.timing) as client,
    ):
        server.always("download_404")
        ran = await run(client, many(40), out, concurrency=1)
        assert (ran.summary.away, ran.summary.reason, server.posts) == (5, "failures", 5)
