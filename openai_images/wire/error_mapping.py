"""Builds the exception for a status and an error body, or for an error event.

Invariants: the key, the prompt and base64 are removed first, from the text and every attribute; then `error_codes.py`
decides what the error is about. The status that a code stands for counts mid-stream, and when a relay sends a 5xx for
an upstream 4xx. Any shape gives a typed error.
Must not: mark a request as safe to resend unless the server or its status proves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from openai_images import errors
from openai_images.models.completeness import NO_IMAGE
from openai_images.models.image import Image
from openai_images.wire import error_codes, headers
from openai_images.wire.error_body import NO_MESSAGES, ErrorDetails, read_body, read_error
from openai_images.wire.error_codes import Verdict
from openai_images.wire.redaction import Redaction, redact

_VERDICT_CLASSES: dict[Verdict, type[errors.APIStatusError]] = {
    Verdict.MODERATION: errors.ModerationBlockedError,
    Verdict.ACCOUNT: errors.PermissionDeniedError,
    Verdict.MONEY: errors.QuotaExhaustedError,
    Verdict.PERIOD: errors.QuotaExhaustedError,
}

_VERDICT_HINTS = {
    Verdict.ACCOUNT: "it is about the account and not about the prompt; ask the server's support",
    Verdict.PERIOD: "go on when the limit is renewed, or raise it; waiting does not help before",
}

_NOT_ALLOWED = 405
_WRONG_ADDRESS = (
    "check base_url: nothing there takes such requests (most servers want one that ends with /v1)"
)
MAX_ERRORS = MAX_DAMAGED = 10
"""The API's largest `n`: errors kept for images that did not come, each of which takes milliseconds to classify, and
damaged images, perhaps in memory. A server may send 100,000 items."""

_SHOWN_BYTES = 40
"""Bytes of a non-image that an error quotes: enough to recognize a text or an HTML page."""

_LONGEST_WORDS = 1024
"""Characters of a message that are used to classify it, which takes up to 5 microseconds a character."""

LONGEST_REASON = 300
"""Characters of `reason`: it fits in one log line together with other fields."""

_STATUS_CLASSES: dict[int, type[errors.APIStatusError]] = {
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
    errors.AuthenticationError: "check the key (api_key, OPENAI_API_KEY or AZURE_OPENAI_API_KEY); is it this server's?",
    errors.NotFoundError: (
        "check the model's name and base_url (most end in /v1; on Azure the deployment and the api-version)"
    ),
    errors.QuotaExhaustedError: "add credit or raise the limit; waiting does not help",
    errors.ModerationBlockedError: "change the prompt; sending the same again does not help",
    errors.ServerOutcomeUnknownError: "it may have been billed, so it was not sent again",
    errors.StatusOutcomeUnknownError: "it may have been billed, so it was not sent again",
}


class ResponseContext(NamedTuple):
    """The response of an error: status, headers, texts that no message may repeat, and Unix time in seconds.

    `unsent`: the server answered before it had the whole request.
    """

    status: int
    headers: Mapping[str, str]
    secrets: tuple[str, ...] = ()
    now: float = 0.0
    unsent: bool = False

    def __repr__(self) -> str:
        return f"<ResponseContext of a {self.status}>"  # not the secrets

    @property
    def request_id(self) -> str | None:
        """The server's name for the request, redacted: some servers echo the request's content in it."""
        name = headers.request_id(self.headers)
        return name and redact(name, self.secrets)


def error_from_body(context: ResponseContext, body: bytes) -> errors.APIStatusError:
    """Return the exception for a response that is not a success, from its body of any kind."""
    return _error(context, *read_body(body))


def error_from_document(context: ResponseContext, doc: object) -> errors.APIStatusError:
    """Return the exception for a decoded error body or error event."""
    return _error(context, read_error(doc), doc)


def no_image(context: ResponseContext, damaged: Sequence[Image]) -> errors.DecodeError:
    """Return the error for content that came in place of an image."""
    first = damaged[0] if damaged else None
    if first is None or first.flaw == NO_IMAGE:
        start = b"" if first is None or first.path is not None else first.data[:_SHOWN_BYTES]
        begins = redact(start.decode("utf-8", "replace"), context.secrets)
        content = f"bytes that are not an image{f' (it begins {begins!r})' if begins else ''}"
    else:
        content = f"a truncated image ({first.media_type}, {first.nbytes:,} bytes)"
    return errors.DecodeError(
        f"the server answered {context.status} with {content}; it may have been billed, so what came is kept in the "
        "error's damaged. Check base_url, and any proxy between you and the server"
    )


def _error(context: ResponseContext, details: ErrorDetails, doc: object) -> errors.APIStatusError:
    redaction = Redaction(context.secrets)
    redacted = details._replace(words=redaction.text(details.words, _LONGEST_WORDS))
    seconds = headers.retry_after(context.headers, redacted.words, context.now, details.wait)
    verdict = error_codes.judge(redacted, context.status, seconds)
    cls, safe = _error_class(context, details, verdict)
    details = _redacted(details, redaction)
    parts = (
        f"{_summary(context, details)}: {details.message.rstrip('.')}",
        redaction.text(_advice(context, details, cls, verdict)),
        context.request_id and f"request {context.request_id}",
    )
    error = cls(
        "; ".join(part for part in parts if part),
        status_code=context.status,
        code=details.code,
        type=details.type,
        param=details.param,
        request_id=context.request_id,
        body=redaction.document(doc),
    )
    error.safe_to_resend = safe
    error.retry_after = seconds
    error.reason = _reason(details)
    if isinstance(error, errors.ModerationBlockedError):
        error.categories, error.stage = details.categories, error_codes.moderation_stage(details)
    return error


def _reason(details: ErrorDetails) -> str:
    """Return only the server's message; empty if there is none."""
    if details.message in NO_MESSAGES:
        return ""
    is_short = len(details.message) <= LONGEST_REASON
    return details.message if is_short else details.message[:LONGEST_REASON].rstrip() + "…"


def _redacted(details: ErrorDetails, redaction: Redaction) -> ErrorDetails:
    code, error_type, param = (
        None if name is None else redaction.text(name) or None
        for name in (details.code, details.type, details.param)
    )
    return details._replace(
        message=redaction.text(details.message),
        code=code,
        type=error_type,
        param=param,
        categories=tuple(map(redaction.text, details.categories)),
        stage=redaction.text(details.stage),
    )


def _error_class(
    context: ResponseContext, details: ErrorDetails, verdict: Verdict
) -> tuple[type[errors.APIStatusError], bool]:
    """Return the class of the exception, and whether the request was provably not executed."""
    if verdict in _VERDICT_CLASSES:
        return _VERDICT_CLASSES[verdict], False
    code_status = error_codes.status_for_codes(details)
    status = 429 if verdict is Verdict.RATE else _effective_status(context.status, code_status)
    cls = errors.InternalServerError if status >= 500 else _STATUS_CLASSES.get(status, errors.APIStatusError)
    safe = cls is not errors.QuotaExhaustedError and _is_safe(context, cls, code_status)
    may_have_run = not safe and not context.unsent
    if not may_have_run and cls is errors.StatusOutcomeUnknownError:
        cls = errors.APIStatusError
    if may_have_run and cls is errors.InternalServerError:
        cls = errors.ServerOutcomeUnknownError
    return cls, safe


def _effective_status(status: int, code_status: int | None) -> int:
    """Return the status; for a 2xx, or a 5xx that a relay made of an upstream 4xx, the status of the codes."""
    if status < 300:
        return code_status or 200
    return code_status if status >= 500 and code_status is not None and code_status < 500 else status


def _is_safe(context: ResponseContext, cls: type[errors.APIStatusError], code_status: int | None) -> bool:
    """Return whether the request was provably not executed, by the server's own header or by its status."""
    if context.status < 300:
        return False
    advertised = headers.should_retry(context.headers)
    if advertised is not None:
        return advertised
    if context.unsent and cls in (errors.InternalServerError, errors.StatusOutcomeUnknownError):
        return True
    # A 503 with a wait was not executed, unless its code is about an execution.
    is_unavailable = (
        context.status == 503 and headers.has_retry_after(context.headers) and code_status in (None, 429, 503)
    )
    return is_unavailable or cls is errors.RateLimitError


def _summary(context: ResponseContext, details: ErrorDetails) -> str:
    """Return the first part of the message: status, code and parameter."""
    summary = f"the server answered {context.status}{' with an error' if context.status < 300 else ''}"
    code = details.code if details.code != str(context.status) else None
    names = [code or details.type, details.param and f"parameter {details.param!r}"]
    cause = ", ".join(name for name in names if name)
    return f"{summary} ({cause})" if cause else summary


def _advice(
    context: ResponseContext, details: ErrorDetails, cls: type[errors.APIStatusError], verdict: Verdict
) -> str:
    redirect = context.headers.get("location") if 300 <= context.status < 400 else None
    if redirect:
        return f"redirects are not followed with a key; set base_url to where it points ({redirect})"
    # An API accepts POST and answers in JSON, so this URL is something else, such as the server's web page.
    if context.status == _NOT_ALLOWED or (details.is_page and 400 <= context.status < 500):
        return _WRONG_ADDRESS
    return _VERDICT_HINTS.get(verdict) or _HINTS.get(cls, "")
