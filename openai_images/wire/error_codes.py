"""What a refusal is about, decided in one place from its code, its words, the stated wait and the status.

Rules: pure. `_TABLE` is the decision, read from the top; `lexicon.py` has the words. Codes decide before words, except
where the words are about money, which no server says by mistake. It refuses to take a `type` for more than it says: one
of the API's covers sizes and models alike. Words that echo the prompt were blotted out before.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from openai_images.wire import error_words as lexicon

if TYPE_CHECKING:
    from openai_images.wire.error_body import ErrorDetails


class Verdict(Enum):
    """What a refusal is about."""

    MODERATION = "the prompt or the image"
    ACCOUNT = "the account, which is blocked"
    MONEY = "money or quota that is used up"
    PERIOD = "a limit of a day or longer that is used up"
    RATE = "the rate"
    STATUS = "what the status says"


# (facts that hold, facts that do not, what it is about); the first row that fits decides.
_TABLE: tuple[tuple[set[str], set[str], Verdict], ...] = (
    ({"money code"}, set(), Verdict.MONEY),
    # What is blocked: an account is not the prompt's fault. A 401 is about the key, whatever became of it.
    ({"account blocked", "policy"}, {"money", "401"}, Verdict.ACCOUNT),
    ({"account blocked", "4xx"}, {"money", "401", "429", "moderation code"}, Verdict.ACCOUNT),
    ({"moderation code"}, set(), Verdict.MODERATION),
    ({"moderated"}, set(), Verdict.MODERATION),
    # Money comes back by paying: a wait that stands beside it says nothing.
    ({"money"}, set(), Verdict.MONEY),
    ({"asked to pay"}, {"429", "short period", "rate"}, Verdict.MONEY),
    ({"limit of zero", "429"}, set(), Verdict.MONEY),
    ({"limit of zero", "quota"}, set(), Verdict.MONEY),
    # A month is waited for by nobody; a day only where the server says when it ends.
    ({"month", "429"}, set(), Verdict.PERIOD),
    ({"month", "limit reached"}, set(), Verdict.PERIOD),
    ({"day", "429", "wait"}, set(), Verdict.RATE),
    ({"day", "limit reached", "wait"}, set(), Verdict.RATE),
    ({"day", "429"}, {"short period"}, Verdict.PERIOD),
    ({"day", "limit reached"}, {"short period", "5xx"}, Verdict.PERIOD),
    # "Quota" is money or a rate: a wait, a minute or a code of rates beside it says which.
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
# Doubao names what was refused: InputText…, InputImage…, OutputImage…, with or without a dot and a category behind it.
_SENSITIVE = re.compile(r"(Input|Output)?[A-Za-z]{0,9}SensitiveContentDetected(?:\..{0,60})?", re.DOTALL)

_MONEY_CODES = frozenset({"SetLimitExceeded"})  # Doubao: the limit that the account's owner has set

# What relays write where they know nothing: the words beside it count as if there were no code.
_EMPTY_CODES = frozenset({"bad_response_status_code", "openai_error", "upstream_error"})

_STATUS_OF = {
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


def judge(said: ErrorDetails, status: int, wait: float | None) -> Verdict:
    """What a refusal is about."""
    facts = _facts(said, status, wait)
    return next(
        (verdict for there, absent, verdict in _TABLE if there <= facts and facts.isdisjoint(absent)),
        Verdict.STATUS,
    )


def moderation_stage(said: ErrorDetails) -> str:
    """Whether the prompt ("input") or the picture ("output") was refused; "unknown" where it was not said."""
    if said.stage != "unknown":
        return said.stage
    stages = (match[1] for name in said.codes if (match := _SENSITIVE.fullmatch(name)) and match[1])
    return next(stages, "unknown").lower()


def status_for_codes(said: ErrorDetails) -> int | None:
    """The status that goes with the codes, None where they tell none."""
    found = (_number(name) or _STATUS_OF.get(name) for name in said.codes)
    return next((status for status in found if status), None)


def _facts(said: ErrorDetails, status: int, wait: float | None) -> set[str]:
    """What holds of a refusal, by the names that the table has for it."""
    words = _plain(said.words)
    codes = [_plain(_CAMEL.sub(" ", name[:100])) for name in said.codes]
    is_failure = status < 300 or status >= 500
    told = status_for_codes(said) if is_failure else None
    found = {
        "money code": any(map(lexicon.MONEY_CODE.search, codes)) or not _MONEY_CODES.isdisjoint(said.codes),
        "money": lexicon.MONEY.search(words) or any(map(lexicon.MONEY.search, codes)),
        "asked to pay": lexicon.PAY.search(words),
        "limit of zero": lexicon.LIMIT_ZERO.search(words),
        "quota": lexicon.QUOTA.search(words) or any(map(lexicon.QUOTA.search, codes)),
        "limit reached": lexicon.LIMIT_REACHED.search(words) or any(map(lexicon.LIMIT_REACHED.search, codes)),
        "short period": lexicon.SHORT_PERIOD.search(words),
        "day": lexicon.DAY.search(words),
        "month": lexicon.MONTH.search(words),
        "rate": lexicon.RATE.search(words),
        "rate code": any(map(lexicon.RATE_CODE.search, codes)),
        "wait": wait is not None,
        "account blocked": lexicon.ACCOUNT_BLOCKED.search(words),
        "policy": lexicon.POLICY.search(words),
        "moderation code": any(
            name in _MODERATION_CODES or _SENSITIVE.fullmatch(name) for name in said.codes
        ),
        "moderated": lexicon.MODERATED.search(words),
        "perhaps moderated": lexicon.PERHAPS_MODERATED.search(words),
        "telling code": _has_code(said),
        "401": status == 401 or told == 401,
        "404": status == 404,
        "429": status == 429 or told == 429,
        "4xx": 400 <= (told or status) < 500 or status < 300,
        "5xx": status >= 500 and told is None,
    }
    return {name for name, holds in found.items() if holds}


def _plain(text: str) -> str:
    """Words as the patterns want them."""
    return " ".join(_MARKS.sub(" ", _CAMEL.sub(" ", text)).replace("\u2019", "'").lower().split())


def _has_code(said: ErrorDetails) -> bool:
    """Whether there is a code that says more than a status."""
    return said.code is not None and said.code not in _EMPTY_CODES and _number(said.code) is None


def _number(code: str) -> int | None:
    """A status that came as a code."""
    return int(code) if re.fullmatch("[45][0-9][0-9]", code) else None
