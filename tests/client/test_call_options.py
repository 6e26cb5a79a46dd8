"""`timeout`, `headers`, `retry` and `max_retries` of one call, and of a client that `with_options` derives."""

import asyncio
import copy
import math
import pickle
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    ConfigurationError,
    DownloadError,
    Failed,
    ImagesClient,
    ImagesError,
    InternalServerError,
    Limits,
    OutcomeUnknownError,
    RateLimitError,
    RequestInvalidError,
    RetryPolicy,
    Timeouts,
)
from openai_images.client.options import timeouts_from
from openai_images.http.transport import connect_timeout
from openai_images.server import LocalImagesServer
from tests.helpers.clients import JSON_ANSWER, KEY, PNG, PROMPT, FakeTime, client_of
from tests.helpers.edit_images import encoded, house
from tests.helpers.leaks import nothing_left, until
from tests.helpers.raw_server import STALL, RawServer, free_port, reply

SOURCE = encoded(house((64, 64)))
SOON: Any = {"timeout": 0.05}

Verb = Callable[[ImagesClient, dict[str, Any]], Awaitable[object]]


async def generate(client: ImagesClient, options: dict[str, Any]) -> object:
    """An awaited picture."""
    return await client.generate(PROMPT, model="gpt-image-2", **options)


async def generate_several(client: ImagesClient, options: dict[str, Any]) -> object:
    """A call that is split into two requests."""
    return await client.generate(PROMPT, model="gpt-image-2", n=11, **options)


async def stream(client: ImagesClient, options: dict[str, Any]) -> object:
    """A streamed picture."""
    return await client.stream(PROMPT, model="gpt-image-2", partial_images=1, **options).finish()


async def edit(client: ImagesClient, options: dict[str, Any]) -> object:
    """An edited picture."""
    return await client.edit(PROMPT, image=SOURCE, model="gpt-image-2", **options)


async def stream_edit(client: ImagesClient, options: dict[str, Any]) -> object:
    """A streamed edit."""
    return await client.stream_edit(PROMPT, image=SOURCE, model="gpt-image-2", **options).finish()


async def many(client: ImagesClient, options: dict[str, Any]) -> object:
    """One of many; its failure is raised."""
    async with client.generate_many([PROMPT], model="gpt-image-2", **options) as outcomes:
        async for outcome in outcomes:
            if isinstance(outcome, Failed):
                raise outcome.error
    return outcome


VERBS = [generate, generate_several, stream, edit, stream_edit, many]
EACH = pytest.mark.parametrize("verb", VERBS)
HOW = pytest.mark.parametrize("how", ["call", "derived"])


async def run(verb: Verb, client: ImagesClient, options: dict[str, Any], how: str) -> object:
    """The same options, for one call or for a client."""
    if how == "call":
        return await verb(client, options)
    return await verb(client.with_options(**options), {})


@EACH
@HOW
async def test_a_timeout(verb: Verb, how: str, server: LocalImagesServer) -> None:
    """A number of seconds is the total of each request, and the error knows that money may be spent."""
    server.always("stall")
    async with nothing_left(), ImagesClient(base_url=server.base_url, api_key=server.api_key) as client:
        with pytest.raises(APITimeoutError) as caught:
            await run(verb, client, SOON, how)
        assert (caught.value.timer, caught.value.seconds, caught.value.maybe_billed) == ("total", 0.05, True)
        assert isinstance(caught.value, OutcomeUnknownError)
        assert server.posts == (2 if verb is generate_several else 1)
        server.always("ok")
        await verb(client, {})


@EACH
@HOW
async def test_timeouts(verb: Verb, how: str, server: LocalImagesServer) -> None:
    """`Timeouts` replace the client's."""
    server.always("stall")
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key, timeout=60) as client:
        with pytest.raises(APITimeoutError) as caught:
            await run(verb, client, {"timeout": Timeouts(first_byte=0.05)}, how)
    assert caught.value.timer == "first_byte"


@EACH
@HOW
async def test_headers(verb: Verb, how: str, server: LocalImagesServer) -> None:
    """They are added to the client's and win over them in any case of letters; the next call has the client's."""
    options = {"headers": {"x-team": "one call", "X-Trace": "7"}}
    async with client_of(server, headers={"X-Team": "client", "X-Kept": "1"}) as client:
        await run(verb, client, options, how)
        for sent in server.requests:
            headers = sent.headers
            assert (headers.getall("X-Team"), headers["X-Trace"], headers["X-Kept"]) == (
                ["one call"],
                "7",
                "1",
            )
            assert headers["Authorization"] == f"Bearer {server.api_key}"
        await verb(client, {})
        assert server.requests[-1].headers["X-Team"] == "client"
        assert "X-Trace" not in server.requests[-1].headers


@EACH
@HOW
@pytest.mark.parametrize(
    "options", [{"max_retries": 0}, {"retry": RetryPolicy(max_retries=0)}, {"max_retries": 4}, {}]
)
async def test_retries(verb: Verb, how: str, options: dict[str, Any], server: LocalImagesServer) -> None:
    """How often a request that did not run is sent again."""
    server.always("should_retry_true:500")
    async with client_of(server) as client:
        with pytest.raises(InternalServerError):
            await run(verb, client, options, how)
    most = 3 if not options else 5 if options.get("max_retries") == 4 else 1
    assert server.posts == most * (2 if verb is generate_several else 1)


async def test_a_retry_policy(server: LocalImagesServer) -> None:
    """All of a policy counts: here also how long to wait for a rate limit."""
    server.script("rate_limited:30")
    async with client_of(server) as client:
        with pytest.raises(RateLimitError):
            await client.generate(PROMPT, model="gpt-image-2", retry=RetryPolicy(max_rate_limit_wait=1))
        assert (await client.generate(PROMPT, model="gpt-image-2")).attempts == 1


async def test_another_key_for_one_call(server: LocalImagesServer) -> None:
    """`Authorization` among the headers goes in the key's place, as among the client's."""
    async with ImagesClient(base_url=server.base_url, api_key="sk-other") as client:
        own = {"authorization": f"Bearer {server.api_key}"}
        await client.generate(PROMPT, model="gpt-image-2", headers=own)
        assert server.requests[-1].headers.getall("Authorization") == [own["authorization"]]


async def test_a_key_for_one_call_of_a_client_without(
    server: LocalImagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client without a key sends with that of the call; the environment's, which may be another server's, stays."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    own = {"authorization": f"Bearer {server.api_key}"}
    async with ImagesClient(model="gpt-image-2") as client:
        await client.generate(PROMPT, headers=own)
        await client.with_options(headers=own).generate(PROMPT)
        await client.with_options(headers=own).generate(PROMPT, headers={"X-Trace": "1"})
        with pytest.raises(ConfigurationError, match="no API key"):
            await client.generate(PROMPT)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
        await client.generate(PROMPT, headers=own)
    assert [request.headers.getall("Authorization") for request in server.requests] == [
        [own["authorization"]]
    ] * 4


async def test_a_header_named_otherwise_needs_the_key(server: LocalImagesServer) -> None:
    """The call's other headers are no credentials."""
    async with ImagesClient(base_url=server.base_url, model="gpt-image-2") as client:
        with pytest.raises(ConfigurationError, match="no API key"):
            await client.generate(PROMPT, headers={"X-Trace": "1"})


@EACH
@HOW
async def test_headers_are_secrets(verb: Verb, how: str) -> None:
    """A server that echoes a header of one call gives nothing away, and no frame of the call holds it."""
    body = b'{"error":{"message":"no HEADERSECRET and no TOKENSECRET"}}'
    options = {
        "headers": {"X-Api-Key": "HEADERSECRET", "Authorization": "Bearer TOKENSECRET", "X": "UNSEENSECRET"}
    }
    async with RawServer([reply(body, status=400)]) as raw, client_of(raw) as client:
        with pytest.raises(BadRequestError) as caught:
            await run(verb, client, options, how)
        assert raw.header("Authorization") == ["Bearer TOKENSECRET"]
        assert "SECRET" not in f"{caught.value} {caught.value.body} {client.with_options(timeout=1)!r}"
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    own = [frame for frame in frames if "openai_images/client" in frame.f_code.co_filename]
    assert own
    assert not [frame for frame in own if "UNSEENSECRET" in repr(frame.f_locals)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": 0}, "seconds above 0"),
        ({"timeout": math.nan}, "not nan"),
        ({"timeout": True}, "seconds above 0"),
        ({"timeout": "2"}, "not str"),
        ({"max_retries": -1}, r"RetryPolicy\(max_retries=-1\)"),
        ({"retry": 3}, r"retry must be a RetryPolicy\(…\), not int; max_retries= takes a number"),
        ({"retry": RetryPolicy(), "max_retries": 1}, "max_retries= and retry= were both given"),
        ({"headers": "X: SENTINEL"}, "headers must be a mapping of names to values, not str"),
        ({"headers": {"X": 5}}, "the header 'X' must be text, not int"),
    ],
)
async def test_what_makes_no_sense(options: dict[str, Any], said: str, server: LocalImagesServer) -> None:
    """It is refused before anything is sent, by each verb at once, and without a value of a header."""
    async with client_of(server) as client:
        for make in (client.with_options, lambda **given: client.stream(PROMPT, **given)):
            with pytest.raises(ConfigurationError, match=said) as caught:
                make(**options)
            assert "SENTINEL" not in str(caught.value)
    assert server.posts == 0


def test_short_forms_of_a_new_client() -> None:
    """A client takes them too, and says which of two that were both given to leave out."""
    client = ImagesClient(timeout=30, max_retries=0)
    assert client._settings.timeouts == Timeouts(total=30)
    assert client._settings.retry == RetryPolicy(max_retries=0)
    assert ImagesClient(timeout=Timeouts(idle=5))._settings.timeouts == Timeouts(idle=5)
    with pytest.raises(ConfigurationError, match="timeout= and timeouts= were both given"):
        ImagesClient(timeout=30, timeouts=Timeouts(total=20))
    with pytest.raises(ConfigurationError, match="max_retries= and retry= were both given"):
        ImagesClient(max_retries=3, retry=RetryPolicy(max_retries=1))
    seconds: Any = 30
    with pytest.raises(ConfigurationError, match=r"timeouts must be Timeouts\(…\), not int; timeout= takes"):
        ImagesClient(timeouts=seconds)


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (2, Timeouts(connect=2, idle=7, total=2)),
        (60, Timeouts(connect=5, idle=7, total=60)),
        (math.inf, Timeouts(connect=5, idle=7, total=None)),
        (None, Timeouts(connect=5, idle=7, total=9)),
        (Timeouts(), Timeouts()),
    ],
)
def test_what_a_number_means(timeout: Any, expected: Timeouts) -> None:
    """It is the total; connecting may take no longer, and the other timers stay."""
    assert timeouts_from(Timeouts(connect=5, idle=7, total=9), timeout) == expected


async def test_a_timeout_for_each_call_takes_no_memory(server: LocalImagesServer) -> None:
    """Thousands of different timeouts keep nothing; neither do their calls, after which no connection is left."""
    async with nothing_left(), client_of(server) as client:
        for number in range(80):
            await client.generate(PROMPT, model="gpt-image-2", timeout=5 + number / 1000, headers={"X": "1"})
        assert server.posts == 80
        assert len(client._sessions._owned) == 1
        assert client._sessions._siblings == []
    cached = connect_timeout.cache_info()
    assert cached.currsize <= (cached.maxsize or 0) <= 64


async def test_none_is_the_clients(server: LocalImagesServer) -> None:
    """None of each option means as the client is set up, so that a wrapper may pass its own defaults on."""
    async with client_of(server, headers={"X-Team": "client"}) as client:
        await client.generate(
            PROMPT, model="gpt-image-2", timeout=None, headers=None, retry=None, max_retries=None
        )
        assert server.requests[-1].headers["X-Team"] == "client"
        other = client.with_options(model=None, validate=None, split=None)
        assert other._settings == client._settings


async def test_a_derived_client_shares(server: LocalImagesServer) -> None:
    """Connections and limits are one; settings add up, and the parent's stay as they were."""
    async with client_of(server, limits=Limits(concurrency=1), model="gpt-image-2") as client:
        other = client.with_options(headers={"X-A": "1", "X-B": "1"}, timeout=5)
        third = other.with_options(headers={"x-b": "2"}, max_retries=0)
        await third.generate(PROMPT)
        assert [server.requests[-1].headers.getall(name) for name in ("X-A", "X-B")] == [["1"], ["2"]]
        settings = [
            (each._settings.timeouts.total, each._settings.retry.max_retries) for each in (client, third)
        ]
        assert settings == [(600, 2), (5, 0)]
        assert third._sessions is client._sessions
        server.script("stall")
        holder = asyncio.create_task(third.generate(PROMPT))
        await until(lambda: server.posts == 2)
        waiter = asyncio.create_task(client.generate(PROMPT))
        await until(lambda: len(client._context.limiter.queue().waiters) == 1)
        assert server.posts == 2
        server.release()
        await asyncio.gather(holder, waiter)


@pytest.mark.parametrize("first", ["parent", "derived"])
async def test_closing_either_closes_both(first: str, server: LocalImagesServer) -> None:
    """Connections are closed by whichever is closed; a later call of the other opens new ones."""
    client = client_of(server, model="gpt-image-2")
    other = client.with_options(timeout=5)
    async with nothing_left():
        await client.generate(PROMPT)
        await other.generate(PROMPT)
        await (client if first == "parent" else other).aclose()
        assert client._sessions._owned == {}
        await (other if first == "parent" else client).generate(PROMPT)
        await client.aclose()


async def test_model_rules_and_split(server: LocalImagesServer) -> None:
    """A derived client has a model, rules and a way with a large `n` of its own."""
    async with client_of(server, model="gpt-image-2") as client:
        other = client.with_options(model="gpt-image-2.5-flare", validate="strict", split=False)
        await other.generate(PROMPT)
        assert server.requests[-1].json["model"] == "gpt-image-2.5-flare"
        with pytest.raises(RequestInvalidError):
            await other.generate(PROMPT, quality="unheard-of")
        await client.generate(PROMPT, n=11)
        assert server.posts == 3
        with pytest.raises(ImagesError):
            await client.with_options(split=False, validate="off").generate(PROMPT, n=11)
        assert server.posts == 4


class Sub(ImagesClient):
    """Somebody's own client, with something of its own."""

    team = "none"


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda client: pickle.loads(pickle.dumps(client))]
)
async def test_copies(copied: Any, server: LocalImagesServer) -> None:
    """A derived client is of the same class, and its copies have its settings with connections of their own."""
    client = Sub(base_url=server.base_url, api_key=server.api_key, model="gpt-image-2")
    client.team = "otters"
    derived = client.with_options(headers={"X-A": "1"}, timeout=7, max_retries=0)
    async with copied(derived) as other:
        assert (type(other), other.team, other.base_url) == (Sub, "otters", client.base_url)
        assert other._sessions is not client._sessions
        assert other._settings == derived._settings
        await other.generate(PROMPT)
    assert server.requests[-1].headers["X-A"] == "1"


async def test_many_wait_for_limits_with_their_own_retries(server: LocalImagesServer) -> None:
    """Options of `generate_many` are those of each call; waiting for a rate limit stays without an end."""
    server.script("rate_limited:300", "ok")
    async with client_of(server) as client:
        options = {"max_retries": 0, "headers": {"X-A": "1"}}
        await many(client, options)
    assert [sent.headers["X-A"] for sent in server.requests] == ["1", "1"]


async def test_downloads(tmp_path: Path) -> None:
    """What is behind a URL is fetched with the call's options, and all calls use the same connections for that."""
    async with (
        LocalImagesServer(pictures=PNG, picture_links="relative", now=lambda: FakeTime.WALL) as server,
        nothing_left(),
        client_of(server, model="gpt-image-2") as client,
    ):
        result = await client.generate(PROMPT)
        server.script("download_500_then_ok")
        with pytest.raises(DownloadError):
            await client.download(result, max_retries=0)
        assert len(server.downloads) == 1
        await client.download(result, headers={"X-A": "1"})
        server.script("download_500_then_ok")
        with pytest.raises(DownloadError):
            await client.generate(PROMPT, into=tmp_path / "a", max_retries=0)
        for number in range(3):
            await client.generate(
                PROMPT, into=tmp_path / str(number), headers={"X-A": "1"}, timeout=5 + number
            )
        assert len(client._sessions._siblings) == 2
        with pytest.raises(TypeError, match="download has no setting 'time_out': did you mean timeout"):
            await client.download(result, time_out=1)  # type: ignore[call-arg]


async def test_nobody_connects_longer_than_the_timeout() -> None:
    """Nothing listens: retries are those of the call."""
    async with ImagesClient(base_url=f"http://127.0.0.1:{free_port()}/v1", api_key=KEY) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.generate(PROMPT, timeout=1, max_retries=0)
    assert caught.value.attempts == 1


async def test_a_stale_connection_and_a_resend_keep_the_options() -> None:
    """The second attempt has the headers of the first, and the timeout counts for each."""
    refused = reply(b"{}", "x-should-retry: true", status=503)
    async with RawServer([refused], [STALL]) as raw, client_of(raw) as client:
        with pytest.raises(APITimeoutError) as caught:
            await client.generate(PROMPT, timeout=0.05, headers={"X-A": "1"})
        assert caught.value.attempts == raw.posts == 2
        assert [raw.header("X-A", post) for post in range(2)] == [["1"], ["1"]]
    async with RawServer([reply(JSON_ANSWER)]) as raw, client_of(raw) as client:
        assert (await client.generate(PROMPT, timeout=5)).attempts == 1
