"""What the codes and the words of servers mean: moderation, money, and the status that goes with them.

Rules: pure. Codes decide before words. Words count where there is no code, or one that says nothing; those of the API
itself always do. It refuses to take a `type` for more than it says: one of the API's covers sizes and models alike.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai_images.wire.said import Said

__all__ = ["is_moderation", "is_money", "stage_of", "status_of"]

_MODERATION_CODES = frozenset(
    {
        "moderation_blocked",
        "content_policy_violation",
        "content_filter",
        "contentFilter",
        "ResponsibleAIPolicyViolation",
    }
)
# Doubao names what was refused: InputText…, InputImage…, OutputImage…, with or without a dot and a category behind it.
_SENSITIVE = re.compile(r"(Input|Output)?[A-Za-z]{0,9}SensitiveContentDetected(?:\..{0,60})?", re.DOTALL)

# These are the API's own words, or codes in words: they count whatever code a relay put beside them.
_MODERATED = re.compile(
    r"rejected (?:by|as a result of) (?:the|our) safety system|safety_violations=|"
    r"\bmoderation_blocked\b|content_?policy_?violation",
    re.IGNORECASE,
)
_PERHAPS_MODERATED = re.compile(
    r"content (?:management )?policy|content filter|safety system|temporarily blocked", re.IGNORECASE
)

_MONEY_CODES = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
        "billing_limit_user_error",
        "billing_not_active",
        "budget_exceeded",  # LiteLLM, as a 429
        "insufficient_user_quota",  # new-api, as a 403
        "pre_consume_token_quota_failed",  # likewise
        "AccountOverdueError",  # Doubao, as a 403
    }
)
_OUT_OF_MONEY = re.compile(
    r"exceeded your current quota|billing hard limit|no credits? remaining|"
    r"insufficient (?:balance|credit|quota)|budget has been exceeded",
    re.IGNORECASE,
)

# What relays write where they know nothing: the words beside it count as if there were no code.
_EMPTY_CODES = frozenset({"bad_response_status_code", "openai_error", "upstream_error"})

_STATUS_OF = {
    "invalid_value": 400,
    "unknown_parameter": 400,
    "invalid_image_file": 400,
    "invalid_input_fidelity_model": 400,
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
    "EngineOverloaded": 503,
    "InternalServiceError": 500,
    "upstream_error": 502,
}


def is_moderation(said: Said, status: int) -> bool:
    """Whether the safety system refused."""
    if any(name in _MODERATION_CODES or _SENSITIVE.fullmatch(name) for name in said.codes):
        return True
    if _MODERATED.search(said.message):
        return True
    perhaps = not _has_code(said) and status not in (401, 404, 429)
    return perhaps and _PERHAPS_MODERATED.search(said.message) is not None


def is_money(said: Said, wait: float | None) -> bool:
    """Whether money or quota is used up: by words only without a wait, for some servers say "quota", meaning a rate."""
    if not _MONEY_CODES.isdisjoint(said.codes):
        return True
    return not _has_code(said) and wait is None and _OUT_OF_MONEY.search(said.message) is not None


def stage_of(said: Said) -> str:
    """Whether the prompt ("input") or the picture ("output") was refused; "unknown" where it was not said."""
    if said.stage != "unknown":
        return said.stage
    stages = (match[1] for name in said.codes if (match := _SENSITIVE.fullmatch(name)) and match[1])
    return next(stages, "unknown").lower()


def status_of(said: Said) -> int | None:
    """The status that goes with the codes, None where they tell none."""
    found = (_number(name) or _STATUS_OF.get(name) for name in said.codes)
    return next((status for status in found if status), None)


def _has_code(said: Said) -> bool:
    """Whether there is a code that says more than a status."""
    return said.code is not None and said.code not in _EMPTY_CODES and _number(said.code) is None


def _number(code: str) -> int | None:
    """A status that came as a code."""
    return int(code) if re.fullmatch("[45][0-9][0-9]", code) else None
