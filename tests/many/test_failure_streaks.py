"""What makes asking on senseless ends many calls: identical failures in a row, and a disk that takes nothing."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from attrs import evolve

from openai_images import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    DecodeError,
    DownloadError,
    Failed,
    Image,
    ImageResult,
    ImagesClient,
    ImagesError,
    ModerationBlockedError,
    NotFoundError,
    PartialResultError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    Succeeded,
)
from openai_images.errors import ServerOutcomeUnknownError, StoppedBeforeSendError, TimeoutOutcomeUnknownError
from openai_images.many.failure_streaks import FailureStreak
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, FakeTime, client_of
from tests.helpers.fake_send import Desk, outcomes_of, rest, result, settle, told
from tests.helpers.leaks import nothing_left
from tests.many.test_failures import until_raised

FETCHED = ImageResult((Image.from_bytes(PNG),), attempts=0)


def server_error(code: str | None = None, status: int = 500) -> ImagesError:
    """The server failed, and may have billed."""
    return ServerOutcomeUnknownError("it failed", status_code=status, code=code)


Make = Callable[[], BaseException]

COUNTING: dict[str, Make] = {
    "no image": lambda: DecodeError("no image"),
    "other words": lambda: DecodeError(f"no image in answer {next(NUMBERS)}"),
    "time-out": lambda: TimeoutOutcomeUnknownError("too long", timer="total", seconds=1.0),
    "server": server_error,
    "not fetched": lambda: DownloadError("gone", url="https://i.test/1", response=result()),
    "no access": lambda: PermissionDeniedError("blocked", status_code=403),
    "no key": lambda: AuthenticationError("no", status_code=401),
    "no model": lambda: NotFoundError("no such model", status_code=404),
    "disk": lambda: OSError(errno.EROFS, os.strerror(errno.EROFS)),
}
NUMBERS = count()
OF_THE_REQUEST: dict[str, Make] = {
    "moderation": lambda: ModerationBlockedError("no", status_code=403),
    "parameter": lambda: BadRequestError("no such size", status_code=400),
    "some came": lambda: PartialResultError("some", result=result(), errors=[DecodeError("no")]),
    "only fetched": lambda: DownloadError("gone", url="https://i.test/1", response=FETCHED),
}


def verdict_of(streak: FailureStreak, error: Any) -> Any:
    """Whether it is one too many."""
    streak.record_failure(error)
    return streak.verdict


@pytest.mark.parametrize("make", COUNTING.values(), ids=COUNTING)
def test_five_in_a_row(make: Make) -> None:
    """The fifth ends it, with an exception of its class that says so and holds what happened."""
    streak = FailureStreak(5)
    errors = [make() for _ in range(5)]
    *before, last = (verdict_of(streak, error) for error in errors)
    assert before == [None] * 4
    assert type(last) is type(errors[-1])
    assert last is not errors[-1]
    assert "stopped after 5 identical failures without a success" in str(last)
    assert str(errors[-1].args[-1]) in str(last)
    assert last.__cause__ is errors[-1]


@pytest.mark.parametrize("make", OF_THE_REQUEST.values(), ids=OF_THE_REQUEST)
def test_the_requests_own(make: Make) -> None:
    """What is the prompt's fault, cost nothing, or brought images ends nothing, however often."""
    streak = FailureStreak(1)
    assert [verdict_of(streak, make()) for _ in range(20)] == [None] * 20


def test_a_success_between() -> None:
    """It makes those before count for nothing; other failures, and images that were only fetched, do not."""
    streak = FailureStreak(3)
    for _ in range(5):
        assert [verdict_of(streak, DecodeError("no")) for _ in range(2)] == [None, None]
        streak.record_success(result())
    streak.record_failure(DecodeError("no"))
    streak.record_failure(ModerationBlockedError("no", status_code=400))
    streak.record_failure(server_error())
    streak.record_success(FETCHED)
    streak.record_failure(DecodeError("no"))
    assert isinstance(verdict_of(streak, DecodeError("no")), DecodeError)


def test_what_is_identical() -> None:
    """Class, status and code; a server that makes up codes without end fills no memory."""
    streak = FailureStreak(3)
    different = [server_error(), server_error("busy"), server_error(status=502), DecodeError("no")]
    assert [verdict_of(streak, error) for error in different * 2] == [None] * 8
    assert verdict_of(streak, server_error("busy")) is not None
    streak = FailureStreak(2)
    assert [verdict_of(streak, server_error(f"code {number}")) for number in range(10_000)] == [None] * 10_000
    assert len(streak._counts) <= 64


def test_no_limit() -> None:
    """None: nothing is ever too much."""
    streak = FailureStreak(None)
    assert [verdict_of(streak, DecodeError("no")) for _ in range(100)] == [None] * 100


# Over sockets.


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that paints nothing."""
    async with LocalImagesServer(pictures=PNG, now=lambda: FakeTime.WALL) as server:
        yield server


async def collect(client: ImagesClient, prompts: Any, **keywords: Any) -> tuple[list[Any], Any]:
    """The outcomes, and what was raised after them."""
    outcomes: list[Any] = []
    async with client.generate_many(prompts, **keywords) as many:
        try:
            async for outcome in many:
                outcomes.append(outcome)  # noqa: PERF401  those before an error are kept
        except (ImagesError, OSError) as error:
            return outcomes, error
    return outcomes, None


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("html_200", DecodeError), ("status:403", PermissionDeniedError), ("status:500", ImagesError)],
)
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_server_that_gives_nothing(
    server: LocalImagesServer, fault: str, kind: type[ImagesError], concurrency: int
) -> None:
    """After five nothing new is sent, those in flight are handed over, and then it is raised."""
    server.always(fault)
    async with nothing_left(), client_of(server) as client:
        found, error = await collect(client, (f"p {n}" for n in range(200)), concurrency=concurrency)
    assert isinstance(error, kind)
    assert 5 <= len(found) == server.posts <= 5 + concurrency
    assert "stopped after 5 identical failures" in str(error)


@pytest.mark.parametrize(("limit", "sent"), [(1, 1), (8, 8), (None, 12)])
async def test_the_setting(server: LocalImagesServer, limit: int | None, sent: int) -> None:
    """How many are too many is the caller's to say."""
    server.always("html_200")
    async with client_of(server) as client:
        await collect(client, ["p"] * 12, concurrency=1, max_identical_failures=limit)
        assert server.posts == sent
        with pytest.raises(
            ConfigurationError, match="max_identical_failures=0: must be a whole number above 0"
        ):
            client.generate_many(["p"], max_identical_failures=0)


async def test_nothing_is_left_to_send(server: LocalImagesServer) -> None:
    """Where all were sent by then there is nothing to end."""
    server.always("html_200")
    async with client_of(server) as client:
        found, error = await collect(client, ["p"] * 5, concurrency=1)
    assert (len(found), error, server.posts) == (5, None, 5)


async def test_failures_with_successes_between(server: LocalImagesServer) -> None:
    """A fault that only some answers have ends nothing."""
    server.script(*(["html_200"] * 4 + ["ok"]) * 4)
    async with client_of(server) as client:
        found, error = await collect(client, ["p"] * 20, concurrency=1)
    assert (len(found), error, server.posts) == (20, None, 20)


async def test_what_is_in_flight_may_prove_the_contrary() -> None:
    """Fast failures before the first slow success hold new requests back, and end nothing once it comes."""
    desk = Desk()
    async with nothing_left(), outcomes_of([f"p {n}" for n in range(40)], desk, 12) as outcomes:
        collected = asyncio.ensure_future(rest(outcomes))
        await settle()
        for index in range(11):
            await desk.observers[index].before_send(1)
        for index in range(10):
            desk.fail(index, DecodeError("no image"))
        await settle()
        held = asyncio.ensure_future(desk.observers[11].before_send(1))
        await settle()
        assert (len(desk.begun), held.done()) == (12, False)
        desk.end(10)
        await settle()
        assert (len(desk.begun), held.done()) == (23, True)
        desk.at_once = True
        desk.end(*desk.open)
        assert len(await collected) == 40


async def test_nothing_in_flight_proves_it() -> None:
    """The last one in flight fails as well: what was held back is dropped without an outcome, and nothing is sent."""
    desk = Desk()
    async with nothing_left(), outcomes_of([f"p {n}" for n in range(40)], desk, 12) as outcomes:
        collected = asyncio.ensure_future(until_raised(outcomes))
        await settle()
        for index in range(11):
            await desk.observers[index].before_send(1)
        desk.observers[11].on_wait()
        for index in range(10):
            desk.fail(index, DecodeError("no image"))
        await settle()
        assert not collected.done()
        desk.fail(10, ModerationBlockedError("no", status_code=400))
        found, error = await collected
    assert isinstance(error, DecodeError)
    assert (len(found), len(desk.begun), desk.cancelled) == (11, 12, [11])


async def send_again(desk: Desk, *, reports_wait: bool) -> None:
    """What the tenth call does before its second attempt."""
    if reports_wait:
        desk.observers[10].on_wait()
    async with asyncio.timeout(10):
        await desk.observers[10].before_send(2)


@pytest.mark.parametrize("again", ["not executed", "may have been billed", "a wait that was not reported"])
async def test_the_last_in_flight_waits_to_be_sent_again(again: str) -> None:
    """It waits for the verdict, so the verdict does not wait for it."""
    desk = Desk()
    async with nothing_left(), outcomes_of([f"p {n}" for n in range(40)], desk, 12) as outcomes:
        collected = asyncio.ensure_future(until_raised(outcomes))
        await settle()
        for index in range(11):
            await desk.observers[index].before_send(1)
        for index in range(10):
            desk.fail(index, DecodeError("no image"))
        await settle()
        held = asyncio.ensure_future(desk.observers[11].before_send(1))
        await settle()
        assert (held.done(), collected.done()) == (False, False)
        if again == "not executed":
            await desk.observers[10].on_not_executed(RateLimitError("later", status_code=429))
        else:
            with pytest.raises(StoppedBeforeSendError):
                await send_again(desk, reports_wait=again == "may have been billed")
            desk.fail(10, DecodeError("no image"))
        found, error = await collected
        await asyncio.gather(held, return_exceptions=True)
    assert isinstance(error, DecodeError)
    assert (len(found), len(desk.begun)) == (10 if again == "not executed" else 11, 12)


# A disk that takes nothing.


class FullFile:
    """A file that takes so many bytes and no more."""

    def __init__(self, file: BinaryIO, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        """As much as fits; nothing where nothing does."""
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data = data[: self.room]
        self.room -= len(data)
        return self.file.write(data)

    def close(self) -> None:
        """Close it."""
        self.file.close()


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("ordered", [True, False])
async def test_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, concurrency: int, *, ordered: bool
) -> None:
    """Images in hand are handed over in memory, and whatever was not sent by then fails with the OSError, unsent."""
    from openai_images.client import files

    big, made, create = PNG + bytes(300_000), count(), files.create_part

    def create_part(path: Path) -> Any:
        # The first file is that of the test whether the folder can be written, for each call.
        return FullFile(create(path), 1_000_000 if next(made) < 4 else 1_000)

    monkeypatch.setattr(files, "create_part", create_part)
    async with LocalImagesServer(pictures=big) as server, nothing_left(), client_of(server) as client:
        prompts = (f"p {number}" for number in range(100))
        found, error = await collect(
            client, prompts, into=tmp_path / "out", concurrency=concurrency, ordered=ordered
        )
    assert error is None
    paid = [outcome for outcome in found if isinstance(outcome, Succeeded)]
    unsent = [outcome.error for outcome in found if isinstance(outcome, Failed)]
    assert len(paid) == server.posts < 10
    assert len(paid) + len(unsent) == 100
    assert all(outcome.result.image.data == big for outcome in paid)
    assert any(outcome.result.image.path is None for outcome in paid)
    for failure in unsent:
        assert isinstance(failure, OSError)
        assert (failure.errno, failure.filename) == (errno.ENOSPC, str(tmp_path / "out"))
        assert "was not sent" in str(failure)


async def test_a_full_disk_before_another_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose first attempt may have been billed is not reported as unsent."""
    from openai_images.client import files

    full = asyncio.Event()

    def publish(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def reported(
        self: files.OutputFiles, sink: files.FileSink, *, report: Any = files.OutputFiles._report_error
    ) -> None:
        report(self, sink)
        if sink.error is not None:
            full.set()

    async def sleep(_: float) -> None:
        await full.wait()

    monkeypatch.setattr(files, "publish", publish)
    monkeypatch.setattr(files.OutputFiles, "_report_error", reported)
    retry, timing = RetryPolicy(retry_unknown=True, max_retries=1), evolve(FakeTime().timing, sleep=sleep)
    async with (
        LocalImagesServer(pictures=PNG) as server,
        client_of(server, retry=retry, timing=timing) as client,
    ):
        server.script("reset_after_body", "ok", "ok")
        found, error = await collect(client, ["p 1", "p 2"], into=tmp_path / "out", concurrency=2)
    assert error is None
    assert [outcome.result.image.data for outcome in found] == [PNG, PNG]


async def test_a_folder_that_takes_nothing_at_all(server: LocalImagesServer, tmp_path: Path) -> None:
    """Where not even the first file can be made nothing is paid, and it ends after a few, not after all."""
    (tmp_path / "file").write_bytes(b"")
    async with client_of(server) as client:
        prompts = (f"p {number}" for number in range(1_000))
        found, error = await collect(client, prompts, into=tmp_path / "file", concurrency=2)
    assert isinstance(error, OSError)
    assert (
        {told(outcome)[1] for outcome in found} <= {"FileExistsError", "NotADirectoryError"},
        server.posts,
    ) == (True, 0)
    assert len(found) <= 7
