"""Faults that put another whole reply in the place of the picture: statuses, limits, refusals, foreign bodies.

Rules: bodies are those recorded from the API and from the gateways in front of it; a reply is made anew for each
request. It refuses to touch how a reply travels; that is `travel.py`.
"""

import json
from collections.abc import Mapping
from email.utils import formatdate
from typing import Final

from openai_images.server.error_replies import USER_ERROR, Reply, compact_json, error_reply, invalid_api_key
from openai_images.server.faults.plan import FaultPlan, FaultType, RequestInfo, fault, fault_with_argument
from openai_images.server.rate_limits import images_message, rate_limit_reply, retry_headers

_HTML: Final = (
    b"<!DOCTYPE html>\n<html><head><title>%d</title></head><body><center><h1>%d</h1></center></body></html>\n"
)
_HTML_TYPE: Final = "text/html; charset=UTF-8"
_SERVER_SENTENCE: Final = (
    "The server had an error processing your request. Sorry about that! You can retry your request, or contact us "
    "through our help center at help.openai.com if you keep seeing this error."
)
_SAFETY: Final = "Your request was rejected by the safety system."
_OLD_SAFETY: Final = "Your request was rejected as a result of our safety system."

_STATUSES: Final[Mapping[int, tuple[str, str, str | None]]] = {
    400: ("Invalid value for 'size'.", USER_ERROR, "invalid_value"),
    403: ("Your organization must be verified to use this model.", "invalid_request_error", None),
    404: (
        "The model does not exist or you do not have access to it.",
        "invalid_request_error",
        "model_not_found",
    ),
    408: ("Request timed out.", "server_error", None),
    409: ("The request conflicts with another one.", "invalid_request_error", "conflict"),
    413: ("413: Maximum content size limit (26214400) exceeded", "server_error", None),
    429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
    500: (_SERVER_SENTENCE, "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "service_unavailable_error", None),
}
_GATEWAY: Final = (502, 504, 520, 521, 522, 523, 524)


def html_page(status: int) -> Reply:
    """A gateway's HTML page."""
    return Reply(status, _HTML % (status, status), _HTML_TYPE)


def status_reply(status: int) -> Reply:
    """What the API, or the gateway in front of it, says with `status`."""
    if status == 401:
        return invalid_api_key("sk-local-000000000000")
    if status in _GATEWAY:
        return html_page(status)
    message, kind, code = _STATUSES.get(status, (f"HTTP status {status}.", "server_error", None))
    return error_reply(status, message, kind, code=code)


def parse_status(text: str) -> int:
    """An HTTP status of an error, or a `ValueError`."""
    status = int(text)
    if not 400 <= status <= 599:
        raise ValueError("a status from 400 to 599")
    return status


def _status_plan(text: str) -> FaultPlan:
    status = parse_status(text)
    return FaultPlan(reply=lambda _: status_reply(status))


def _should_retry(answer: str, text: str) -> FaultPlan:
    status = parse_status(text)

    def reply(_: RequestInfo) -> Reply:
        plain = status_reply(status)
        return Reply(status, plain.body, plain.content_type, {"x-should-retry": answer})

    return FaultPlan(reply=reply)


def _limited(seconds: float, at: RequestInfo, headers: Mapping[str, str]) -> Reply:
    return rate_limit_reply("input-images", images_message(at.model, 5, 5, 1, seconds), headers)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86_400:
        raise ValueError("seconds from 0 to 86400")
    return seconds


def _rate_limited(text: str) -> FaultPlan:
    seconds = _seconds(text)

    def reply(at: RequestInfo) -> Reply:
        counts = {"limit": "5", "remaining": "0", "reset": f"{seconds:g}s"}
        headers = {f"x-ratelimit-{name}-input-images": value for name, value in counts.items()}
        return _limited(seconds, at, headers | retry_headers(seconds))

    return FaultPlan(reply=reply)


def _retry_after_seconds(text: str) -> FaultPlan:
    seconds = _seconds(text)
    return FaultPlan(reply=lambda _: _bare_limit({"retry-after": f"{seconds:g}"}))


def _retry_after_ms(text: str) -> FaultPlan:
    milliseconds = round(_seconds(text) * 1000)
    return FaultPlan(reply=lambda _: _bare_limit({"retry-after-ms": str(milliseconds)}))


def _retry_after_date(text: str) -> FaultPlan:
    seconds = _seconds(text)
    return FaultPlan(reply=lambda at: _bare_limit({"retry-after": formatdate(at.now + seconds, usegmt=True)}))


def _retry_after_message(text: str) -> FaultPlan:
    seconds = _seconds(text)
    return FaultPlan(reply=lambda at: _limited(seconds, at, {}))


def _bare_limit(headers: Mapping[str, str]) -> Reply:
    return rate_limit_reply("input-images", "Rate limit reached for images per minute.", headers)


def _overloaded(headers: Mapping[str, str]) -> FaultPlan:
    return FaultPlan(
        reply=lambda _: error_reply(
            503,
            "The server is currently overloaded. Please try again later.",
            "service_unavailable_error",
            code="server_is_overloaded",
            headers=headers,
        )
    )


def _overloaded_plan(text: str) -> FaultPlan:
    return _overloaded({"retry-after": str(max(1, round(_seconds(text))))})


def _refused(status: int, message: str | None, kind: str, code: str | None) -> FaultPlan:
    return FaultPlan(reply=lambda _: error_reply(status, message, kind, code=code))


def moderation_reply(at: RequestInfo, stage: str = "input") -> Reply:
    """The refusal of the safety system as the API words it today."""
    message = (
        f"{_SAFETY} If you believe this is an error, contact us at help.openai.com and include the request ID "
        f"{at.request_id}."
    )
    details = {"moderation_stage": stage, "categories": ["other"]}
    return error_reply(400, message, USER_ERROR, code="moderation_blocked", moderation_details=details)


def _moderation_in_message(at: RequestInfo) -> Reply:
    message = (
        f"{_SAFETY} If you believe this is an error, contact us at help.openai.com and include the request ID "
        f"{at.request_id}. safety_violations=[sexual,violence]."
    )
    return error_reply(400, message, USER_ERROR, code="moderation_blocked")


def _moderation_azure(at: RequestInfo) -> Reply:
    error = {"code": "contentFilter", "message": "Your task failed as a result of our safety system."}
    return Reply(400, compact_json({"created": int(at.now), "error": error}))


def _moderation_plan(text: str) -> FaultPlan:
    if text not in ("input", "output", "unknown"):
        raise ValueError("input, output or unknown")
    return FaultPlan(reply=lambda at: moderation_reply(at, text))


def _error_200(_: RequestInfo) -> Reply:
    return Reply(200, status_reply(500).body)


def _echo_secrets(at: RequestInfo) -> Reply:
    message = (
        f"Upstream refused the request with Authorization '{at.authorization}' and prompt '{at.prompt}'."
    )
    return error_reply(400, message, "upstream_error")


def _redirect(text: str) -> FaultPlan:
    def reply(at: RequestInfo) -> Reply:
        target = text or f"http://localhost:{at.port}{at.path}"
        return Reply(307, b"", "text/plain", {"location": target})

    return FaultPlan(reply=reply)


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

WHOLE_REPLIES: Final[Mapping[str, FaultType[FaultPlan]]] = {
    "status": fault_with_argument(
        "status:NNN answers with that HTTP status and its usual body", None, _status_plan
    ),
    "html_502": fault("a gateway's HTML page with status 502", FaultPlan(reply=lambda _: html_page(502))),
    "problem_502": fault(
        "a gateway's JSON problem with status 502, without an error object",
        FaultPlan(reply=lambda _: Reply(502, json.dumps(_PROBLEM, indent=2).encode())),
    ),
    "html_200": fault("an HTML page with status 200", FaultPlan(reply=lambda _: html_page(200))),
    "empty_200": fault("status 200 with an empty body", FaultPlan(reply=lambda _: Reply(200, b""))),
    "text_200": fault(
        "status 200 with plain text", FaultPlan(reply=lambda _: Reply(200, b"ok", "text/plain"))
    ),
    "error_200": fault("status 200 with a JSON error object", FaultPlan(reply=_error_200)),
    "rate_limited": fault_with_argument(
        "rate_limited:SECONDS (1) answers 429 with Retry-After, retry-after-ms, x-ratelimit-* and the message",
        "1",
        _rate_limited,
    ),
    "rate_limited_then_ok": FaultType(
        "429 with a wait of one second for this request, a picture for the next",
        lambda _: FaultPlan(reply=_rate_limited("1").reply, every_other=True),
    ),
    "retry_after_seconds": fault_with_argument(
        "retry_after_seconds:S (1) 429 with only Retry-After: S", "1", _retry_after_seconds
    ),
    "retry_after_ms": fault_with_argument(
        "retry_after_ms:S (1) 429 with only retry-after-ms: 1000*S", "1", _retry_after_ms
    ),
    "retry_after_date": fault_with_argument(
        "retry_after_date:S (1) 429 with Retry-After as an HTTP date", "1", _retry_after_date
    ),
    "retry_after_message": fault_with_argument(
        "retry_after_message:S (1) 429 whose message alone says to try again in S seconds",
        "1",
        _retry_after_message,
    ),
    "quota_429": fault(
        "429 insufficient_quota: waiting does not help",
        _refused(429, _QUOTA, "insufficient_quota", "insufficient_quota"),
    ),
    "quota_400": fault(
        "400 billing_hard_limit_reached",
        _refused(400, _BILLING, "billing_limit_user_error", "billing_hard_limit_reached"),
    ),
    "overloaded_503": fault("503 server_is_overloaded without Retry-After", _overloaded({})),
    "overloaded_503_retry_after": fault_with_argument(
        "overloaded_503_retry_after:S (1) 503 server_is_overloaded with Retry-After: S", "1", _overloaded_plan
    ),
    "should_retry_true": fault_with_argument(
        "should_retry_true:NNN (500) that status with x-should-retry: true",
        "500",
        lambda t: _should_retry("true", t),
    ),
    "should_retry_false": fault_with_argument(
        "should_retry_false:NNN (500) that status with x-should-retry: false",
        "500",
        lambda t: _should_retry("false", t),
    ),
    "moderation_400": fault_with_argument(
        "moderation_400:STAGE (input) 400 moderation_blocked with moderation_details",
        "input",
        _moderation_plan,
    ),
    "moderation_400_message_only": fault(
        "400 moderation_blocked with safety_violations=[...] in the message only",
        FaultPlan(reply=_moderation_in_message),
    ),
    "moderation_400_old": fault(
        "400 of the old safety system, without a code",
        _refused(400, _OLD_SAFETY, "invalid_request_error", None),
    ),
    "moderation_content_policy": fault(
        "400 content_policy_violation",
        _refused(400, _OLD_SAFETY, "invalid_request_error", "content_policy_violation"),
    ),
    "moderation_azure": fault("400 contentFilter beside a created field", FaultPlan(reply=_moderation_azure)),
    "moderation_null_message": fault(
        "400 moderation_blocked whose message is null", _refused(400, None, USER_ERROR, "moderation_blocked")
    ),
    "moderation_403": fault(
        "403 of the safety system: temporarily blocked",
        _refused(403, _BLOCKED, USER_ERROR, "moderation_blocked"),
    ),
    "redirect_307": fault_with_argument(
        "redirect_307:URL (this server under another host name) 307", "", _redirect
    ),
    "echo_secrets": fault(
        "400 whose message repeats the Authorization header and the prompt", FaultPlan(reply=_echo_secrets)
    ),
}
