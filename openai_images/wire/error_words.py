"""Patterns for what servers write in errors about money, limits, accounts and moderation, in several languages.

Invariants: pure; each pattern finds one fact, in text in lower case with `_` and `-` as spaces; its gaps are
bounded.
Must not: decide what the facts mean together (`error_codes.py` does), or match the whole message of one
server.
"""

from __future__ import annotations

import re


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


# Not about money, although the words are the same: "white balance", "pixel budget", "token budget".
_GAP = r"(?: (?!white|colou?r|pixel|token|thinking|prompt)[\w'$]+)"
_THING = r"(?:credits?|balance|funds|money)"

MONEY = _any(
    rf"\b(?:insufficient|not enough|inadequate|lacks?|negative|zero"
    rf"|depleted|exhausted|out of|exceeded){_GAP}{{0,4}}? {_THING}\b",
    rf"(?:n't|\bnot) have{_GAP}{{0,3}}? {_THING}\b|\bno (?:more |remaining |available |prepaid |free )*{_THING}\b",
    rf"(?<!white )(?<!color )(?<!colour )\b{_THING}(?: [\w']+){{0,6}}? (?:insufficient|exhausted"
    rf"|depleted|used up|too low|negative|expired|ran out|run out"
    r"|not enough|not sufficient|overdrawn)\b",
    rf"\b(?:used|consumed|spent) (?:up|all){_GAP}{{0,4}}? {_THING}\b",
    r"\b(?:spend|spending|billing|budget|credit)(?: hard| soft)? (?:limit|cap)\b"
    r"|\bbudget(?: [\w']+){0,3}? exceeded\b",
    rf"\bexceeded{_GAP}{{0,4}}? (?:budget|spend|spending)\b",
    r"\bbilling (?:[\w']+ )?(?:inactive|not active|not enabled|disabled|to be enabled)"
    r"|\b(?:requires?|enable) billing\b",
    r"\bpayment (?:is )?(?:required|overdue|failed|past due|declined)|\bpayment method\b|\bpast due\b|\boverdue\b",
    r"\barrears?\b|\barrearage\b|\bunpaid\b|\bpast invoices\b|\bgood standing\b",
    r"\boutstanding (?:payment|balance|invoice|bill)"
    r"|\bwallet(?: is)? empty\b|\btrial(?: [\w']+){0,3}? (?:ended|expired)\b",
    r"\bbalance(?: is| of|:| =)* ?[$€£¥]? ?0(?:\.0+)?(?![.,]?\d)",
    r"\bfree (?:[\w']+ )?(?:quota|credits?|trial)(?: [\w']+){0,2}? (?:exceeded|exhausted|used up|expired|ended)\b",
    # Chinese, Japanese, Korean
    r"欠[费費]|(?:余额|餘額|积分|積分|点数|點數|资金|資金|点卷)[^.。]{0,12}?(?:不足|不够|不夠|用[完尽盡]|耗[尽盡]|[为為](?:0|零|负|負)|[过過]期)",
    r"[没沒]有(?:可用|足够)?的?(?:余额|餘額)|逾期未[缴支付]|(?:支出|消费|消費)(?:上限|限额)",
    r"残高(?:が)?(?:不足|足り|ありません)|クレジット(?:残高)?(?:が|を)?(?:不足|足り|なくな|使い切)",
    r"(?:잔액|크레딧|잔고)[이가은는]? ?(?:부족|소진|없)",
    # Russian, German, French, Spanish, Portuguese, Italian, Turkish, Vietnamese, Indonesian
    r"недостаточно (?:средств|кредитов|баланса)|недостаточный баланс"
    r"|(?:средства|кредиты|баланс)(?: \w+)? (?:закончил|исчерпан)",
    r"(?:kein|unzureichendes|nicht genügend|nicht genug|zu wenig) guthaben"
    r"|guthaben(?: [\w]+){0,3} (?:aufgebraucht|erschöpft|reicht nicht)",
    r"(?:solde|crédits?)(?: [\w']+){0,3} (?:insuffisant|épuisé)"
    r"|(?:saldo|créditos?|fondos|credito)(?: \w+){0,3} (?:insuficiente|insufficiente|agotad|esgotad|esaurit)",
    r"\b(?:sin|sem) (?:saldo|créditos?|fondos)\b|yetersiz bakiye"
    r"|bakiye(?:niz)? yetersiz|số dư không đủ|saldo tidak (?:men)?cukup",
)
"""Money is used up, or owed."""

PAY = _any(
    r"\b(?:top|recharge|refill)(?: [\w']+){0,3}? (?:up|account|balance|wallet)\b"
    r"|\bplease (?:top up|recharge|pay)\b|\btop up\b",
    r"\b(?:add|buy|purchase)(?: [\w']+){0,2}? (?:credits|funds)\b|充[值钱錢]|儲值|续费|續費|チャージ|충전",
)
"""A request to pay: with an error about money, and also as an advertisement with a rate limit."""

MONEY_CODE = _any(
    r"(?:insufficient|not ?enough|out ?of|no)(?: ?user| ?account| ?token)? ?(?:quota|balance|credit|fund|money)",
    r"(?:credit|balance)s?(?: ?balance)? ?(?:exhausted|depleted|insufficient|error|too ?low|limit)"
    r"|arrear|over ?due|unpaid",
    r"(?:spend|spending|billing|budget|cost|organization ?usage)(?: ?hard)? ?limit|budget ?exceeded",
    r"billing|payment ?(?:required|overdue|failed)"
    r"|pre ?consume ?token ?quota ?failed|exceeded ?current ?quota|free ?tier ?only",
)
"""The same in codes, whose words may come without spaces."""

QUOTA = _any(
    r"\b(?:exceeded|exhausted|insufficient|reached|used up|out of|over|no)(?: [\w']+){0,4}? quotas?\b",
    r"\bquotas?(?: [\w']+){0,6}? (?:exceeded|exhausted|used up|reached|insufficient|depleted|reset|resets)\b",
    r"\busage limit(?: [\w']+){0,4}? (?:reached|exceeded)"
    r"|\b(?:reached|exceeded|hit)(?: [\w']+){0,3}? usage limit\b",
    r"\bexhausted your capacity\b",
    r"(?:额度|額度|配额|配額|限额|限額|用量)[^.。]{0,12}?(?:[为為] ?0(?![.]?\d)"
    r"|不足|用[完尽盡]|耗[尽盡]|已?超|失[败敗])"
    r"|超[出过過][^.。]{0,8}?(?:额度|額度|配额|配額)",
    r"(?:무료 )?할당량(?:을|이)? ?(?:초과|소진)|割り当て(?:を)?超過|クォータ(?:を)?超過"
    r"|cuota(?: \w+){0,3} (?:excedida|agotada)|cota(?: \w+){0,3} excedida",
    r"kontingent(?: \w+){0,3} (?:erschöpft|überschritten|aufgebraucht)"
    r"|квота(?: \w+){0,3} (?:исчерпана|превышена)|quota(?: \w+){0,3} (?:dépassé|épuisé)",
)
"""A quota is used up; servers write this about money and about rates."""

LIMIT_ZERO = _any(
    r"\b(?:limit|quota)s?(?: is| of| was|:| =|=)* ?(?:0(?:\.0+)?(?![.,]?\d)|zero\b)",
    r"(?:限制|上限|限额|限額|额度|額度|配额)[为為是:\uff1a]? ?(?:0(?![.,]?\d)|零)",
)
LIMIT_REACHED = _any(
    r"\b(?:reach|exceed|hit|exhaust|used up|over)\w*(?: [\w']+){0,6}? (?:limit|quota|cap|allowance|requests)\b",
    r"\b(?:limit|quota|cap|allowance)(?: [\w']+){0,6}? (?:reach|exceed|hit|exhaust|used up)",
    r"(?:达到|達到|超[出过過])[^.。]{0,12}?(?:限|额|額|次数|次數)|(?:次数|次數|限额|限額|额度|額度|上限)[^.。]{0,8}?(?:用[完尽盡]|达到|達到|超)",
)
SHORT_PERIOD = _any(
    r"per ?(?:second|minute|hour)|\bper (?:sec|min)\b|/ ?(?:s|sec|second|m|min|minute|h|hour)\b|\b[irt]p[mh]\b",
    r"\b[rqt]ps\b|\d ?min\b|每(?:分|秒|小时|小時)",
)
RATE = _any(
    r"\bconcurren|too many requests|\brate limit|[频頻][率繁]|[并並][发發]|リクエストが多|요청이 너무"
)
DAY = _any(
    r"\bper ?day|perday|\bdaily\b|\b(?:a|each|every) day\b"
    r"|/ ?(?:d|day)\b|\b[rit]pd\b|\b24 ?h(?:ours)?\b|\b1 day\b",
    r"\b(?:limit|quota|requests|images)(?: [\w']+){0,6}? today\b",
    r"每[日天]|[今当當本][日天]|日[额額]度|24 ?小[时時]|一天|täglich|diari[oa]|quotidien|日[次配限]|하루|일일|1日",
)
MONTH = _any(
    r"\bper ?(?:week|month|year)|per(?:week|month)|\b(?:week|month|year)ly\b"
    r"|\b(?:this|each|every) (?:week|month|year)\b",
    r"/ ?(?:week|month|mo)\b|\bbilling (?:cycle|period)\b"
    r"|每[周週月年]|[本当當][周週月]|月[度额額]|monatlich|mensual|mensuel|今月|이번 달",
)

RATE_CODE = _any(
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
ACCOUNT_BLOCKED = _any(
    rf"\b{_WHO}(?: {_ABOUT_A_PROMPT}[^ .]+){{0,4}}? (?:is|are|was|were|been|being)(?: \w+)? {_IS_BLOCKED}\b",
    rf"\b{_IS_BLOCKED} (?:your|the|this) (?:\w+ )?{_WHO}\b(?!'| (?:prompt|request|content|image|input))",
    rf"\byou(?:'re| are| have been| were)(?: \w+)? {_IS_BLOCKED}\b",
    r"(?:[账賬帐帳][号號户戶]|用户|用戶|资源|令牌|密钥|组织|项目)[^.。]{0,8}?(?:封禁|封号|封號|冻结|凍結|停用|禁用|[锁鎖]定)",
    r"(?:konto|compte|cuenta|conta|аккаунт)(?: [\w']+){0,3} (?:gesperrt"
    r"|deaktiviert|suspendu|bloqué|suspendida|bloquead|suspensa|заблокирован)",
)
"""The account, the key or the resource is blocked, not a prompt; "may be blocked" is a warning, not a fact."""

POLICY = _any(r"polic|violat|abus|misuse|terms of|违[反规]|違[反規]")

MODERATED = _any(
    r"rejected (?:by|as a result of) (?:the|our) safety system"
    r"|safety violations=|\bmoderation blocked\b|content ?policy ?violation",
    r"\b(?:flagged|blocked|rejected|refused|denied)(?: [\w']+){0,6}? (?:moderation|safety (?:system|filter))\b",
    r"\b(?:prompt|input|request|content|image|text)s?(?: [\w']+){0,2}? (?:was|were|is|been) flagged\b",
)
"""The safety system's own words: they count whatever code a relay sends with them."""

PERHAPS_MODERATED = _any(
    r"\b(?:prompt|input|request|content"
    r"|image)s?(?: [\w']+){0,3}? violat\w+(?: [\w']+){0,3}? (?:polic|guideline|rules|terms)",
    r"\bprompt(?: [\w']+){0,2}? blocked\b",
    r"content (?:management )?policy|content filter|safety system"
    r"|temporarily blocked|content moderation|\bflagged\b",
    r"敏感|违规|違規|内容审核|內容審核|安全审核|不当内容|inappropriate content|unsafe content",
)
