"""From a status and an error body, or an error event, to the exception that says what happened.

Rules: what it is about is decided by code, words, wait and status (the table in `codes.py`), on words from which the
key, the prompt and base64 are blotted out, as they are in the text and in every attribute. The status that goes with a
code counts where there is no other, in mid-stream, and where a relay made a 5xx of a refusal. Whatever the shape, a
typed error comes of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from openai_images import errors
from openai_images.wire import error_codes as codes, headers as header
from openai_images.wire.error_body import NO_MESSAGES, ErrorDetails, read_body, read_error
from openai_images.wire.error_codes import Verdict
from openai_images.wire.redaction import Redaction, redact
from openai_images.wire.salvage import outline

if TYPE_CHECKING:
    from collections.abc import Mapping

_BY_VERDICT: dict[Verdict, type[errors.APIStatusError]] = {
    Verdict.MODERATION: errors.ModerationBlockedError,
    Verdict.ACCOUNT: errors.PermissionDeniedError,
    Verdict.MONEY: errors.QuotaExhaustedError,
    Verdict.PERIOD: errors.QuotaExhaustedError,
}

_BY_VERDICT_HINTS = {
    Verdict.ACCOUNT: "it is about the account and not about the prompt; ask the server's support",
    Verdict.PERIOD: "go on when the limit is renewed, or raise it; waiting does not help before",
}

_NOT_ALLOWED = 405
_WRONG_ADDRESS = (
    "check base_url: nothing there takes such requests (most servers want one that ends with /v1)"
)
_LONGEST_JUDGED = 4 * 1024  # characters: what is behind them costs more time than it tells

LONGEST_REASON = 300
"""Characters of `reason`: what fits a line of a log beside what else it says."""

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

_HINTS: dict[type[errors.APIStatusError], str] = {
    errors.AuthenticationError: "check the key (api_key, OPENAI_API_KEY or AZURE_OPENAI_API_KEY) and whose it is",
    errors.NotFoundError: "check the model's name and base_url (on Azure the deployment and the api-version)",
    errors.QuotaExhaustedError: "add credit or raise the limit; waiting does not help",
    errors.ModerationBlockedError: "change the prompt; sending the same again does not help",
    errors.ServerOutcomeUnknownError: "it may have been billed, so it was not sent again",
    errors.StatusOutcomeUnknownError: "it may have been billed, so it was not sent again",
}


@frozen
class ResponseContext:
    """Where an error came from: the status and headers, the texts no message may repeat, and the time (Unix).

    `unsent`: the server answered before it had the whole request.
    """

    status: int
    headers: Mapping[str, str]
    secrets: tuple[str, ...] = field(repr=False, default=())
    now: float = 0.0
    unsent: bool = False

    @property
    def request_id(self) -> str | None:
        """The server's name for the request, as it may be shown: some echo there what they were sent."""
        name = header.request_id(self.headers)
        return name and redact(name, self.secrets)


def error_from_body(answered: ResponseContext, body: bytes) -> errors.APIStatusError:
    """The exception for an answer that is no success, from its body, whatever that is."""
    return _error(answered, *read_body(body))


def error_from_document(answered: ResponseContext, doc: object) -> errors.APIStatusError:
    """The exception for a decoded error body or error event."""
    return _error(answered, read_error(doc), doc)


def _error(answered: ResponseContext, said: ErrorDetails, doc: object) -> errors.APIStatusError:
    clean = Redaction(answered.secrets)
    judged = evolve(said, words=clean.text(said.words, _LONGEST_JUDGED))
    wait = header.retry_after(answered.headers, judged.words, answered.now, said.wait)
    verdict = codes.judge(judged, answered.status, wait)
    kind, safe = _error_class(answered, said, verdict)
    said = _clean(said, clean)
    parts = (
        f"{_request_suffix(answered, said)}: {said.message.rstrip('.')}",
        clean.text(_advice(answered, said, kind, verdict)),
        answered.request_id and f"request {answered.request_id}",
    )
    error = kind(
        "; ".join(part for part in parts if part),
        status_code=answered.status,
        code=said.code,
        type=said.type,
        param=said.param,
        request_id=answered.request_id,
        body=clean.document(outline(doc)),
    )
    error.safe_to_resend = safe
    error.retry_after = wait
    error.reason = _reason(said)
    if isinstance(error, errors.ModerationBlockedError):
        error.categories, error.stage = said.categories, codes.moderation_stage(said)
    return error


def _reason(said: ErrorDetails) -> str:
    """The server's message alone, empty where there is none."""
    if said.message in NO_MESSAGES:
        return ""
    is_short = len(said.message) <= LONGEST_REASON
    return said.message if is_short else said.message[:LONGEST_REASON].rstrip() + "…"


def _clean(said: ErrorDetails, clean: Redaction) -> ErrorDetails:
    """The same without what no error repeats."""
    code, kind, param = (
        None if name is None else clean.text(name) or None for name in (said.code, said.type, said.param)
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


def _error_class(
    answered: ResponseContext, said: ErrorDetails, verdict: Verdict
) -> tuple[type[errors.APIStatusError], bool]:
    """Which class of exception, and whether the request provably did not run."""
    if verdict in _BY_VERDICT:
        return _BY_VERDICT[verdict], False
    told = codes.status_for_codes(said)
    kind = (
        errors.RateLimitError
        if verdict is Verdict.RATE
        else _class_for_status(_status(answered.status, told))
    )
    safe = kind is not errors.QuotaExhaustedError and _is_safe(answered, kind, told)
    ran_not = safe or answered.unsent
    if ran_not and kind is errors.StatusOutcomeUnknownError:
        kind = errors.APIStatusError
    if not ran_not and kind is errors.InternalServerError:
        kind = errors.ServerOutcomeUnknownError
    return kind, safe


def _status(status: int, told: int | None) -> int:
    """The status, or that of the codes where the answer began as a success or a relay made a failure of a refusal."""
    if status < 300:
        return told or 200
    return told if status >= 500 and told is not None and told < 500 else status


def _is_safe(answered: ResponseContext, kind: type[errors.APIStatusError], told: int | None) -> bool:
    """Whether the request provably did not run, by what the server says of it or by what it is."""
    if answered.status < 300:
        return False
    stated = header.should_retry(answered.headers)
    if stated is not None:
        return stated
    if answered.unsent and kind in (errors.InternalServerError, errors.StatusOutcomeUnknownError):
        return True
    # A 503 asks to come back before anything ran, unless its code tells of something that did.
    closed = answered.status == 503 and header.has_retry_after(answered.headers) and told in (None, 429, 503)
    return closed or kind is errors.RateLimitError


def _class_for_status(status: int) -> type[errors.APIStatusError]:
    return errors.InternalServerError if status >= 500 else _BY_STATUS.get(status, errors.APIStatusError)


def _request_suffix(answered: ResponseContext, said: ErrorDetails) -> str:
    """What answered what, by name."""
    where = f"the server answered {answered.status}{' with an error' if answered.status < 300 else ''}"
    code = said.code if said.code != str(answered.status) else None
    names = [code or said.type, said.param and f"parameter {said.param!r}"]
    about = ", ".join(name for name in names if name)
    return f"{where} ({about})" if about else where


def _advice(
    answered: ResponseContext, said: ErrorDetails, kind: type[errors.APIStatusError], verdict: Verdict
) -> str:
    """What to do."""
    redirect = answered.headers.get("location") if 300 <= answered.status < 400 else None
    if redirect:
        return f"redirects are not followed with a key; set base_url to where it points ({redirect})"
    # An API answers in JSON, and takes a POST: what answers otherwise is somebody else, such as the server's web page.
    if answered.status == _NOT_ALLOWED or (said.is_page and 400 <= answered.status < 500):
        return _WRONG_ADDRESS
    return _BY_VERDICT_HINTS.get(verdict) or _HINTS.get(kind, "")
