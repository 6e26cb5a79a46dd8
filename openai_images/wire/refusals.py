"""From a status and an error body, or an error event, to the exception that says what happened.

Rules: the codes decide first, then the words, then the status: one `type` of the API covers moderation, sizes and
models alike, so it counts only where there is no status, in mid-stream. Whatever the shape, a typed error comes of it.
What a server echoes of the key, the prompt or base64 is blotted out, in the text and in every attribute.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from openai_images import errors
from openai_images.wire import headers as header
from openai_images.wire.redaction import Redaction, redact
from openai_images.wire.said import Said, read_body, read_error

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answered", "redact", "refusal_from_body", "refusal_from_document"]

_MODERATION_CODES = frozenset(
    {
        "moderation_blocked",
        "content_policy_violation",
        "content_filter",
        "contentFilter",
        "ResponsibleAIPolicyViolation",
    }
)
# The first words are the API's own and count whatever code a relay put beside them; the others only without a code.
_MODERATED = re.compile(
    r"rejected (?:by|as a result of) (?:the|our) safety system|safety_violations=", re.IGNORECASE
)
_PERHAPS_MODERATED = re.compile(
    r"content (?:management )?policy|content filter|safety system|temporarily blocked", re.IGNORECASE
)

_QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
        "billing_limit_user_error",
        "billing_not_active",
    }
)
_OUT_OF_MONEY = re.compile(
    r"exceeded your current quota|billing hard limit|no credits? remaining|insufficient (?:balance|credit|quota)",
    re.IGNORECASE,
)

_BY_STATUS: dict[int, type[errors.APIStatusError]] = {
    200: errors.StatusOutcomeUnknownError,
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.QuotaExhaustedError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    408: errors.StatusOutcomeUnknownError,
    413: errors.BadRequestError,
    422: errors.BadRequestError,
    429: errors.RateLimitError,
}

_STATUS_OF = {  # for errors that come without a status of their own: in mid-stream, or in an answer of 200
    "rate_limit_exceeded": 429,
    "slow_down": 429,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "invalid_request_error": 400,
    "image_generation_user_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "rate_limit_error": 429,
    "requests": 429,
    "tokens": 429,
    "input-images": 429,
    "server_error": 500,
    "image_generation_server_error": 500,
    "image_generation_failed": 500,
    "server_is_overloaded": 503,
    "service_unavailable_error": 503,
    "upstream_error": 502,
}

_HINTS: dict[type[errors.APIStatusError], str] = {
    errors.AuthenticationError: "check api_key or OPENAI_API_KEY, and that it belongs to this base_url",
    errors.NotFoundError: "check the model's name and base_url",
    errors.QuotaExhaustedError: "add credit or raise the limit; waiting does not help",
    errors.ModerationBlockedError: "change the prompt; sending the same again does not help",
    errors.ServerOutcomeUnknownError: "it may have been billed, so it was not sent again",
    errors.StatusOutcomeUnknownError: "it may have been billed, so it was not sent again",
}


@frozen
class Answered:
    """Where an error came from: the status and headers, the texts no message may repeat, and the time (Unix)."""

    status: int
    headers: Mapping[str, str]
    secrets: tuple[str, ...] = field(repr=False, default=())
    now: float = 0.0


def refusal_from_body(answered: Answered, body: bytes) -> errors.APIStatusError:
    """The exception for an answer that is no success, from its body, whatever that is."""
    return _error(answered, *read_body(body))


def refusal_from_document(answered: Answered, doc: object) -> errors.APIStatusError:
    """The exception for a decoded error body or error event."""
    return _error(answered, read_error(doc), doc)


def _error(answered: Answered, said: Said, doc: object) -> errors.APIStatusError:
    wait = header.retry_after(answered.headers, said.message, answered.now)
    kind, safe = _kind(answered, said, wait)
    request = header.request_id(answered.headers)
    clean = Redaction(answered.secrets)
    said = _clean(said, clean)
    advice = clean.text(_advice(answered, kind))
    parts = (
        f"{_where(answered, said)}: {said.message.rstrip('.')}",
        advice,
        request and f"request {request}",
    )
    error = kind(
        "; ".join(part for part in parts if part),
        status_code=answered.status,
        code=said.code,
        type=said.type,
        param=said.param,
        request_id=request,
        body=clean.document(doc),
    )
    error.safe_to_resend = safe
    error.retry_after = wait
    if isinstance(error, errors.ModerationBlockedError):
        error.categories, error.stage = said.categories, said.stage
    return error


def _clean(said: Said, clean: Redaction) -> Said:
    """The same without what no error repeats."""
    code, kind, param = (
        None if name is None else clean.text(name) for name in (said.code, said.type, said.param)
    )
    return evolve(
        said,
        message=clean.text(said.message),
        code=code,
        type=kind,
        param=param,
        categories=tuple(map(clean.text, said.categories)),
        stage=clean.text(said.stage),
    )


def _kind(answered: Answered, said: Said, wait: float | None) -> tuple[type[errors.APIStatusError], bool]:
    """Which class of exception, and whether the request provably did not run."""
    if _is_moderation(answered, said):
        return errors.ModerationBlockedError, False
    if _is_quota(said, wait):
        return errors.QuotaExhaustedError, False
    kind = _by_status(_status(answered, said))
    if kind is errors.QuotaExhaustedError or answered.status < 300:
        safe = False
    else:
        by_itself = kind is errors.RateLimitError or (
            answered.status == 503 and header.asks_to_wait(answered.headers)
        )
        stated = header.should_retry(answered.headers)
        safe = by_itself if stated is None else stated
    if safe and kind is errors.StatusOutcomeUnknownError:
        kind = errors.APIStatusError
    if not safe and kind is errors.InternalServerError:
        kind = errors.ServerOutcomeUnknownError
    return kind, safe


def _is_moderation(answered: Answered, said: Said) -> bool:
    if not _MODERATION_CODES.isdisjoint(said.codes) or _MODERATED.search(said.message):
        return True
    perhaps = not _has_code(said) and answered.status not in (401, 404, 429)
    return perhaps and _PERHAPS_MODERATED.search(said.message) is not None


def _is_quota(said: Said, wait: float | None) -> bool:
    """By code; by words only without one, and without a wait, for some servers say "quota" and mean a rate."""
    if not _QUOTA_CODES.isdisjoint(said.codes):
        return True
    return not _has_code(said) and wait is None and _OUT_OF_MONEY.search(said.message) is not None


def _has_code(said: Said) -> bool:
    """Whether there is a code that says more than a status."""
    return said.code is not None and _number(said.code) is None


def _status(answered: Answered, said: Said) -> int:
    """The status, or the one that would have gone with the codes where the answer began as a success."""
    if answered.status >= 300:
        return answered.status
    of_codes = (_number(name) or _STATUS_OF.get(name) for name in said.codes)
    return next((status for status in of_codes if status), 200)


def _by_status(status: int) -> type[errors.APIStatusError]:
    return errors.InternalServerError if status >= 500 else _BY_STATUS.get(status, errors.APIStatusError)


def _where(answered: Answered, said: Said) -> str:
    """What answered what, by name."""
    where = f"the server answered {answered.status}{' with an error' if answered.status < 300 else ''}"
    names = [said.code or said.type, said.param and f"parameter {said.param!r}"]
    about = ", ".join(name for name in names if name)
    return f"{where} ({about})" if about else where


def _advice(answered: Answered, kind: type[errors.APIStatusError]) -> str:
    """What to do."""
    redirect = answered.headers.get("location") if 300 <= answered.status < 400 else None
    if redirect:
        return f"redirects are not followed with a key; set base_url to where it points ({redirect})"
    return _HINTS.get(kind, "")


def _number(code: str | None) -> int | None:
    """A status that came as a code."""
    return int(code) if code and re.fullmatch("[45][0-9][0-9]", code) else None
