"""Every exception this package raises: one tree, one file.

    ImagesError
    ├── ConfigurationError                  no key, an unusable base_url, a header that cannot be sent
    │   └── BatchFolderError                in use, not a batch's, or its input was changed
    ├── RequestInvalidError                 found here, before anything was sent
    │   └── BatchInputError                 problems: every bad row
    ├── APIStatusError                      the server said no (also in mid-stream, with status_code 200)
    │   ├── BadRequestError
    │   │   └── ModerationBlockedError      categories, stage
    │   ├── AuthenticationError
    │   ├── PermissionDeniedError
    │   ├── NotFoundError
    │   ├── RateLimitError                  retry_after
    │   ├── QuotaExhaustedError             waiting does not help
    │   └── InternalServerError
    ├── APIConnectionError
    │   ├── APITimeoutError                 also a TimeoutError
    │   └── StreamInterruptedError          also an OutcomeUnknownError
    ├── DecodeError                         also an OutcomeUnknownError
    ├── ResponseTooLargeError               also an OutcomeUnknownError
    ├── DownloadError                       url, urls, response
    ├── PartialResultError                  result, errors
    └── OutcomeUnknownError                 it was sent, and nobody knows whether it ran

Rules: this module imports nothing of ours. Each exception has a text that says what happened, on what and what
to do; each survives pickling and copying with all it carries. Each can be made again from its `args` alone, as Celery's
JSON serializer does, with defaults for the rest. Neither a key nor a prompt nor base64 belongs in a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BatchFolderError",
    "BatchInputError",
    "ConfigurationError",
    "ConnectionOutcomeUnknownError",
    "DecodeError",
    "DownloadError",
    "ImagesError",
    "InternalServerError",
    "ModerationBlockedError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PartialResultError",
    "PermissionDeniedError",
    "QuotaExhaustedError",
    "RateLimitError",
    "RequestInvalidError",
    "ResponseTooLargeError",
    "ServerOutcomeUnknownError",
    "StatusOutcomeUnknownError",
    "StreamInterruptedError",
    "TimeoutOutcomeUnknownError",
]

_E = TypeVar("_E", bound=BaseException)


def _rebuild(cls: type[_E], args: tuple[object, ...], state: dict[str, object]) -> _E:
    """Make an exception again without calling its `__init__`, which may ask for keywords."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ImagesError(Exception):
    """The root: everything raised on purpose by this package is one of these.

    `attempts` counts the requests that were made for the call, `elapsed` the seconds it took, waits included;
    `request_id` is the server's name for the last of them; `partials` holds the `PartialImage` events that
    had arrived, and `images` the pictures that were complete, before things went wrong. `damaged` holds what came in a
    picture's place and is none by its own bytes, or lacks its end (`Image.flaw`): it may have been paid for.
    """

    maybe_billed: bool = False
    """Whether the call may have cost money although no result came of it."""

    safe_to_resend: bool = False
    """Whether the request provably did not run, so that sending it again cannot pay twice."""

    def __init__(self, message: str) -> None:
        """Keep the text; what the call knows besides is filled in where it is raised."""
        super().__init__(message)
        self.attempts: int = 0
        self.elapsed: float = 0.0
        self.request_id: str | None = None
        self.partials: Sequence[Any] = ()
        self.images: Sequence[Any] = ()
        self.damaged: Sequence[Any] = ()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by class, arguments and state, whatever the signature of `__init__`."""
        return _rebuild, (type(self), self.args, self.__dict__.copy())


class OutcomeUnknownError(ImagesError):
    """The request was sent and nobody knows whether it ran: sending it again may pay twice.

    Always a second base of a concrete class; catch it to treat all unknown outcomes alike.
    """

    maybe_billed = True


class ConfigurationError(ImagesError):
    """The client cannot work as it was set up: no key, an unusable base_url, a header that cannot be sent."""


class RequestInvalidError(ImagesError):
    """The request was refused here, before anything was sent."""


class BatchFolderError(ConfigurationError):
    """A batch cannot work in its folder: another process does, it is not a batch's, or the input was changed."""


class BatchInputError(RequestInvalidError):
    """The input of a batch has bad rows: `problems` names each with its line; nothing was sent."""

    def __init__(self, message: str, *, problems: Sequence[str] = ()) -> None:
        """Keep them all."""
        super().__init__(message)
        self.problems = tuple(problems)


class APIStatusError(ImagesError):
    """The server refused or failed, by HTTP status or by an error event in mid-stream (`status_code` is 200 then).

    `code`, `type` and `param` are the server's own, `body` its decoded answer where it was JSON; `retry_after` is the
    wait it asked for, in seconds, None where it did not; `reason` is the server's message alone, on one short line,
    empty where it gave none. `status_code` is 0 where nothing but the text of an error is left.
    """

    retry_after: float | None = None
    reason: str = ""

    def __init__(  # noqa: PLR0913  the fields of an error object on the wire
        self,
        message: str,
        *,
        status_code: int = 0,
        code: str | None = None,
        type: str | None = None,  # noqa: A002  the wire's own name
        param: str | None = None,
        request_id: str | None = None,
        body: object = None,
    ) -> None:
        """Keep what the server said, field by field."""
        super().__init__(message)
        self.status_code = status_code
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.body = body


class BadRequestError(APIStatusError):
    """The request is at fault (400, 413, 422): sending it again does not help."""


class ModerationBlockedError(BadRequestError):
    """The safety system refused the prompt (stage "input") or the picture (stage "output"); never sent again.

    `categories` are as coarse as the server gives them and may be empty; `stage` is "unknown" where it was not said.
    """

    categories: tuple[str, ...] = ()
    stage: str = "unknown"


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong or lacks a scope."""


class PermissionDeniedError(APIStatusError):
    """403: the key is right, but what it asks for is not allowed."""


class NotFoundError(APIStatusError):
    """404: no such model or no such path under this base_url."""


class RateLimitError(APIStatusError):
    """429 about the rate: waiting helps; `retry_after` says how long."""


class QuotaExhaustedError(APIStatusError):
    """The account's money or quota is used up: waiting does not help. Not a `RateLimitError` although often a 429."""


class InternalServerError(APIStatusError):
    """The server failed (5xx)."""


class APIConnectionError(ImagesError):
    """The connection could not be made, or broke."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """A timer ran out: `timer` is "connect", "first_byte", "idle" or "total", `seconds` its length."""

    def __init__(self, message: str, *, timer: str = "", seconds: float = 0.0) -> None:
        """Keep which timer it was."""
        super().__init__(message)
        self.timer = timer
        self.seconds = seconds


class StreamInterruptedError(APIConnectionError, OutcomeUnknownError):
    """The answer ended or broke before its completed picture; `partials` and `images` hold what had arrived."""


class DecodeError(OutcomeUnknownError):
    """A successful answer could not be understood; its picture may have been paid for.

    `body` is its decoded JSON without secrets and base64, as far as it is small; None where it was no JSON.
    """

    body: object = None


class ResponseTooLargeError(OutcomeUnknownError):
    """The answer passed a size limit and was abandoned; its picture may have been paid for."""


class DownloadError(ImagesError):
    """A picture is behind a URL and could not be fetched from there: it is paid for, and need not be generated again.

    `url` is where it is, whole, signature included, and `urls` all of them where there are several; `response` is the
    `ImageResult` with those that came and those that did not, for `client.download`. `status_code` is that of the
    last answer, None where none came; `reason` is the text without what to do.
    """

    maybe_billed = True

    def __init__(  # noqa: PLR0913  what is known of pictures that are elsewhere
        self,
        message: str,
        *,
        url: str | None = None,
        urls: Sequence[str] = (),
        response: Any = None,
        status_code: int | None = None,
        reason: str = "",
    ) -> None:
        """Keep where the pictures are; `reason` is what the text says without what to do."""
        super().__init__(message)
        self.reason = reason or message
        self.urls: tuple[str, ...] = tuple(urls) or (() if url is None else (url,))
        self.url = url if url is not None or not self.urls else self.urls[0]
        self.response = response
        self.status_code = status_code


class PartialResultError(ImagesError):
    """Some of several pictures failed: `result` holds the good ones, `errors` what befell the others."""

    def __init__(self, message: str, *, result: Any = None, errors: Sequence[ImagesError] = ()) -> None:
        """Keep both halves."""
        super().__init__(message)
        self.result = result
        self.errors = tuple(errors)


class ConnectionOutcomeUnknownError(APIConnectionError, OutcomeUnknownError):
    """The connection broke after the request was sent."""


class TimeoutOutcomeUnknownError(APITimeoutError, OutcomeUnknownError):
    """A timer ran out after the request was sent."""


class StatusOutcomeUnknownError(APIStatusError, OutcomeUnknownError):
    """A status that leaves open whether the request ran, such as 408."""


class ServerOutcomeUnknownError(InternalServerError, OutcomeUnknownError):
    """The server failed (5xx) while it held the request."""


def annotate(error: ImagesError, facts: Mapping[str, object]) -> ImagesError:
    """Fill in what the call knows (attempts, elapsed, …) and give the same exception back."""
    error.__dict__.update(facts)
    return error
