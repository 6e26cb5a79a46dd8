"""Decides what an error is about, from its code, its words, the advertised wait and the status.

Invariants: pure; the first matching row of `_TABLE` decides; `error_words.py` has the patterns. Codes decide before
words, except words about money, which no server sends by mistake. Words that echo the prompt were removed before.
Must not: decide by `type` alone: one type of the API covers sizes and models alike.
"""

from __future__ import annotations

import re
from enum import Enum

from openai_images.wire import error_words as words
from openai_images.wire.error_body import ErrorDetails


class Verdict(Enum):
    """What an error is about."""

    MODERATION = "the prompt or the image"
    ACCOUNT = "the account, which is blocked"
    MONEY = "money or quota that is used up"
    PERIOD = "a limit of a day or longer that is used up"
    RATE = "the rate"
    STATUS = "what the status says"


# (facts that must hold, facts that must not, verdict); the first row that matches decides.
_TABLE: tuple[tuple[set[str], set[str], Verdict], ...] = (
    ({"money code"}, set(), Verdict.MONEY),
    # A blocked account is not the prompt's fault. A 401 is always about the key.
    ({"account blocked", "policy"}, {"money", "401"}, Verdict.ACCOUNT),
    ({"account blocked", "4xx"}, {"money", "401", "429", "moderation code"}, Verdict.ACCOUNT),
    ({"moderation code"}, set(), Verdict.MODERATION),
    ({"moderated"}, set(), Verdict.MODERATION),
    # Waiting does not bring money back: a wait in the same error means nothing.
    ({"money"}, set(), Verdict.MONEY),
    ({"asked to pay"}, {"429", "short period", "rate"}, Verdict.MONEY),
    ({"limit of zero", "429"}, set(), Verdict.MONEY),
    ({"limit of zero", "quota"}, set(), Verdict.MONEY),
    # Nobody waits for a month to end; for a day only if the server sends the wait.
    ({"month", "429"}, set(), Verdict.PERIOD),
    ({"month", "limit reached"}, set(), Verdict.PERIOD),
    ({"day", "429", "wait"}, set(), Verdict.RATE),
    ({"day", "limit reached", "wait"}, set(), Verdict.RATE),
    ({"day", "429"}, {"short period"}, Verdict.PERIOD),
    ({"day", "limit reached"}, {"short period", "5xx"}, Verdict.PERIOD),
    # "Quota" means money or a rate: a wait, a minute or a rate code in the same error means a rate.
    ({"quota", "wait"}, set(), Verdict.RATE),
    ({"quota", "short period"}, set(), Verdict.RATE),
    ({"quota", "rate"}, set(), Verdict.RATE),
    ({"quota", "rate code"}, set(), Verdict.STATUS),
    ({"quota"}, set(), Verdict.MONEY),
    ({"perhaps moderated"}, {"telling code", "401", "404", "429"}, Verdict.MODERATION),
)

_MODERATION_CODES = frozenset(
    {
        "moderation_blocked",
        "content_policy_violation",
        "content_filter",
        "contentFilter",
        "content_moderation",
        "ResponsibleAIPolicyViolation",
        "DataInspectionFailed",  # DashScope
        "data_inspection_failed",
        "sensitive_words_detected",  # new-api
        "prompt_blocked",
    }
)
# Doubao names the blocked part: InputText…, InputImage…, OutputImage…, optionally followed by a dot and a category.
_SENSITIVE = re.compile(r"(Input|Output)?[A-Za-z]{0,9}SensitiveContentDetected(?:\..{0,60})?", re.DOTALL)

_MONEY_CODES = frozenset({"SetLimitExceeded"})  # Doubao: a limit set by the account's owner

# Relays send these for unknown errors: the words decide as if there were no code.
_GENERIC_CODES = frozenset({"bad_response_status_code", "openai_error", "upstream_error"})

_CODE_STATUSES = {
    "invalid_value": 400,
    "unknown_parameter": 400,
    "invalid_image_file": 400,
    "invalid_input_fidelity_model": 400,
    "rate_limit_exceeded": 429,
    "slow_down": 429,
    "RESOURCE_EXHAUSTED": 429,
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

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MARKS = re.compile(r"[_\-\u2010-\u2015]")


def judge(details: ErrorDetails, status: int, wait: float | None) -> Verdict:
    """Return what an error is about; `wait` is in seconds, None if the server sent none."""
    facts = _facts(details, status, wait)
    return next(
        (verdict for required, absent, verdict in _TABLE if required <= facts and facts.isdisjoint(absent)),
        Verdict.STATUS,
    )


def moderation_stage(details: ErrorDetails) -> str:
    """Return the stage that blocked: "input" (the prompt), "output" (the image), or "unknown"."""
    if details.stage != "unknown":
        return details.stage
    stages = (match[1] for name in details.codes if (match := _SENSITIVE.fullmatch(name)) and match[1])
    return next(stages, "unknown").lower()


def status_for_codes(details: ErrorDetails) -> int | None:
    """Return the HTTP status that the codes stand for; None if they stand for none."""
    statuses = (_as_status(name) or _CODE_STATUSES.get(name) for name in details.codes)
    return next(filter(None, statuses), None)


def _facts(details: ErrorDetails, status: int, wait: float | None) -> set[str]:
    """Return the facts that hold, by their names in `_TABLE`."""
    text = _normalize(details.words)
    codes = [_normalize(_CAMEL.sub(" ", name[:100])) for name in details.codes]
    is_failure = status < 300 or status >= 500
    code_status = status_for_codes(details) if is_failure else None
    holds_by_name = {
        "money code": any(map(words.MONEY_CODE.search, codes)) or not _MONEY_CODES.isdisjoint(details.codes),
        "money": words.MONEY.search(text) or any(map(words.MONEY.search, codes)),
        "asked to pay": words.PAY.search(text),
        "limit of zero": words.LIMIT_ZERO.search(text),
        "quota": words.QUOTA.search(text) or any(map(words.QUOTA.search, codes)),
        "limit reached": words.LIMIT_REACHED.search(text) or any(map(words.LIMIT_REACHED.search, codes)),
        "short period": words.SHORT_PERIOD.search(text),
        "day": words.DAY.search(text),
        "month": words.MONTH.search(text),
        "rate": words.RATE.search(text),
        "rate code": any(map(words.RATE_CODE.search, codes)),
        "wait": wait is not None,
        "account blocked": words.ACCOUNT_BLOCKED.search(text),
        "policy": words.POLICY.search(text),
        "moderation code": any(
            name in _MODERATION_CODES or _SENSITIVE.fullmatch(name) for name in details.codes
        ),
        "moderated": words.MODERATED.search(text),
        "perhaps moderated": words.PERHAPS_MODERATED.search(text),
        "telling code": _has_code(details),
        "401": status == 401 or code_status == 401,
        "404": status == 404,
        "429": status == 429 or code_status == 429,
        "4xx": 400 <= (code_status or status) < 500 or status < 300,
        "5xx": status >= 500 and code_status is None,
    }
    return {name for name, holds in holds_by_name.items() if holds}


def _normalize(text: str) -> str:
    """Normalize words for the patterns: lower case, words separated by single spaces."""
    return " ".join(_MARKS.sub(" ", _CAMEL.sub(" ", text)).replace("\u2019", "'").lower().split())


def _has_code(details: ErrorDetails) -> bool:
    """Return whether there is a code that says more than a status."""
    return (
        details.code is not None and details.code not in _GENERIC_CODES and _as_status(details.code) is None
    )


def _as_status(code: str) -> int | None:
    """Return the HTTP status that a code literally is."""
    return int(code) if re.fullmatch("[45][0-9][0-9]", code) else None
