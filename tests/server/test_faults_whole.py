"""Faults that answer with something else than an image."""

import re
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from openai_images.server import LocalImagesServer

BLOCKED = "moderation_blocked"


@pytest.mark.parametrize(
    "status", [400, 401, 403, 404, 408, 409, 413, 418, 429, 500, 502, 503, 504, 520, 524]
)
async def test_status(ask: Any, server: LocalImagesServer, status: int) -> None:
    """Any error status comes with the body it has in reality: JSON of the API or HTML of a gateway."""
    server.script(f"status:{status}")
    reply = await ask(stream=True)
    assert reply.status == status
    if status in (502, 504, 520, 524):
        assert reply.headers["content-type"].startswith("text/html")
        assert f"<h1>{status}</h1>".encode() in reply.body
    else:
        assert list(reply.error) == ["message", "type", "param", "code"]


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "start"),
    [
        ("html_502", 502, "text/html; charset=UTF-8", b"<!DOCTYPE html>"),
        ("html_200", 200, "text/html; charset=UTF-8", b"<!DOCTYPE html>"),
        ("problem_502", 502, "application/json", b'{\n  "type": "https://developers.cloudflare.com/'),
        ("empty_200", 200, "application/json", b""),
        ("text_200", 200, "text/plain", b"ok"),
        ("error_200", 200, "application/json", b'{"error":{"message":"The server had an error'),
    ],
)
async def test_foreign_bodies(
    ask: Any, server: LocalImagesServer, *, fault: str, status: int, content_type: str, start: bytes
) -> None:
    """What gateways put in the place of an answer."""
    server.script(fault)
    reply = await ask()
    assert (reply.status, reply.headers["content-type"]) == (status, content_type)
    assert reply.body.startswith(start)
    assert reply.body or not start


@pytest.mark.parametrize(
    ("fault", "headers", "words"),
    [
        (
            "rate_limited:2.5",
            {"retry-after": "3", "retry-after-ms": "2500", "x-ratelimit-reset-input-images": "2.5s"},
            "Please try again in 2.5s.",
        ),
        ("rate_limited", {"retry-after": "1", "retry-after-ms": "1000"}, "Please try again in 1s."),
        ("retry_after_seconds:7", {"retry-after": "7", "retry-after-ms": None}, "Rate limit reached"),
        ("retry_after_ms:0.25", {"retry-after": None, "retry-after-ms": "250"}, "Rate limit reached"),
        ("retry_after_message:51.84", {"retry-after": None, "retry-after-ms": None}, "try again in 51.84s."),
    ],
)
async def test_rate_limits(
    ask: Any, server: LocalImagesServer, fault: str, headers: dict[str, str | None], words: str
) -> None:
    """A 429 says how long to wait in one place or in all."""
    server.script(fault)
    reply = await ask()
    assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
    assert {name: reply.headers.get(name) for name in headers} == headers
    assert words in reply.error["message"]


async def test_retry_after_as_a_date(ask: Any, picture: bytes) -> None:
    """The wait is an HTTP date on the server's own wall clock."""
    async with LocalImagesServer(faults=["retry_after_date:90"], pictures=picture, now=lambda: 1e9) as server:
        reply = await ask(of=server)
    assert reply.headers["retry-after"] == "Sun, 09 Sep 2001 01:48:10 GMT"
    assert parsedate_to_datetime(reply.headers["retry-after"]).timestamp() == 1e9 + 90


@pytest.mark.parametrize(
    ("fault", "status", "kind", "code"),
    [
        ("quota_429", 429, "insufficient_quota", "insufficient_quota"),
        ("quota_400", 400, "billing_limit_user_error", "billing_hard_limit_reached"),
        ("overloaded_503", 503, "service_unavailable_error", "server_is_overloaded"),
        ("moderation_400", 400, "image_generation_user_error", BLOCKED),
        ("moderation_400_message_only", 400, "image_generation_user_error", BLOCKED),
        ("moderation_400_old", 400, "invalid_request_error", None),
        ("moderation_content_policy", 400, "invalid_request_error", "content_policy_violation"),
        ("moderation_null_message", 400, "image_generation_user_error", BLOCKED),
        ("moderation_403", 403, "image_generation_user_error", BLOCKED),
    ],
)
async def test_refusals(
    ask: Any, server: LocalImagesServer, *, fault: str, status: int, kind: str, code: str | None
) -> None:
    """Money, load and the safety system each refuse in their own shape, without a time to wait."""
    server.script(fault)
    reply = await ask()
    assert (reply.status, reply.error["type"], reply.error["code"]) == (status, kind, code)
    assert "retry-after" not in reply.headers


async def test_moderation_details(ask: Any, server: LocalImagesServer) -> None:
    """The stage and the categories come in an object of their own, or only in the message."""
    server.script("moderation_400:output", "moderation_400_message_only", "moderation_null_message")
    details = (await ask()).error["moderation_details"]
    assert details == {"moderation_stage": "output", "categories": ["other"]}
    in_message = (await ask()).error
    assert "moderation_details" not in in_message
    assert in_message["message"].endswith("safety_violations=[sexual,violence].")
    assert (await ask()).error["message"] is None


async def test_moderation_azure(ask: Any, server: LocalImagesServer) -> None:
    """Another vendor's shape has `created` beside the error and no type."""
    server.script("moderation_azure")
    reply = await ask()
    assert list(reply.json) == ["created", "error"]
    assert list(reply.error) == ["code", "message"]
    assert reply.error["code"] == "contentFilter"


async def test_overload_with_a_wait(ask: Any, server: LocalImagesServer) -> None:
    """A 503 may say when to come back."""
    server.script("overloaded_503_retry_after:4")
    reply = await ask()
    assert (reply.status, reply.headers["retry-after"]) == (503, "4")


@pytest.mark.parametrize(
    ("fault", "status", "answer"),
    [
        ("should_retry_true", 500, "true"),
        ("should_retry_true:409", 409, "true"),
        ("should_retry_false:429", 429, "false"),
    ],
)
async def test_should_retry(
    ask: Any, server: LocalImagesServer, fault: str, status: int, answer: str
) -> None:
    """The header that says whether to retry comes with any status."""
    server.script(fault)
    reply = await ask()
    assert (reply.status, reply.headers["x-should-retry"]) == (status, answer)


async def test_redirect(ask: Any, server: LocalImagesServer) -> None:
    """A 307 points to another host, by default this server under another name."""
    server.script("redirect_307", "redirect_307:http://127.0.0.1:9/x")
    reply = await ask()
    assert reply.status == 307
    assert re.fullmatch(r"http://localhost:\d+/v1/images/generations", reply.headers["location"])
    assert (await ask()).headers["location"] == "http://127.0.0.1:9/x"


async def test_echo_secrets(ask: Any, server: LocalImagesServer) -> None:
    """A careless gateway repeats the key and the prompt."""
    server.script("echo_secrets")
    message = (await ask(prompt="my secret idea")).error["message"]
    assert server.api_key in message
    assert "my secret idea" in message
