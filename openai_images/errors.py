"""Every exception this package raises: one tree, one file.

    ImagesError
    ├── ConfigurationError                  no key, an unusable base_url, a header that cannot be sent
    │   └── BatchFolderError                in use, not a batch's, or its input was changed
    ├── RequestInvalidError                 found before anything was sent
    │   └── BatchInputError                 problems: every bad row
    ├── APIStatusError                      an error response (also in mid-stream, with status_code 200)
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
    │   ├── SharedLimitError                the Redis server of Limits(shared=…) is unreachable; nothing was sent
    │   └── StreamInterruptedError          also an OutcomeUnknownError
    ├── DecodeError                         also an OutcomeUnknownError
    ├── ResponseTooLargeError               also an OutcomeUnknownError
    ├── DownloadError                       url, urls, response
    ├── PartialResultError                  result, errors
    ├── StoppedBeforeSendError              in PartialResultError.errors: not sent, as the run was stopped
    ├── ClusterError                        the cluster that runs a batch failed or is unreachable
    └── OutcomeUnknownError                 sent, but it is unknown whether it was executed

Invariants: each message names what happened, on what, and what to do; each exception survives pickling and copying with
all its attributes, and can be rebuilt from its `args` alone as Celery does, with defaults for the rest. The docstrings
say when an error is raised and what to do; the reference's table of errors is made from them.
Must not: import other modules of this package; put a key, a prompt or base64 into a message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

_E = TypeVar("_E", bound=BaseException)


def _rebuild(cls: type[_E], args: tuple[object, ...], state: dict[str, object]) -> _E:
    """Rebuild an exception without calling its `__init__`, which may require keywords."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ImagesError(Exception):
    """The base class of all exceptions that this package raises.

    `attempts` is the number of requests that were sent for the call; `elapsed` is its duration in seconds, waits
    included; `request_id` is the server's id of the last request. `partials` holds the `PartialImage` events, and
    `images` the complete images, that were received before the error. `damaged` holds data that was received as an
    image but is not an image, or is truncated (`Image.flaw`): it may have been paid for. Billed: see `maybe_billed`.
    To do: catch it after the subclasses that you handle differently.
    """

    maybe_billed: bool = False
    """Whether the call may have cost money although it failed."""

    safe_to_resend: bool = False
    """Whether the request was certainly not executed: sending it again cannot cost twice."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.attempts: int = 0
        self.elapsed: float = 0.0
        self.request_id: str | None = None
        self.partials: Sequence[Any] = ()
        self.images: Sequence[Any] = ()
        self.damaged: Sequence[Any] = ()

    @property
    def message(self) -> str:
        """The text of the exception, `str(error)`, under the name that it has in the official package."""
        return str(self)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


class OutcomeUnknownError(ImagesError):
    """The request was sent, but it is unknown whether it was executed: sending it again may cost twice.

    The common base class of all such errors; catch it to handle them alike. To do: keep `partials` and `images`, and
    send again only if paying twice is acceptable (`RetryPolicy(retry_unknown=True)`).
    """

    maybe_billed = True


class ConfigurationError(ImagesError):
    """The client cannot work with its settings: no key, a bad base_url. To do: change what the message names."""


class RequestInvalidError(ImagesError):
    """The request is invalid; nothing was sent. To do: change the parameters that the message names."""


class BatchFolderError(ConfigurationError):
    """A batch cannot use its folder: in use, no batch folder, or of another input. To do: choose another folder."""


class BatchInputError(RequestInvalidError):
    """The input of a batch has bad rows, all in `problems`; nothing was sent. To do: correct the rows."""

    def __init__(self, message: str, *, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class APIStatusError(ImagesError):
    """The server sent an error response, or an error event in mid-stream (then `status_code` is 200).

    `code`, `type` and `param` are those of the server's error object; `body` is the decoded JSON, or None.
    `retry_after` is the wait in seconds that the server requested, or None. `reason` is the server's message alone, on
    one short line, or empty. `status_code` is 0 if only the text of an error is known. To do: catch its subclasses; for
    other statuses read `code` and `reason`.
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
        super().__init__(message)
        self.status_code = status_code
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.body = body


class BadRequestError(APIStatusError):
    """400, 413, 422: the request is wrong; sending it again does not help. To do: change what `param` names."""


class ModerationBlockedError(BadRequestError):
    """The safety system blocked the prompt (stage "input") or the image (stage "output"); never sent again.

    `categories` are the server's own and may be empty; `stage` is "unknown" if the server does not name it. Billed: no
    for stage "input"; for "output" the server does not say. To do: change the prompt.
    """

    categories: tuple[str, ...] = ()
    stage: str = "unknown"


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong, or lacks a scope. To do: check the key, and that it belongs to this server."""


class PermissionDeniedError(APIStatusError):
    """403: the key is valid, but the request is not allowed. To do: request access for its account or project."""


class NotFoundError(APIStatusError):
    """404: no such model, or no such path under this base_url. To do: check both; most URLs end in /v1."""


class RateLimitError(APIStatusError):
    """429: rate limited; `retry_after` is the wait in seconds. To do: wait, or set `Limits` and `RetryPolicy`."""


class QuotaExhaustedError(APIStatusError):
    """The account's money or quota is used up (often a 429): waiting does not help. To do: add credit."""


class InternalServerError(APIStatusError):
    """5xx: the server failed. To do: send again later, unless `maybe_billed`; report the `request_id`."""


class APIConnectionError(ImagesError):
    """The connection failed or was lost. To do: check network and proxy; send again, unless `maybe_billed`."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """`timer` (connect, first_byte, idle or total) expired after `seconds`. To do: set `Timeouts`."""

    def __init__(self, message: str, *, timer: str = "", seconds: float = 0.0) -> None:
        super().__init__(message)
        self.timer = timer
        self.seconds = seconds


class SharedLimitError(APIConnectionError):
    """The Redis server of `Limits(shared=…)` could not be reached for a minute; nothing was sent.

    Not billed. To do: check that Redis runs at this address; send again.
    """

    safe_to_resend = True


class StreamInterruptedError(APIConnectionError, OutcomeUnknownError):
    """The response ended before its image was complete. To do: use `partials` and `images`, or pay twice."""


class DecodeError(OutcomeUnknownError):
    """A successful response could not be decoded; its image may have been paid for.

    `body` is its decoded JSON without secrets and base64, if it is small; None if it was not JSON. To do: read `body`
    and `damaged`; check that `base_url` is the URL of an API, not of a web page.
    """

    body: object = None


class ResponseTooLargeError(OutcomeUnknownError):
    """The response exceeded a size limit and was aborted. To do: raise `Limits(max_picture_bytes=…)`."""


class DownloadError(ImagesError):
    """An image that the server returned as a URL could not be downloaded: it is paid for; do not generate it again.

    `url` is its complete URL, signature included; `urls` are all such URLs. `response` is the `ImageResult` with all
    its images, downloaded or not. `status_code` is that of the last response, or None; `reason` is the message without
    its advice. To do: pass `response` to `client.download` before its URLs expire.
    """

    maybe_billed = True

    def __init__(  # noqa: PLR0913  what is known of images that are not downloaded
        self,
        message: str,
        *,
        url: str | None = None,
        urls: Sequence[str] = (),
        response: Any = None,
        status_code: int | None = None,
        reason: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason or message
        self.urls: tuple[str, ...] = tuple(urls) or (() if url is None else (url,))
        self.url = url if url is not None or not self.urls else self.urls[0]
        self.response = response
        self.status_code = status_code


class PartialResultError(ImagesError):
    """Some of several images failed: `result` holds the others, `errors` the errors.

    Billed: yes for `result`; for the others see `maybe_billed`. To do: keep `result`, and request only the missing
    number.
    """

    def __init__(self, message: str, *, result: Any = None, errors: Sequence[ImagesError] = ()) -> None:
        super().__init__(message)
        self.result = result
        self.errors = tuple(errors)


class StoppedBeforeSendError(ImagesError):
    """The run was stopped before this request was sent; not billed. To do: send it again."""

    safe_to_resend = True

    def __init__(self, message: str = "the run was stopped before this request was sent") -> None:
        super().__init__(message)


class ClusterError(ImagesError):
    """The cluster of a batch failed or is unreachable; all sent requests are recorded. To do: run the batch again."""


class ConnectionOutcomeUnknownError(APIConnectionError, OutcomeUnknownError):
    """The connection was lost after the request was sent."""


class TimeoutOutcomeUnknownError(APITimeoutError, OutcomeUnknownError):
    """A timer expired after the request was sent."""


class StatusOutcomeUnknownError(APIStatusError, OutcomeUnknownError):
    """A status that does not tell whether the request was executed, such as 408."""


class ServerOutcomeUnknownError(InternalServerError, OutcomeUnknownError):
    """The server failed (5xx) after it received the request."""


def annotate(error: ImagesError, info: Mapping[str, object]) -> ImagesError:
    """Set attributes of an exception, such as `attempts`, and return it."""
    error.__dict__.update(info)
    return error
