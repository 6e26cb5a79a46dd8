"""Decides what an error is about, from its code, its words, the advertised wait and the status.

Invariants: pure; the first matching row of `_TABLE` decides. Codes decide before words, except words about money, which
no server sends by mistake. The prompt was removed from the words before. A pattern finds one fact in texts of several
languages, in lower case with `_` and `-` as spaces; its gaps are bounded.
Must not: decide by `type` alone, which covers sizes and models alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from functools import cache, partial

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
    # Waiting does not help against missing money: a wait in the same error is ignored.
    ({"money"}, set(), Verdict.MONEY),
    ({"asked to pay"}, {"429", "short period", "rate"}, Verdict.MONEY),
    ({"limit of zero", "429"}, set(), Verdict.MONEY),
    ({"limit of zero", "quota"}, set(), Verdict.MONEY),
    # The end of a month is never waited for; the end of a day only if the server sends the wait.
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

# Codes of the API and Azure, then of DashScope, new-api and other relays.
_MODERATION_CODES = frozenset({
    *("moderation_blocked", "content_policy_violation", "content_filter", "contentFilter", "content_moderation"),
    *("ResponsibleAIPolicyViolation", "DataInspectionFailed", "data_inspection_failed", "sensitive_words_detected"),
    "prompt_blocked",
})  # fmt: skip
# Doubao names the blocked part: InputText…, InputImage…, OutputImage…, optionally followed by a dot and a category.
_SENSITIVE = r"(?s)(Input|Output)?[A-Za-z]{0,9}SensitiveContentDetected(?:\..{0,60})?"
_MONEY_CODES = frozenset({"SetLimitExceeded"})  # Doubao: a limit set by the account's owner
# Relays send these codes for unknown errors: they are ignored, and the words decide.
_GENERIC_CODES = frozenset({"bad_response_status_code", "openai_error", "upstream_error"})

_STATUS_CODES = {
    400: "invalid_value unknown_parameter invalid_image_file invalid_input_fidelity_model invalid_request_error "
    "image_generation_user_error",
    401: "invalid_api_key authentication_error",
    403: "permission_error",
    404: "model_not_found",
    429: "rate_limit_exceeded slow_down RESOURCE_EXHAUSTED rate_limit_error requests tokens input-images",
    500: "server_error image_generation_server_error image_generation_failed InternalServiceError",
    502: "upstream_error",
    503: "server_is_overloaded service_unavailable_error EngineOverloaded",
}
_CODE_STATUSES = {code: status for status, codes in _STATUS_CODES.items() for code in codes.split()}

_CAMEL = r"(?<=[a-z0-9])(?=[A-Z])"
_MARKS = r"[_\-\u2010-\u2015]"


def _any(*patterns: str) -> Callable[[str], re.Match[str] | None]:
    compile_once = cache(partial(re.compile, "|".join(patterns)))  # all take 7 ms; `re` keeps only 512
    return lambda text: compile_once().search(text)


# Same words, but not about money: "white balance", "pixel budget", "token budget".
_GAP = r"(?: (?!white|colou?r|pixel|token|thinking|prompt)[\w'$]+)"
_THING = r"(?:credits?|balance|funds|money)"

_MONEY = _any(
    rf"\b(?:insufficient|not enough|inadequate|lacks?|negative|zero"
    rf"|depleted|exhausted|out of|exceeded){_GAP}{{0,4}}? {_THING}\b",
    rf"(?:n't|\bnot) have{_GAP}{{0,3}}? {_THING}\b|\bno (?:more |remaining |available |prepaid |free )*{_THING}\b",
    rf"(?<!white )(?<!color )(?<!colour )\b{_THING}(?: [\w']+){{0,6}}? (?:insufficient|exhausted"
    r"|depleted|used up|too low|negative|expired|ran out|run out|not enough|not sufficient|overdrawn)\b",
    rf"\b(?:used|consumed|spent) (?:up|all){_GAP}{{0,4}}? {_THING}\b",
    r"\b(?:spend|spending|billing|budget|credit)(?: hard| soft)? (?:limit|cap)\b",
    r"\bbudget(?: [\w']+){0,3}? exceeded\b",
    rf"\bexceeded{_GAP}{{0,4}}? (?:budget|spend|spending)\b",
    r"\bbilling (?:[\w']+ )?(?:inactive|not active|not enabled|disabled|to be enabled)",
    r"\b(?:requires?|enable) billing\b",
    r"\bpayment (?:is )?(?:required|overdue|failed|past due|declined)|\bpayment method\b|\bpast due\b|\boverdue\b",
    r"\barrears?\b|\barrearage\b|\bunpaid\b|\bpast invoices\b|\bgood standing\b",
    r"\boutstanding (?:payment|balance|invoice|bill)",
    r"\bwallet(?: is)? empty\b|\btrial(?: [\w']+){0,3}? (?:ended|expired)\b",
    r"\bbalance(?: is| of|:| =)* ?[$€£¥]? ?0(?:\.0+)?(?![.,]?\d)",
    r"\bfree (?:[\w']+ )?(?:quota|credits?|trial)(?: [\w']+){0,2}? (?:exceeded|exhausted|used up|expired|ended)\b",
    # Chinese, Japanese, Korean
    r"欠[费費]|(?:余额|餘額|积分|積分|点数|點數|资金|資金|点卷)[^.。]{0,12}?(?:不足|不够|不夠|用[完尽盡]|耗[尽盡]|[为為](?:0|零|负|負)|[过過]期)",
    r"[没沒]有(?:可用|足够)?的?(?:余额|餘額)|逾期未[缴支付]|(?:支出|消费|消費)(?:上限|限额)",
    r"残高(?:が)?(?:不足|足り|ありません)|クレジット(?:残高)?(?:が|を)?(?:不足|足り|なくな|使い切)",
    r"(?:잔액|크레딧|잔고)[이가은는]? ?(?:부족|소진|없)",
    # Russian, German, French, Spanish, Portuguese, Italian, Turkish, Vietnamese, Indonesian
    r"недостаточно (?:средств|кредитов|баланса)|недостаточный баланс",
    r"(?:средства|кредиты|баланс)(?: \w+)? (?:закончил|исчерпан)",
    r"(?:kein|unzureichendes|nicht genügend|nicht genug|zu wenig) guthaben",
    r"guthaben(?: [\w]+){0,3} (?:aufgebraucht|erschöpft|reicht nicht)",
    r"(?:solde|crédits?)(?: [\w']+){0,3} (?:insuffisant|épuisé)",
    r"(?:saldo|créditos?|fondos|credito)(?: \w+){0,3} (?:insuficiente|insufficiente|agotad|esgotad|esaurit)",
    r"\b(?:sin|sem) (?:saldo|créditos?|fondos)\b|yetersiz bakiye",
    r"bakiye(?:niz)? yetersiz|số dư không đủ|saldo tidak (?:men)?cukup",
)
"""Money is used up, or owed."""

_PAY = _any(
    r"\b(?:top|recharge|refill)(?: [\w']+){0,3}? (?:up|account|balance|wallet)\b",
    r"\bplease (?:top up|recharge|pay)\b|\btop up\b",
    r"\b(?:add|buy|purchase)(?: [\w']+){0,2}? (?:credits|funds)\b|充[值钱錢]|儲值|续费|續費|チャージ|충전",
)
"""A request to pay: with an error about money, and also as an advertisement with a rate limit."""

_MONEY_CODE = _any(
    r"(?:insufficient|not ?enough|out ?of|no)(?: ?user| ?account| ?token)? ?(?:quota|balance|credit|fund|money)",
    r"(?:credit|balance)s?(?: ?balance)? ?(?:exhausted|depleted|insufficient|error|too ?low|limit)",
    r"arrear|over ?due|unpaid",
    r"(?:spend|spending|billing|budget|cost|organization ?usage)(?: ?hard)? ?limit|budget ?exceeded",
    r"billing|payment ?(?:required|overdue|failed)",
    r"pre ?consume ?token ?quota ?failed|exceeded ?current ?quota|free ?tier ?only",
)
"""Codes for missing money; their words may have no spaces."""

_QUOTA = _any(
    r"\b(?:exceeded|exhausted|insufficient|reached|used up|out of|over|no)(?: [\w']+){0,4}? quotas?\b",
    r"\bquotas?(?: [\w']+){0,6}? (?:exceeded|exhausted|used up|reached|insufficient|depleted|reset|resets)\b",
    r"\busage limit(?: [\w']+){0,4}? (?:reached|exceeded)|\b(?:reached|exceeded|hit)(?: [\w']+){0,3}? usage limit\b",
    r"\bexhausted your capacity\b",
    r"(?:额度|額度|配额|配額|限额|限額|用量)[^.。]{0,12}?(?:[为為] ?0(?![.]?\d)"
    r"|不足|用[完尽盡]|耗[尽盡]|已?超|失[败敗])",
    r"超[出过過][^.。]{0,8}?(?:额度|額度|配额|配額)",
    r"(?:무료 )?할당량(?:을|이)? ?(?:초과|소진)|割り当て(?:を)?超過|クォータ(?:を)?超過",
    r"cuota(?: \w+){0,3} (?:excedida|agotada)|cota(?: \w+){0,3} excedida",
    r"kontingent(?: \w+){0,3} (?:erschöpft|überschritten|aufgebraucht)",
    r"квота(?: \w+){0,3} (?:исчерпана|превышена)|quota(?: \w+){0,3} (?:dépassé|épuisé)",
)
"""A quota is used up; servers write this about money and about rates."""

_LIMIT_ZERO = _any(
    r"\b(?:limit|quota)s?(?: is| of| was|:| =|=)* ?(?:0(?:\.0+)?(?![.,]?\d)|zero\b)",
    r"(?:限制|上限|限额|限額|额度|額度|配额)[为為是:\uff1a]? ?(?:0(?![.,]?\d)|零)",
)
_LIMIT_REACHED = _any(
    r"\b(?:reach|exceed|hit|exhaust|used up|over)\w*(?: [\w']+){0,6}? (?:limit|quota|cap|allowance|requests)\b",
    r"\b(?:limit|quota|cap|allowance)(?: [\w']+){0,6}? (?:reach|exceed|hit|exhaust|used up)",
    r"(?:达到|達到|超[出过過])[^.。]{0,12}?(?:限|额|額|次数|次數)|(?:次数|次數|限额|限額|额度|額度|上限)[^.。]{0,8}?(?:用[完尽盡]|达到|達到|超)",
)
_SHORT_PERIOD = _any(
    r"per ?(?:second|minute|hour)|\bper (?:sec|min)\b|/ ?(?:s|sec|second|m|min|minute|h|hour)\b|\b[irt]p[mh]\b",
    r"\b[rqt]ps\b|\d ?min\b|每(?:分|秒|小时|小時)",
)
_RATE = _any(
    r"\bconcurren|too many requests|\brate limit|[频頻][率繁]|[并並][发發]|リクエストが多|요청이 너무"
)
_DAY = _any(
    r"\bper ?day|perday|\bdaily\b|\b(?:a|each|every) day\b|/ ?(?:d|day)\b|\b[rit]pd\b|\b24 ?h(?:ours)?\b|\b1 day\b",
    r"\b(?:limit|quota|requests|images)(?: [\w']+){0,6}? today\b",
    r"每[日天]|[今当當本][日天]|日[额額]度|24 ?小[时時]|一天|täglich|diari[oa]|quotidien|日[次配限]|하루|일일|1日",
)
_MONTH = _any(
    r"\bper ?(?:week|month|year)|per(?:week|month)|\b(?:week|month|year)ly\b",
    r"\b(?:this|each|every) (?:week|month|year)\b|/ ?(?:week|month|mo)\b|\bbilling (?:cycle|period)\b",
    r"每[周週月年]|[本当當][周週月]|月[度额額]|monatlich|mensual|mensuel|今月|이번 달",
)
_RATE_CODE = _any(
    r"rate ?limit|throttl|slow ?down|too ?many ?requests|limit ?requests|^(?:requests|tokens|input images)$"
)

_WHO = (
    r"(?:account|resource|subscription|organi[sz]ation|workspace|tenant|team|project|api key|key|user|your access"
    r"|deployment|customer)"
)
_IS_BLOCKED = r"(?:blocked|suspended|disabled|banned|deactivated|locked|terminated|restricted|frozen|revoked)"
_ABOUT_A_PROMPT = (
    r"(?!'|prompt|request|content|image|input|output|quer|text|message|generat|may|might|could|will|if)"
)
_ACCOUNT_BLOCKED = _any(
    rf"\b{_WHO}(?: {_ABOUT_A_PROMPT}[^ .]+){{0,4}}? (?:is|are|was|were|been|being)(?: \w+)? {_IS_BLOCKED}\b",
    rf"\b{_IS_BLOCKED} (?:your|the|this) (?:\w+ )?{_WHO}\b(?!'| (?:prompt|request|content|image|input))",
    rf"\byou(?:'re| are| have been| were)(?: \w+)? {_IS_BLOCKED}\b",
    r"(?:[账賬帐帳][号號户戶]|用户|用戶|资源|令牌|密钥|组织|项目)[^.。]{0,8}?(?:封禁|封号|封號|冻结|凍結|停用|禁用|[锁鎖]定)",
    r"(?:konto|compte|cuenta|conta|аккаунт)(?: [\w']+){0,3} (?:gesperrt"
    r"|deaktiviert|suspendu|bloqué|suspendida|bloquead|suspensa|заблокирован)",
)
"""The account, the key or the resource is blocked, not a prompt; "may be blocked" is only a warning."""

_POLICY = _any(r"polic|violat|abus|misuse|terms of|违[反规]|違[反規]")
_MODERATED = _any(
    r"rejected (?:by|as a result of) (?:the|our) safety system",
    r"safety violations=|\bmoderation blocked\b|content ?policy ?violation",
    r"\b(?:flagged|blocked|rejected|refused|denied)(?: [\w']+){0,6}? (?:moderation|safety (?:system|filter))\b",
    r"\b(?:prompt|input|request|content|image|text)s?(?: [\w']+){0,2}? (?:was|were|is|been) flagged\b",
)
"""The safety system's own words; they count with any code that a relay sends."""

_PERHAPS_MODERATED = _any(
    r"\b(?:prompt|input|request|content"
    r"|image)s?(?: [\w']+){0,3}? violat\w+(?: [\w']+){0,3}? (?:polic|guideline|rules|terms)",
    r"\bprompt(?: [\w']+){0,2}? blocked\b|content (?:management )?policy|content filter|safety system",
    r"temporarily blocked|content moderation|\bflagged\b",
    r"敏感|违规|違規|内容审核|內容審核|安全审核|不当内容|inappropriate content|unsafe content",
)


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
    stages = (match[1] for name in details.codes if (match := re.fullmatch(_SENSITIVE, name)) and match[1])
    return next(stages, "unknown").lower()


def status_for_codes(details: ErrorDetails) -> int | None:
    """Return the HTTP status that the codes stand for; None if they stand for none."""
    statuses = (_as_status(name) or _CODE_STATUSES.get(name) for name in details.codes)
    return next(filter(None, statuses), None)


def _facts(details: ErrorDetails, status: int, wait: float | None) -> set[str]:
    """Return the facts that hold, by their names in `_TABLE`."""
    text = _normalize(details.words)
    codes = [_normalize(re.sub(_CAMEL, " ", name[:100])) for name in details.codes]
    code_status = status_for_codes(details) if status < 300 or status >= 500 else None
    holds_by_name = {
        "money code": any(map(_MONEY_CODE, codes)) or not _MONEY_CODES.isdisjoint(details.codes),
        "money": _MONEY(text) or any(map(_MONEY, codes)),
        "asked to pay": _PAY(text),
        "limit of zero": _LIMIT_ZERO(text),
        "quota": _QUOTA(text) or any(map(_QUOTA, codes)),
        "limit reached": _LIMIT_REACHED(text) or any(map(_LIMIT_REACHED, codes)),
        "short period": _SHORT_PERIOD(text),
        "day": _DAY(text),
        "month": _MONTH(text),
        "rate": _RATE(text),
        "rate code": any(map(_RATE_CODE, codes)),
        "wait": wait is not None,
        "account blocked": _ACCOUNT_BLOCKED(text),
        "policy": _POLICY(text),
        "moderation code": any(
            name in _MODERATION_CODES or re.fullmatch(_SENSITIVE, name) for name in details.codes
        ),
        "moderated": _MODERATED(text),
        "perhaps moderated": _PERHAPS_MODERATED(text),
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
    return " ".join(re.sub(_MARKS, " ", re.sub(_CAMEL, " ", text)).replace("\u2019", "'").lower().split())


def _has_code(details: ErrorDetails) -> bool:
    """Return whether there is a code that says more than a status."""
    code = details.code
    return code is not None and code not in _GENERIC_CODES and _as_status(code) is None


def _as_status(code: str) -> int | None:
    return int(code) if re.fullmatch("[45][0-9][0-9]", code) else None
