"""Limiters that share their limits through a real Redis server: who waits, what is lost, and what if it is away."""

import asyncio
import logging
import pickle
import re
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import pytest

from benchmarks.redis_server import RedisServer
from openai_images import ConfigurationError, Limits, RateLimitError, SharedLimitError, Timing
from openai_images.errors import APIConnectionError
from openai_images.ratelimit.limiter import Limiter, Patience
from openai_images.ratelimit.new_limiter import new_limiter
from openai_images.ratelimit.shared import SharedLimiter
from tests.ratelimit.test_limiter import rejection
from tests.ratelimit.test_waiting import stated

PASSWORD = "hunter2-never-shown"
_NUMBERS = count()

Make = Callable[..., SharedLimiter]


@pytest.fixture
async def make(redis_server: RedisServer) -> AsyncIterator[Make]:
    """Make limiters that share a name of their own."""
    name, made = f"test-{next(_NUMBERS)}", list[Limiter]()

    def new(timing: Timing = Timing(), **limits: Any) -> SharedLimiter:  # noqa: B008  frozen
        limiter = new_limiter(Limits(**{"shared": redis_server.url, "name": name, **limits}), timing)
        assert isinstance(limiter, SharedLimiter)
        made.append(limiter)
        return limiter

    yield new
    for limiter in made:
        await limiter.aclose()


async def grant(limiter: Limiter, *patience: float, images: int = 1) -> float:
    """The seconds that a request waits; it ends at once."""
    started = time.monotonic()
    slot = await limiter.acquire(images, Patience(*patience))
    slot.record_success({})
    slot.release()
    return time.monotonic() - started


async def refused(limiter: Limiter, seconds: float) -> None:
    """A request that is answered with a 429."""
    slot = await limiter.acquire()
    slot.release()
    slot.record_rejection({}, seconds, rejection(after=seconds))


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_clients_share_a_configured_limit(make: Make) -> None:
    """Two of them are no faster than one."""
    one, two = make(images_per_minute=3000), make(images_per_minute=3000)
    await asyncio.gather(grant(one), grant(two))
    started = time.monotonic()
    await asyncio.gather(*(grant(limiter) for limiter in (one, two) for _ in range(12)))
    assert 0.3 <= time.monotonic() - started < 15


async def test_names_have_limits_of_their_own(make: Make) -> None:
    """One server serves several accounts."""
    one, two = make(images_per_minute=6), make(images_per_minute=6, name="another team")
    for _ in range(4):
        await grant(one)
    assert await grant(two) < 5
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(grant(one), 0.2)


async def test_a_429_pauses_all_clients(make: Make) -> None:
    """Also those that had a place, and were waiting for it."""
    one, two = make(), make()
    await grant(two)
    await refused(one, 0.6)
    assert await grant(two) >= 0.5


async def test_a_place_that_was_waited_for_is_checked(make: Make) -> None:
    """A pause that begins meanwhile holds for it."""
    one, two = make(images_per_minute=120), make(images_per_minute=120)
    slot = await one.acquire()
    for _ in range(3):
        await grant(one)
    waiting = asyncio.create_task(grant(two))
    await asyncio.sleep(0.1)
    slot.record_rejection({}, 1.0, rejection(after=1.0))
    slot.release()
    assert await waiting >= 1.0


async def test_an_impatient_call_learns_of_a_pause(make: Make) -> None:
    """It raises, as where the pause is the client's own."""
    one, two = make(), make()
    await refused(one, 30)
    await asyncio.sleep(0.05)
    with pytest.raises(RateLimitError, match="rate limited by the server, until") as caught:
        await grant(two, 2.0)
    assert caught.value.safe_to_resend
    assert caught.value.retry_after == pytest.approx(30, abs=1)
    assert two.wait_reason is not None
    assert "rate limited" in two.wait_reason


async def test_headers_hold_for_all_clients(make: Make) -> None:
    """One sees that nothing is left; the other waits."""
    one, two = make(), make()
    slot = await one.acquire()
    slot.record_success(stated(60, 0))
    slot.release()
    await one.aclose()
    assert 0.5 <= await grant(two) <= 15
    assert await grant(two, 0.1) < 0.9  # what a limit of a server says may be tried


async def test_tokens_that_a_request_took_are_expected_of_the_next(make: Make) -> None:
    """By all clients."""
    one, two = make(tokens_per_minute=12000), make(tokens_per_minute=12000)
    slot = await one.acquire()
    slot.record_usage(450)
    slot.release()
    await one.aclose()
    assert 0.4 <= await grant(two) <= 1.5  # 800 at once, 200 a second


def hold(limiter: SharedLimiter, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, list[list[str]]]:
    """Keep back what it sends until the event; the list has the reports of each script."""
    gate, sent, run = asyncio.Event(), list[list[str]](), limiter._script.run

    async def run_later(ask: Any) -> dict[str, Any]:
        sent.append([report["what"] for report in ask["reports"]])
        await gate.wait()
        return await run(ask)

    monkeypatch.setattr(limiter._script, "run", run_later)
    return gate, sent


async def test_a_cancelled_call_loses_no_report(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause that it was sending, with the check of its place, reaches the others."""
    one, two = make(), make()
    slot = await one.acquire()
    gate, sent = hold(one, monkeypatch)
    check = asyncio.create_task(one._run(one._desk()))
    slot.record_rejection({}, 30.0, rejection(after=30.0))
    await until(lambda: sent)
    assert sent == [["rejected"]]
    check.cancel()
    await asyncio.gather(check, return_exceptions=True)
    gate.set()
    slot.release()
    await one.aclose()
    with pytest.raises(RateLimitError):
        await grant(two, 1.0)


async def test_closing_awaits_the_report_under_way(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a pause."""
    one, two = make(), make()
    slot = await one.acquire()
    gate, sent = hold(one, monkeypatch)
    slot.record_rejection({}, 30.0, rejection(after=30.0))
    slot.release()
    await until(lambda: sent)
    closing = asyncio.create_task(one.aclose())
    await asyncio.sleep(0.01)
    gate.set()
    await closing
    assert sent[0] == ["rejected"]
    with pytest.raises(RateLimitError):
        await grant(two, 1.0)


async def test_a_report_after_closing_opens_no_connection(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes with the next request, if there is one."""
    one = make()
    slot = await one.acquire()
    gate, sent = hold(one, monkeypatch)
    gate.set()
    await one.aclose()
    slot.record_rejection({}, 0.1, rejection(after=0.1))
    slot.release()
    await asyncio.sleep(0.05)
    assert sent == []
    await grant(one)
    assert sent[0] == ["rejected"]


async def test_limits_that_differ_are_logged_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever comes later says so."""
    one, two = make(images_per_minute=6000), make(images_per_minute=3000)
    for limiter in (one, one, two, two, two):
        await grant(limiter)
    (text,) = caplog.messages
    assert "(name 'test-" in text
    assert "images_per_minute=6000 was configured for this name by another client or an earlier run" in text
    assert "this client has 3000: the last value is used for all" in text


async def test_one_script_for_each_request(make: Make, redis_server: RedisServer) -> None:
    """What it reports travels with the next one."""
    limiter = make(images_per_minute=6000, tokens_per_minute=1e9)
    before = redis_server.calls()
    for _ in range(30):
        slot = await limiter.acquire()
        slot.record_success(stated(6000, 5000))
        slot.record_usage(100)
        slot.release()
    assert redis_server.calls() - before <= 32


async def test_a_cancelled_call_leaves_its_place_to_the_next(make: Make, redis_server: RedisServer) -> None:
    """Nothing is lost, and nothing is reserved again."""
    limiter = make(images_per_minute=60)
    for _ in range(4):
        await grant(limiter)
    before = redis_server.calls()
    first, second = asyncio.create_task(grant(limiter)), asyncio.create_task(grant(limiter))
    await until(lambda: redis_server.calls() > before)
    await asyncio.sleep(0.05)
    first.cancel()
    assert await second <= 1.8
    assert redis_server.calls() - before <= 2  # its place, and its check


@pytest.mark.parametrize("turns", range(6))
async def test_a_call_cancelled_at_any_step_loses_no_place(make: Make, turns: int) -> None:
    """Also while its place is being reserved: it is returned, as nobody waits for it."""
    limiter = make(images_per_minute=6)
    for _ in range(3):
        await grant(limiter)
    call = asyncio.create_task(grant(limiter))
    for _ in range(turns):
        await asyncio.sleep(0)
    call.cancel()
    is_cancelled = isinstance((await asyncio.gather(call, return_exceptions=True))[0], asyncio.CancelledError)
    assert is_cancelled
    await asyncio.sleep(0.1)
    assert await grant(limiter) < 5


async def test_another_number_of_images_gets_another_place(make: Make) -> None:
    """A place for one is none for three."""
    limiter = make(images_per_minute=600)
    for _ in range(4):
        await grant(limiter)
    first, second = asyncio.create_task(grant(limiter)), asyncio.create_task(grant(limiter, images=3))
    await asyncio.sleep(0.02)
    first.cancel()
    assert 0.2 <= await second <= 5


async def test_concurrency_stays_a_clients_own(make: Make) -> None:
    """No place is reserved before there is a slot."""
    limiter = make(concurrency=1)
    slot = await limiter.acquire()
    waiting = asyncio.create_task(grant(limiter))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    slot.release()
    await waiting


async def test_closing_closes_the_connection(redis_server: RedisServer) -> None:
    """Idempotent; a later call opens another."""
    limits = Limits(shared=f"{redis_server.url}?client_name=closing")
    limiter = new_limiter(limits, Timing())
    await grant(limiter)
    assert connections(redis_server, "closing") == 1
    await limiter.aclose()
    await limiter.aclose()
    await until(lambda: connections(redis_server, "closing") == 0)
    await grant(limiter)
    assert connections(redis_server, "closing") == 1
    await limiter.aclose()


def connections(server: RedisServer, name: str) -> int:
    """How many there are of this name."""
    return int(server.ask("CLIENT", "LIST").decode().count(f" name={name} "))


def test_a_limiter_serves_several_loops(redis_server: RedisServer) -> None:
    """One after the other and in threads; each closes its connection although nobody calls `aclose`."""
    url = f"{redis_server.url}?client_name=loops"
    limiter = new_limiter(Limits(shared=url, name="loops", images_per_minute=6000), Timing())
    for _ in range(2):
        asyncio.run(grant(limiter))  # type: ignore[arg-type]
    failures = list[BaseException]()

    def run() -> None:
        try:
            asyncio.run(several())
        except BaseException as error:  # noqa: BLE001  whatever it is
            failures.append(error)

    async def several() -> None:
        await asyncio.gather(*(grant(limiter) for _ in range(10)))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert failures == []
    assert connections(redis_server, "loops") == 0


class SkippingClock:
    """Time that passes where somebody sleeps."""

    def __init__(self) -> None:
        """Start it."""
        self.skipped = 0.0
        self.on_sleep: Callable[[], object] = lambda: None

    @property
    def timing(self) -> Timing:
        """What a limiter takes."""
        return Timing(monotonic=lambda: time.monotonic() + self.skipped, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        """Skip it."""
        self.skipped += seconds
        self.on_sleep()
        await asyncio.sleep(0)


async def test_without_the_server_nothing_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    """It says so, and is an error after a minute; others that wait then do not wait once more."""
    clock = SkippingClock()
    limiter = new_limiter(Limits(shared="redis://user:secret@127.0.0.1:1/0", name="team"), clock.timing)
    started = clock.timing.monotonic()
    outcomes = await asyncio.gather(*(grant(limiter) for _ in range(20)), return_exceptions=True)
    assert 60 <= clock.timing.monotonic() - started < 75
    for outcome in outcomes:
        assert isinstance(outcome, SharedLimitError)
        assert isinstance(outcome, APIConnectionError)
        assert outcome.safe_to_resend
        assert not outcome.maybe_billed
        assert re.fullmatch(
            r"the Redis server redis://127\.0\.0\.1:1/0 \(name 'team'\) could not be reached for 60 s "
            r"\(ConnectionError: .*\), so nothing was sent; check Limits\(shared=…\) and that the server is up",
            str(outcome),
        )
    assert len(caplog.messages) == 1
    assert re.search(r"nothing is sent, trying until \d\d:\d\d:\d\d$", caplog.messages[0])
    assert limiter.wait_reason is not None
    assert caplog.messages[0].startswith(f"{limiter.wait_reason}, trying until")
    assert "secret" not in caplog.text + str(outcomes)
    clock.skipped += 10
    with pytest.raises(SharedLimitError):  # one attempt
        await grant(limiter)
    assert clock.timing.monotonic() - started < 100
    clock.skipped += 100
    before = clock.skipped
    with pytest.raises(SharedLimitError):  # another outage
        await grant(limiter)
    assert clock.skipped - before > 55
    await limiter.aclose()


async def test_a_server_that_does_not_answer_is_named_soon(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the connection's own timer ends."""
    monkeypatch.setattr("openai_images.ratelimit.shared._SILENCE", 0.02)
    limiter = make()
    gate, _ = hold(limiter, monkeypatch)
    waiting = asyncio.create_task(grant(limiter))
    await until(lambda: limiter.wait_reason)
    reason = limiter.wait_reason
    assert reason is not None
    assert re.search(
        r"cannot be reached \(no answer\): nothing is sent, trying until \d\d:\d\d:\d\d$", reason
    )
    gate.set()
    await waiting
    assert limiter.wait_reason is None
    assert caplog.messages[0] == reason
    assert [text.endswith("is reached again") for text in caplog.messages] == [False, True]


async def test_an_outage_that_nobody_awaited_is_not_continued() -> None:
    """The next call is patient for a minute of its own."""
    clock = SkippingClock()
    limiter = new_limiter(Limits(shared="redis://127.0.0.1:1/0"), clock.timing)
    waiting = asyncio.create_task(grant(limiter))
    await until(lambda: limiter.wait_reason)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    reserving = limiter._desk().reserving  # type: ignore[attr-defined]
    await until(reserving.done)
    clock.skipped += 100
    assert limiter.wait_reason is None
    before = clock.skipped
    with pytest.raises(SharedLimitError):
        await grant(limiter)
    assert clock.skipped - before > 55
    await limiter.aclose()


async def test_a_server_that_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """Who waited goes on, and a pause that could not be reported is."""
    with RedisServer() as server:
        clock = SkippingClock()
        limiter = new_limiter(Limits(shared=server.url, images_per_minute=6000), clock.timing)
        other = new_limiter(Limits(shared=server.url), Timing())
        slot = await limiter.acquire()
        server.stop()
        slot.release()
        slot.record_rejection({}, 30.0, rejection(after=30.0))
        await asyncio.sleep(0.05)
        waiting = asyncio.create_task(grant(limiter))
        sleeps = count()
        clock.on_sleep = lambda: server.start() if next(sleeps) == 3 else None
        await until(lambda: any("is reached again" in text for text in caplog.messages))
        assert any("cannot be reached" in text for text in caplog.messages)
        with pytest.raises(RateLimitError):
            await grant(other, 1.0)
        waiting.cancel()
        await limiter.aclose()
        await other.aclose()


async def test_a_script_that_was_flushed_is_loaded_again(make: Make, redis_server: RedisServer) -> None:
    """As after a restart."""
    limiter = make()
    await grant(limiter)
    redis_server.ask("SCRIPT", "FLUSH")
    assert await grant(limiter) < 5


async def test_a_connection_that_was_closed_is_opened_again(
    make: Make, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers close idle ones; that is not worth a warning."""
    limiter = make()
    await grant(limiter)
    redis_server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await asyncio.sleep(0.05)
    await grant(limiter)
    assert caplog.records == []


def shown(error: BaseException) -> str:
    """What an error reporter shows, the locals of all frames but the test's own included."""
    report, texts = traceback.TracebackException.from_exception(error, capture_locals=True), list[str]()
    pending = [report]
    while pending:
        one = pending.pop()
        texts += [str(one), *(str(frame.locals) for frame in one.stack if frame.filename != __file__)]
        pending += [linked for linked in (one.__cause__, one.__context__) if linked is not None]
    return "\n".join(texts)


async def test_a_password_is_used_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the right one nor a wrong one."""
    caplog.set_level(logging.DEBUG)
    with RedisServer("--requirepass", PASSWORD) as server:
        limits = Limits(shared=f"{server.url}?password={PASSWORD}")
        right = new_limiter(limits, Timing())
        await grant(right)
        shown_all = repr(right) + repr(limits) + repr(vars(right)) + str(vars(right._script))  # type: ignore[attr-defined]
        await right.aclose()
        for query in (f"?password={PASSWORD}x", ""):
            wrong = new_limiter(Limits(shared=server.url + query), Timing())
            with pytest.raises(ConfigurationError, match="check the user and the password") as caught:
                await grant(wrong)
            shown_all += shown(caught.value)
            await wrong.aclose()
    away = new_limiter(limits, SkippingClock().timing)
    with pytest.raises(SharedLimitError) as lost:
        await grant(away)
    await away.aclose()
    assert PASSWORD not in shown_all + shown(lost.value) + caplog.text


async def test_an_option_of_the_url_that_cannot_be_used(redis_server: RedisServer) -> None:
    """The error names it without showing it."""
    limiter = new_limiter(Limits(shared=f"{redis_server.url}?socket_timeout={PASSWORD}"), Timing())
    with pytest.raises(ConfigurationError, match="after '\\?' cannot be used") as caught:
        await grant(limiter)
    assert PASSWORD not in shown(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:6379", "http://host", "redis://", "redis://host:x", "redis://h/x", "unix://", "", 7),
        f"redis:/{PASSWORD}",
    ],
)
def test_what_is_no_url_of_a_redis_server_is_refused(url: Any) -> None:
    """Immediately, with what one looks like, and without showing it: it may hold a password."""
    with pytest.raises(
        ConfigurationError, match=r"^Limits\(shared=<[^>]*>\): must be a URL such as"
    ) as caught:
        Limits(shared=url)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("name", ["", "x" * 201, 7])
def test_a_name_is_a_text(name: Any) -> None:
    """Of some length."""
    with pytest.raises(ConfigurationError, match="must be a text"):
        Limits(name=name)


def test_limits_are_shown_without_the_password_and_can_be_pickled() -> None:
    """A worker elsewhere has the same."""
    limits = Limits(shared=f"rediss://me:{PASSWORD}@host:6380/2?ssl_cert_reqs=none", name="team-x")
    assert "shared='rediss://host:6380/2', name='team-x'" in repr(limits)
    assert PASSWORD not in repr(limits)
    assert pickle.loads(pickle.dumps(limits)) == limits


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the client is built."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'openai-images\[redis\]'"):
        new_limiter(Limits(shared="redis://host"), Timing())


async def test_a_long_wait_is_logged_with_its_limit(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """As where the limit is the client's own."""
    caplog.set_level(logging.INFO)
    limiter = make(images_per_minute=6)
    for _ in range(4):
        await grant(limiter)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(grant(limiter), 0.1)
    (message,) = caplog.messages
    assert re.fullmatch(
        "the configured images_per_minute of 6: the next request goes in ([5-9]|10) s", message
    )
