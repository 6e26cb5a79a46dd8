"""`retry_unknown=True` sends again what may have run; never once an event was delivered."""

import pytest

from openai_images import (
    APIStatusError,
    DecodeError,
    GenerateRequest,
    ImagesError,
    ModerationBlockedError,
    OutcomeUnknownError,
    QuotaExhaustedError,
    RetryPolicy,
    Timeouts,
    UnknownEvent,
)
from openai_images.models.outcomes import CallObserver
from openai_images.server import LocalImagesServer
from tests.helpers.clients import BOTH, COMPLETED, PROMPT, Call, FakeTime, client_of, event, generate, stream
from tests.helpers.raw_server import CLOSE, LAST_CHUNK, RawServer, chunked, reply

OPTED_IN = RetryPolicy(retry_unknown=True)
SHORT = Timeouts(first_byte=0.1, idle=0.1)


@BOTH
@pytest.mark.parametrize(
    "fault",
    [
        "reset_after_body", "close_after_body", "stall", "stall_after_headers", "status:408",
        "status:500", "html_502", "overloaded_503", "status:520", "error_200",
    ],
)  # fmt: skip
async def test_opted_in(call: Call, server: LocalImagesServer, fault: str) -> None:
    """What nobody knows the outcome of is sent three times, then raised as it is."""
    server.always(fault)
    time = FakeTime()
    async with client_of(server, retry=OPTED_IN, timeouts=SHORT, timing=time.timing) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await call(client)
    assert (server.posts, caught.value.attempts, time.slept) == (3, 3, [0.5, 1.0])


@BOTH
@pytest.mark.parametrize("last", ["bad_key_401", "slow_429"])
async def test_a_doubt_stays(call: Call, last: str) -> None:
    """An attempt that may have been billed is not forgotten when the next one certainly did not run."""
    refusal = {
        "bad_key_401": reply(b'{"error":{"code":"invalid_api_key"}}', status=401),
        "slow_429": reply(b'{"error":{"code":"rate_limit_exceeded"}}', "Retry-After: 9999", status=429),
    }[last]
    told = Told()
    async with RawServer([CLOSE], [refusal]) as server, client_of(server, retry=OPTED_IN) as client:
        with pytest.raises(APIStatusError) as caught:
            await call(client)
        assert (caught.value.attempts, caught.value.maybe_billed) == (2, True)
        server.heads.clear()
        with pytest.raises(APIStatusError):
            await client._calls.new(GenerateRequest(PROMPT), observer=told).result_or_raise()
    assert told.refusals == 0


class Told(CallObserver):
    """Counts what it is told."""

    refusals = 0

    async def on_not_executed(self, error: ImagesError) -> None:
        """Count."""
        self.refusals += 1


@BOTH
@pytest.mark.parametrize("fault", ["reset_after_body", "status:500", "eof_after_partials:0", "stall"])
async def test_opted_in_and_lucky(call: Call, server: LocalImagesServer, fault: str) -> None:
    """The second attempt's image is the result."""
    server.script(fault)
    timeouts = SHORT if fault == "stall" else Timeouts()
    async with client_of(server, retry=OPTED_IN, timeouts=timeouts) as client:
        result = await call(client)
    expected = 1 if fault.startswith("eof") and call is generate else 2
    assert (result.attempts, server.posts) == (expected, expected)
    assert result.request_id


@BOTH
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("moderation_400", ModerationBlockedError),
        ("quota_429", QuotaExhaustedError),
        ("quota_400", QuotaExhaustedError),
        ("invalid_base64", DecodeError),
        ("status:400", ImagesError),
        ("status:409", ImagesError),
    ],
)
async def test_never_again(
    call: Call, server: LocalImagesServer, fault: str, kind: type[ImagesError]
) -> None:
    """What would end the same way is not sent again, opted in or not."""
    server.always(fault)
    async with client_of(server, retry=OPTED_IN) as client:
        with pytest.raises(kind):
            await call(client)
    assert server.posts == 1


@pytest.mark.parametrize(
    "fault", ["cut_mid_event", "stall_between_events", "reset_mid_stream", "error_event_server"]
)
async def test_not_behind_a_partial(server: LocalImagesServer, fault: str) -> None:
    """Once a partial image was delivered, the stream fails rather than starting anew."""
    server.always(fault)
    async with client_of(server, retry=OPTED_IN, timeouts=SHORT) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await stream(client)
    assert server.posts == 1
    assert caught.value.partials


async def test_not_behind_an_unknown_event() -> None:
    """An event of an unknown type counts as delivered too."""
    broken = [chunked(event("queued", position=1)), CLOSE]
    async with RawServer(broken, [chunked(COMPLETED), LAST_CHUNK]) as server:
        async with client_of(server, retry=OPTED_IN) as client, client.stream(PROMPT) as events:
            assert isinstance(await anext(events), UnknownEvent)
            with pytest.raises(OutcomeUnknownError):
                await anext(events)
        assert server.posts == 1


async def test_without_retries(server: LocalImagesServer) -> None:
    """`max_retries=0` sends once, opted in or not."""
    server.always("status:500")
    async with client_of(server, retry=RetryPolicy(max_retries=0, retry_unknown=True)) as client:
        with pytest.raises(OutcomeUnknownError):
            await generate(client)
    assert server.posts == 1
