"""Every answer that is no image: its exception, its facts, and how many POSTs it took."""

from typing import Any

import pytest

from openai_images import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    DecodeError,
    ImagesError,
    InternalServerError,
    ModerationBlockedError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    QuotaExhaustedError,
    RateLimitError,
)
from openai_images.server import LocalImagesServer
from tests.helpers.clients import BOTH, KEY, PNG, PROMPT, Call, FakeTime, client_of, generate, stream
from tests.helpers.raw_server import RawServer, reply

UNKNOWN = OutcomeUnknownError
# fault, exception, status, whether it may have run, POSTs
STATUSES = [
    ("status:400", BadRequestError, 400, False, 1),
    ("status:401", AuthenticationError, 401, False, 1),
    ("status:403", PermissionDeniedError, 403, False, 1),
    ("status:404", NotFoundError, 404, False, 1),
    ("status:408", APIStatusError, 408, True, 1),
    ("status:409", APIStatusError, 409, False, 1),
    ("status:413", BadRequestError, 413, False, 1),
    ("status:422", BadRequestError, 422, False, 1),
    ("status:500", InternalServerError, 500, True, 1),
    ("html_502", InternalServerError, 502, True, 1),
    ("problem_502", InternalServerError, 502, True, 1),
    ("overloaded_503", InternalServerError, 503, True, 1),
    ("overloaded_503_retry_after:7", InternalServerError, 503, False, 3),
    ("status:504", InternalServerError, 504, True, 1),
    ("status:520", InternalServerError, 520, True, 1),
    ("status:524", InternalServerError, 524, True, 1),
    ("should_retry_true:500", InternalServerError, 500, False, 3),
    ("should_retry_true:409", APIStatusError, 409, False, 3),
    ("should_retry_false:500", InternalServerError, 500, True, 1),
    ("should_retry_false:429", RateLimitError, 429, False, 1),
    ("quota_429", QuotaExhaustedError, 429, False, 1),
    ("quota_400", QuotaExhaustedError, 400, False, 1),
    ("redirect_307", APIStatusError, 307, False, 1),
    ("error_200", InternalServerError, 200, True, 1),
]
MODERATION = [  # fault, status, categories, stage
    ("moderation_400:input", 400, ("other",), "input"),
    ("moderation_400:output", 400, ("other",), "output"),
    ("moderation_400:unknown", 400, ("other",), "unknown"),
    ("moderation_400_message_only", 400, ("sexual", "violence"), "unknown"),
    ("moderation_400_old", 400, (), "unknown"),
    ("moderation_content_policy", 400, (), "unknown"),
    ("moderation_azure", 400, (), "unknown"),
    ("moderation_null_message", 400, (), "unknown"),
    ("moderation_403", 403, (), "unknown"),
]
FOREIGN = ["html_200", "text_200", "empty_200", "null_b64", "empty_b64", "invalid_base64"]
DELIVERED = [
    "json_instead_of_sse", "sse_instead_of_json", "unknown_event", "ping_event", "done_marker", "keepalive_comments",
    "crlf", "cr", "bom", "no_event_line", "escaped_base64", "data_url_base64", "urlsafe_base64", "unpadded_base64",
    "wrapped_base64", "missing_fields", "gzip", "tiny_chunks:7", "fewer_partials:1", "completed_without_blank_line",
]  # fmt: skip


async def failing(call: Call, server: LocalImagesServer, fault: str, **options: Any) -> Any:
    """The error of a call that always meets this fault."""
    server.always(fault)
    async with client_of(server, **options) as client:
        with pytest.raises(ImagesError) as caught:
            await call(client)
    error = caught.value
    assert error.attempts == server.posts
    assert error.elapsed >= 0
    assert (error.request_id or "").startswith("req_")
    assert str(error)
    assert PROMPT not in str(error)
    assert server.api_key not in str(error)
    return error


@BOTH
@pytest.mark.parametrize(("fault", "kind", "status", "unknown", "posts"), STATUSES)
async def test_status(
    call: Call,
    server: LocalImagesServer,
    fault: str,
    kind: type[APIStatusError],
    status: int,
    *,
    unknown: bool,
    posts: int,
) -> None:
    """A status becomes its exception; it is sent again only where it provably did not run."""
    error = await failing(call, server, fault)
    assert isinstance(error, kind)
    assert (error.status_code, server.posts) == (status, posts)
    assert (isinstance(error, UNKNOWN), error.maybe_billed) == (unknown, unknown)


@BOTH
@pytest.mark.parametrize(("fault", "status", "categories", "stage"), MODERATION)
async def test_moderation(
    call: Call, server: LocalImagesServer, fault: str, status: int, categories: tuple[str, ...], stage: str
) -> None:
    """The safety system's refusal is one class in every shape, and is never sent again."""
    error = await failing(call, server, fault)
    assert type(error) is ModerationBlockedError
    assert (error.status_code, error.categories, error.stage) == (status, categories, stage)
    assert server.posts == 1


@BOTH
@pytest.mark.parametrize("fault", FOREIGN)
async def test_success_without_a_picture(call: Call, server: LocalImagesServer, fault: str) -> None:
    """A status of 200 without a usable image is a DecodeError, and may have cost money."""
    error = await failing(call, server, fault)
    assert type(error) is DecodeError
    assert (error.maybe_billed, server.posts) == (True, 1)


@BOTH
@pytest.mark.parametrize("fault", DELIVERED)
async def test_strays_but_delivers(call: Call, server: LocalImagesServer, fault: str) -> None:
    """Spellings and framings that stray from the API's still give the image."""
    server.always(fault)
    async with client_of(server) as client:
        result = await call(client)
    assert result.image.data.startswith(PNG)
    assert (result.attempts, server.posts, result.elapsed > 0) == (1, 1, True)
    assert (result.request_id or "").startswith("req_")


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("error_event_nested", InternalServerError, "server_error"),
        ("error_event_bare", InternalServerError, "server_error"),
        ("error_event_flat", InternalServerError, "server_error"),
        ("error_event_server", InternalServerError, "image_generation_failed"),
        ("moderation_mid_stream", ModerationBlockedError, "moderation_blocked"),
    ],
)
async def test_error_event(
    server: LocalImagesServer, fault: str, kind: type[APIStatusError], code: str
) -> None:
    """An error event is the exception its status would have been, with what had arrived."""
    error = await failing(stream, server, fault)
    assert isinstance(error, kind)
    assert (error.status_code, error.code, len(error.partials), server.posts) == (200, code, 1, 1)


@BOTH
async def test_moderation_is_never_sent_again(call: Call) -> None:
    """Not even where the server invites to it."""
    body = b'{"error":{"code":"moderation_blocked","message":"no"}}'
    async with (
        RawServer([reply(body, "x-should-retry: true", status=400)]) as server,
        client_of(server) as client,
    ):
        with pytest.raises(ModerationBlockedError):
            await call(client)
        assert server.posts == 1


@BOTH
async def test_redirect(call: Call) -> None:
    """A redirect is not followed: the key goes nowhere else, and the text says where it pointed."""
    async with RawServer([reply(b"")]) as elsewhere:
        location = f"{elsewhere.base_url}/images/generations"
        async with (
            RawServer([reply(b"", f"Location: {location}", status=307)]) as server,
            client_of(server) as client,
        ):
            with pytest.raises(APIStatusError, match="redirects are not followed") as caught:
                await call(client)
            assert location in str(caught.value)
            assert server.posts == 1
        assert elsewhere.connections == 0


async def test_a_gzipped_answer(server: LocalImagesServer) -> None:
    """A compressed answer is read although it was asked for plain."""
    server.script("gzip")
    async with client_of(server) as client:
        assert (await generate(client)).image.data == PNG
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


@BOTH
@pytest.mark.parametrize("headers", [None, {"Authorization": f"Bearer {KEY}"}, {"api-key": KEY}])
async def test_echoed_secrets(call: Call, headers: dict[str, str] | None) -> None:
    """A server that echoes the key, wherever it came from, does not get it into the exception."""
    body = f'{{"error": {{"message": "bad key {KEY} for {PROMPT}"}}}}'.encode()
    key = None if headers else KEY
    async with (
        RawServer([reply(body, status=401)]) as server,
        client_of(server, api_key=key, headers=headers) as client,
    ):
        with pytest.raises(AuthenticationError) as caught:
            await call(client)
    shown = f"{caught.value} {caught.value!r} {caught.value.body}"
    assert KEY not in shown
    assert PROMPT not in shown


async def test_waits_of_a_503(server: LocalImagesServer) -> None:
    """Retry-After of a 503 is waited for, twice."""
    time = FakeTime()
    error = await failing(generate, server, "overloaded_503_retry_after:7", timing=time.timing)
    assert (time.slept, error.attempts, error.retry_after) == ([7.0, 7.0], 3, 7.0)
