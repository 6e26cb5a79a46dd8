"""Faults that replace the complete response: statuses, rate limits, moderation, unexpected bodies.

Invariants: bodies are those recorded from the API and from the gateways in front of it.
"""

import json
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import partial
from typing import Any, Final

import attrs

from openai_images.server.faults.plan import (
    STATUS,
    A,
    FaultPlan,
    FaultType,
    RequestInfo,
    argument,
    fault,
    fault_with_argument,
)
from openai_images.server.protocol.error_replies import (
    INVALID_REQUEST,
    USER_ERROR,
    Reply,
    compact_json,
    error_reply,
    invalid_api_key,
)
from openai_images.server.protocol.rate_limits import (
    images_subject,
    limit_message,
    rate_limit_reply,
    retry_headers,
)

_HTML: Final = (
    b"<!DOCTYPE html>\n<html><head><title>%d</title></head><body><center><h1>%d</h1></center></body></html>\n"
)
_HTML_TYPE: Final = "text/html; charset=UTF-8"
_SERVER_SENTENCE: Final = (
    "The server had an error processing your request. Sorry about that! You can retry your request, or contact us "
    "through our help center at help.openai.com if you keep seeing this error."
)
_CONTACT: Final = (
    "Your request was rejected by the safety system. If you believe this is an error, contact us at help.openai.com "
    "and include the request ID"
)
_OLD_SAFETY: Final = "Your request was rejected as a result of our safety system."

_STATUSES: Final[Mapping[int, tuple[str, str, str | None]]] = {
    400: ("Invalid value for 'size'.", USER_ERROR, "invalid_value"),
    403: ("Your organization must be verified to use this model.", INVALID_REQUEST, None),
    404: ("The model does not exist or you do not have access to it.", INVALID_REQUEST, "model_not_found"),
    408: ("Request timed out.", "server_error", None),
    409: ("The request conflicts with another one.", INVALID_REQUEST, "conflict"),
    413: ("413: Maximum content size limit (26214400) exceeded", "server_error", None),
    429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
    500: (_SERVER_SENTENCE, "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "service_unavailable_error", None),
}
_GATEWAY: Final = (502, 504, 520, 521, 522, 523, 524)

_SECONDS: Final = argument(float, lambda seconds: 0 <= seconds <= 86_400, "seconds from 0 to 86400")
_STAGE: Final = argument(str, {"input", "output", "unknown"}.__contains__, "input, output or unknown")


def html_page(status: int) -> Reply:
    """Return a gateway's HTML page."""
    return Reply(status, _HTML % (status, status), _HTML_TYPE)


def status_reply(status: int) -> Reply:
    """Return the reply of the API, or of the gateway in front of it, with `status`."""
    if status == 401:
        return invalid_api_key("sk-local-000000000000")
    if status in _GATEWAY:
        return html_page(status)
    message, error_type, code = _STATUSES.get(status, (f"HTTP status {status}.", "server_error", None))
    return error_reply(status, message, error_type, code=code)


def _full_rate_limit(seconds: float, request: RequestInfo) -> Reply:
    counts = {"limit": "5", "remaining": "0" if seconds else "5", "reset": f"{seconds:g}s"}
    headers = {f"x-ratelimit-{name}-input-images": value for name, value in counts.items()}
    return _rate_limit(seconds, request, headers | retry_headers(seconds))


def _rate_limit(seconds: float, request: RequestInfo, headers: Mapping[str, str]) -> Reply:
    message = limit_message(images_subject(request.model), 5, 5, 1, seconds)
    return rate_limit_reply("input-images", message, headers)


def _bare_limit(name: str, value: str) -> Reply:
    return rate_limit_reply("input-images", "Rate limit reached for images per minute.", {name: value})


def _overload(headers: Mapping[str, str]) -> Reply:
    message = "The server is currently overloaded. Please try again later."
    error_type, code = "service_unavailable_error", "server_is_overloaded"
    return error_reply(503, message, error_type, code=code, headers=headers)


def moderation_reply(stage: str, request: RequestInfo) -> Reply:
    """Return the safety system's 400 in its current wording."""
    details = {"moderation_stage": stage, "categories": ["other"]}
    return _moderation_error(f"{_CONTACT} {request.request_id}.", moderation_details=details)


def _moderation_error(message: str, **more: Any) -> Reply:
    return error_reply(400, message, USER_ERROR, code="moderation_blocked", **more)


def _moderation_azure(request: RequestInfo) -> Reply:
    error = {"code": "contentFilter", "message": "Your task failed as a result of our safety system."}
    return Reply(400, compact_json({"created": int(request.now), "error": error}))


def _echo_secrets(request: RequestInfo) -> Reply:
    secrets = f"Authorization '{request.authorization}' and prompt '{request.prompt}'"
    return error_reply(400, f"Upstream refused the request with {secrets}.", "upstream_error")


def _redirect(url: str, request: RequestInfo) -> Reply:
    target = url or f"http://localhost:{request.port}{request.path}"
    return Reply(307, b"", "text/plain", {"location": target})


def _reply(about: str, reply: Callable[[RequestInfo], Reply]) -> FaultType[FaultPlan]:
    return fault(about, FaultPlan(reply=reply))


def _reply_with(
    about: str, default: str | None, argument: Callable[[str], A], reply: Callable[[A, RequestInfo], Reply]
) -> FaultType[FaultPlan]:
    return fault_with_argument(about, default, argument, lambda value: FaultPlan(reply=partial(reply, value)))


def _seconds(about: str, reply: Callable[[float, RequestInfo], Reply]) -> FaultType[FaultPlan]:
    return _reply_with(about, "1", _SECONDS, reply)


def _should_retry(answer: str) -> FaultType[FaultPlan]:
    headers = {"x-should-retry": answer}
    about = f"should_retry_{answer}:NNN (500) that status with x-should-retry: {answer}"
    return _reply_with(
        about, "500", STATUS, lambda status, _: attrs.evolve(status_reply(status), headers=headers)
    )


def _error(
    about: str, status: int, message: str | None, error_type: str, code: str | None
) -> FaultType[FaultPlan]:
    return _reply(about, lambda _: error_reply(status, message, error_type, code=code))


_BILLING = "Billing hard limit has been reached."
_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
)
_BLOCKED = "Image generation is temporarily blocked for this account by our safety system."
_PROBLEM = {
    "type": "https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/",
    "title": "Error 502: Bad gateway",
    "status": 502,
}

STATUS_FAULTS: Final[Mapping[str, FaultType[FaultPlan]]] = {
    "status": _reply_with(
        "status:NNN that HTTP status with its usual body",
        None,
        STATUS,
        lambda status, _: status_reply(status),
    ),
    "html_502": _reply("a gateway's HTML page with status 502", lambda _: html_page(502)),
    "problem_502": _reply(
        "a gateway's JSON problem with status 502, without an error object",
        lambda _: Reply(502, json.dumps(_PROBLEM, indent=2).encode()),
    ),
    "html_200": _reply("an HTML page with status 200", lambda _: html_page(200)),
    "empty_200": _reply("status 200 with an empty body", lambda _: Reply(200, b"")),
    "text_200": _reply("status 200 with plain text", lambda _: Reply(200, b"ok", "text/plain")),
    "error_200": _reply("status 200 with a JSON error object", lambda _: Reply(200, status_reply(500).body)),
    "rate_limited": _seconds(
        "rate_limited:SECONDS (1) 429 with Retry-After, retry-after-ms, x-ratelimit-* and the message",
        _full_rate_limit,
    ),
    "rate_limited_then_ok": fault(
        "429 with a wait of one second for this request, an image for the next",
        FaultPlan(reply=partial(_full_rate_limit, 1.0), every_other=True),
    ),
    "retry_after_seconds": _seconds(
        "retry_after_seconds:S (1) 429 with only Retry-After: S",
        lambda seconds, _: _bare_limit("retry-after", f"{seconds:g}"),
    ),
    "retry_after_ms": _seconds(
        "retry_after_ms:S (1) 429 with only retry-after-ms: 1000*S",
        lambda seconds, _: _bare_limit("retry-after-ms", str(round(seconds * 1000))),
    ),
    "retry_after_date": _seconds(
        "retry_after_date:S (1) 429 with Retry-After as an HTTP date",
        lambda s, request: _bare_limit("retry-after", formatdate(request.now + s, usegmt=True)),
    ),
    "retry_after_message": _seconds(
        "retry_after_message:S (1) 429 with the wait of S seconds only in its message",
        lambda seconds, request: _rate_limit(seconds, request, {}),
    ),
    "quota_429": _error(
        "429 insufficient_quota: waiting does not help",
        429,
        _QUOTA,
        "insufficient_quota",
        "insufficient_quota",
    ),
    "quota_400": _error(
        "400 billing_hard_limit_reached",
        400,
        _BILLING,
        "billing_limit_user_error",
        "billing_hard_limit_reached",
    ),
    "overloaded_503": _reply("503 server_is_overloaded without Retry-After", lambda _: _overload({})),
    "overloaded_503_retry_after": _seconds(
        "overloaded_503_retry_after:S (1) 503 server_is_overloaded with Retry-After: S",
        lambda seconds, _: _overload({"retry-after": str(max(1, round(seconds)))}),
    ),
    "should_retry_true": _should_retry("true"),
    "should_retry_false": _should_retry("false"),
    "moderation_400": _reply_with(
        "moderation_400:STAGE (input) 400 moderation_blocked with moderation_details",
        "input",
        _STAGE,
        moderation_reply,
    ),
    "moderation_400_message_only": _reply(
        "400 moderation_blocked with safety_violations=[...] in the message only",
        lambda r: _moderation_error(f"{_CONTACT} {r.request_id}. safety_violations=[sexual,violence]."),
    ),
    "moderation_400_old": _error(
        "400 of the old safety system, without a code", 400, _OLD_SAFETY, INVALID_REQUEST, None
    ),
    "moderation_content_policy": _error(
        "400 content_policy_violation", 400, _OLD_SAFETY, INVALID_REQUEST, "content_policy_violation"
    ),
    "moderation_azure": _reply("400 contentFilter together with a created field", _moderation_azure),
    "moderation_null_message": _error(
        "400 moderation_blocked whose message is null", 400, None, USER_ERROR, "moderation_blocked"
    ),
    "moderation_403": _error(
        "403 of the safety system: temporarily blocked", 403, _BLOCKED, USER_ERROR, "moderation_blocked"
    ),
    "redirect_307": _reply_with(
        "redirect_307:URL (this server under another host name) 307", "", str, _redirect
    ),
    "echo_secrets": _reply(
        "400 whose message repeats the Authorization header and the prompt", _echo_secrets
    ),
}
