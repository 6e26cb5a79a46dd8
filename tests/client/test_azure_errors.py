"""Azure's refusals, each as its own exception; and what its filters said of images that did come."""

import json
from typing import Any

import pytest

from openai_images import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ImagesClient,
    ImagesError,
    ModerationBlockedError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaExhaustedError,
    RateLimitError,
    RetryPolicy,
)
from tests.helpers.clients import B64, BOTH, COMPLETED, Call, FakeTime, event, generate, partial, stream
from tests.helpers.tcp_recorder import Answer, Recorder

DATE = "2025-04-01-preview"
ID = "3a5c7e9b-0000-0000-0000-000000000000"

FILTERED = {
    "hate": {"filtered": False, "severity": "safe"},
    "jailbreak": {"detected": False, "filtered": False},
    "sexual": {"filtered": True, "severity": "high"},
    "violence": {"filtered": True, "severity": "medium"},
}
BLOCKED = [
    ({"created": 1, "error": {"code": "contentFilter", "message": "Your task failed."}}, ()),
    ({"error": {"code": "content_filter", "message": "Filtered.", "innererror": {"content_filter_result": FILTERED}}},
     ("sexual", "violence")),
    ({"error": {"code": "content_policy_violation", "message": "Blocked.", "param": "prompt", "inner_error": {
        "code": "ResponsibleAIPolicyViolation", "content_filter_results": FILTERED}}}, ("sexual", "violence")),
    ({"error": {"code": "BadRequest", "message": "Bad.", "innererror": {
        "code": "ResponsibleAIPolicyViolation", "content_filter_results": FILTERED}}}, ("sexual", "violence")),
    ({"error": {"code": "moderation_blocked", "type": "image_generation_user_error", "message":
        "Your request was rejected by the safety system. Contact us at Azure support ticket.",
        "moderation_details": {"moderation_stage": "output", "categories": ["sexual"]}}}, ("sexual",)),
]  # fmt: skip


def azure(server: Recorder, **settings: Any) -> ImagesClient:
    """A client of this server."""
    settings = {"timing": FakeTime().timing, **settings}
    return ImagesClient.azure(server.url, api_version=DATE, api_key="0123456789abcdef", **settings)


async def refused(call: Call, answer: Answer, **settings: Any) -> tuple[ImagesError, int]:
    """The error that an answer becomes, and how many requests it took."""
    async with Recorder(answer) as server, azure(server, **settings) as client:
        with pytest.raises(ImagesError) as caught:
            await call(client)
    return caught.value, len(server.requests)


@BOTH
@pytest.mark.parametrize(("body", "categories"), BLOCKED)
async def test_a_filter_struck(call: Call, body: dict[str, Any], categories: tuple[str, ...]) -> None:
    """Each spelling is a `ModerationBlockedError` with its categories, and is not sent again."""
    answer = Answer(json.dumps(body).encode(), 400, {"apim-request-id": ID})
    error, posts = await refused(call, answer)
    assert isinstance(error, ModerationBlockedError)
    assert (error.categories, error.request_id, posts) == (categories, ID, 1)
    assert not error.maybe_billed


@pytest.mark.parametrize(("body", "categories"), BLOCKED)
async def test_a_filter_struck_in_mid_stream(body: dict[str, Any], categories: tuple[str, ...]) -> None:
    """After a partial image it is the same error, in an event."""
    events = partial() + event("error", **{name: body[name] for name in ("error",)})
    error, posts = await refused(stream, Answer(events, kind="text/event-stream"))
    assert isinstance(error, ModerationBlockedError)
    assert (error.categories, posts) == (categories, 1)


def said(code: str, message: str) -> dict[str, Any]:
    """An error of Azure's in its usual form."""
    return {"error": {"code": code, "message": message}}


NO_ACCESS = "Access denied due to invalid subscription key or wrong API endpoint."
REFUSALS = [  # status, body, exception, code, whether it is safe to send again
    (404, said("DeploymentNotFound", "The API deployment does not exist."), NotFoundError, "DeploymentNotFound", False),
    (404, said("404", "Resource not found"), NotFoundError, "404", False),
    (401, {"statusCode": 401, "message": "Unauthorized."}, AuthenticationError, None, False),
    (401, said("401", NO_ACCESS), AuthenticationError, "401", False),
    (401, said("PermissionDenied", "No data action."), AuthenticationError, "PermissionDenied", False),
    (400, said("OperationNotSupported", "Not with this model."), BadRequestError, "OperationNotSupported", False),
    (429, said("429", "Call rate limit."), RateLimitError, "429", True),
    (429, {"statusCode": 429, "message": "Rate limit is exceeded."}, RateLimitError, None, True),
    (429, said("EngineOverloaded", "Try again later."), RateLimitError, "EngineOverloaded", True),
    (429, said("insufficient_quota", "Quota."), QuotaExhaustedError, "insufficient_quota", False),
    (408, said("Timeout", "The operation was timeout."), OutcomeUnknownError, "Timeout", False),
]  # fmt: skip


@BOTH
@pytest.mark.parametrize(("status", "body", "kind", "code", "safe"), REFUSALS)
async def test_refusals(
    call: Call, status: int, body: dict[str, Any], kind: type[Exception], code: str | None, safe: bool
) -> None:
    """Each has its class, its code, Azure's own name of the request, and says whether it may be sent again."""
    answer = Answer(json.dumps(body).encode(), status, {"apim-request-id": ID, "retry-after-ms": "1500"})
    error, posts = await refused(call, answer, retry=RetryPolicy(max_retries=0, max_rate_limit_wait=1.0))
    assert isinstance(error, kind)
    assert isinstance(error, APIStatusError)
    assert (error.status_code, error.code, error.request_id, posts) == (status, code, ID, 1)
    assert (error.safe_to_resend, error.retry_after) == (safe, 1.5)


@BOTH
async def test_a_limit_is_waited_for(call: Call) -> None:
    """Two answers of Azure's two limits, then the image."""
    answers = [
        Answer(json.dumps(said("429", "Call rate limit.")).encode(), 429, {"retry-after": "8"}),
        Answer(json.dumps(said("EngineOverloaded", "Later.")).encode(), 429, {"retry-after-ms": "900"}),
        Answer() if call is generate else Answer(COMPLETED, kind="text/event-stream"),
    ]
    async with Recorder(*answers) as server, azure(server) as client:
        assert (await call(client)).attempts == 3
    assert len({(request.target, request.body) for request in server.requests}) == 1


async def test_the_wait_is_azures_milliseconds() -> None:
    """`retry-after-ms` is exact, `retry-after` beside it is rounded up."""
    limited = Answer(b"{}", 429, {"retry-after-ms": "1500", "retry-after": "2"})
    time = FakeTime()
    async with Recorder(limited, Answer()) as server, azure(server, timing=time.timing) as client:
        assert (await generate(client)).attempts == 2
    assert 1.5 in time.slept


async def test_what_the_filters_said_of_a_picture() -> None:
    """It stands beside the image, in `extra`, under Azure's own names."""
    results = {
        "content_filter_results": {"violence": {"filtered": False, "severity": "safe"}},
        "prompt_filter_results": {"profanity": {"detected": False, "filtered": False}},
    }
    item = {"b64_json": B64, "revised_prompt": "an otter", **results}
    answer = Answer(json.dumps({"created": 1, "data": [item]}).encode(), headers={"apim-request-id": ID})
    async with Recorder(answer) as server, azure(server) as client:
        result = await generate(client)
    assert result.image.extra == results
    assert (result.image.revised_prompt, result.request_id) == ("an otter", ID)
