"""Faults of the other calls: downloads of images by their URLs, `/v1/files` and `/v1/batches`, and of new batches.

Invariants: a redirect has its hop in the query, so that the server recognizes its own redirects. The fault of a call of
`/v1/files` or `/v1/batches` has the name of its step, a colon, and what happens; the faults of a batch begin with
`batch_`, and each is used by one new batch, with any response to its creation.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal

import attrs

from openai_images.server.faults.plan import (
    MEGABYTES,
    STATUS,
    Fault,
    FaultType,
    Plan,
    RequestInfo,
    argument,
    fault,
    fault_with_argument,
)
from openai_images.server.faults.statuses import html_page, status_reply
from openai_images.server.protocol.error_replies import Reply, error_reply

_EXPIRED: Final = (
    b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code><Message>Server failed '
    b"to authenticate the request.</Message><AuthenticationErrorDetail>Signature not valid in the specified time frame"
    b"</AuthenticationErrorDetail></Error>"
)

_URL: Final = argument(str, lambda url: url.isprintable() and " " not in url, "a url")

Body = Literal["whole", "cut", "reset", "endless", "stalled", "empty"]


@attrs.frozen(kw_only=True)
class DownloadPlan(Plan):
    """How one download differs from a normal one, which is the default."""

    body: Body = "whole"
    megabytes: float | None = None


def _redirect(locate: Callable[[RequestInfo], str]) -> DownloadPlan:
    return DownloadPlan(reply=lambda request: Reply(302, b"", "text/plain", {"location": locate(request)}))


def _redirect_to(url: str) -> DownloadPlan:
    return _redirect(
        lambda request: url or f"http://localhost:{request.port}{_next_hop(request.target, '1')}"
    )


def _next_hop(target: str, hop: str) -> str:
    path, _, query = target.partition("?")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith("hop=")]
    return f"{path}?{'&'.join([*kept, f'hop={hop}'])}"


LOOP: Final = _redirect(
    lambda request: _next_hop(request.target, "loop-b" if "hop=loop-a" in request.target else "loop-a")
)


def _reply(about: str, reply: Reply) -> FaultType[DownloadPlan]:
    return fault(about, DownloadPlan(reply=lambda _: reply))


DOWNLOAD_FAULTS: Final[Mapping[str, FaultType[DownloadPlan]]] = {
    "download_ok": fault("no fault for this download", DownloadPlan()),
    "download_status": fault_with_argument(
        "download_status:NNN (500) a download gets that HTTP status",
        "500",
        STATUS,
        lambda status: DownloadPlan(reply=lambda _: status_reply(status)),
    ),
    "download_404": _reply(
        "a download gets a 404", error_reply(404, "The image was not found.", code="not_found")
    ),
    "download_expired_403": _reply(
        "a download of an expired URL: 403 with the XML of a storage service",
        Reply(403, _EXPIRED, "application/xml"),
    ),
    "download_500_then_ok": fault(
        "500 for this download, the image for the next",
        DownloadPlan(reply=lambda _: status_reply(500), every_other=True),
    ),
    "download_redirect": fault_with_argument(
        "download_redirect:URL (this server under another host name) a download is redirected there, 302",
        "",
        _URL,
        _redirect_to,
    ),
    "download_redirect_relative": fault(
        "a download is redirected to a relative URL that works",
        _redirect(lambda request: _next_hop(request.target, "1")),
    ),
    "download_redirect_other_host": fault(
        "a download is redirected to this server under the name localhost", _redirect_to("")
    ),
    "download_redirect_link_local": fault(
        "a download is redirected to http://169.254.169.254/latest/meta-data/",
        _redirect_to("http://169.254.169.254/latest/meta-data/"),
    ),
    "download_redirect_file": fault(
        "a download is redirected to file:///etc/passwd", _redirect_to("file:///etc/passwd")
    ),
    "download_redirect_loop": fault("a download is redirected in an endless loop", LOOP),
    "download_endless": fault(
        "a download that begins like an image and never ends", DownloadPlan(body="endless")
    ),
    "download_huge": fault_with_argument(
        "download_huge:MB (100) a download of that many megabytes",
        "100",
        MEGABYTES,
        lambda megabytes: DownloadPlan(megabytes=megabytes),
    ),
    "download_cut": fault("a download ends after half of its declared length", DownloadPlan(body="cut")),
    "download_reset": fault("TCP reset after half of a download", DownloadPlan(body="reset")),
    "download_html": _reply("a download returns an HTML page", html_page(200)),
    "download_empty": fault("a download returns an empty body with status 200", DownloadPlan(body="empty")),
    "download_stall": fault(
        "a download returns nothing, not even headers, until release()", DownloadPlan(hold=True)
    ),
    "download_stall_mid_body": fault(
        "a download returns its first half, then nothing until release()", DownloadPlan(body="stalled")
    ),
}

DOWNLOAD_OK: Final = Fault("download_ok", DownloadPlan())


_CHANGES: Final = {"file_upload", "file_delete", "batch_create", "batch_cancel"}


@attrs.frozen(kw_only=True)
class CallPlan(Plan):
    """How the response to one call differs from a normal one, which is the default.

    `is_after`: the requested action is done first; `middle` is what happens in the middle of the body.
    """

    is_after: bool = False
    middle: Literal["cut", "stall"] | None = None


@attrs.frozen(kw_only=True)
class BatchFaultPlan(Plan):
    """How one batch differs from a normal one, which is the default; `hold` keeps it in `validating`."""

    error: Mapping[str, Any] | None = None
    expires: bool = False
    holds_cancel: bool = False
    is_unlisted: bool = False
    has_output: bool = True
    has_errors: bool = True
    lacks_line: bool = False
    garbage: bool = False
    duplicates: bool = False


def _plans(step: str) -> dict[str, CallPlan]:
    """Return the faults of a step other than statuses."""
    plans = {"reset": CallPlan(hang_up="reset"), "stall": CallPlan(hold=True)}
    if step in _CHANGES:
        lost = CallPlan(hang_up="close", is_after=True)
        plans |= {"lost": lost, "stall_after": CallPlan(hold=True, is_after=True)}
    if step in {"file_upload", "file_content"}:
        plans["cut"] = CallPlan(middle="cut")
    if step == "file_content":
        plans["stall_mid"] = CallPlan(middle="stall")
    return plans | {"ok": CallPlan()}


def _names(step: str) -> str:
    return ", ".join(["NNN", *(["NNN_after"] if step in _CHANGES else []), *_plans(step)])


def _call_plan(step: str, how: str) -> CallPlan:
    if (plan := _plans(step).get(how)) is not None:
        return plan
    number = how.removesuffix("_after") if step in _CHANGES else how
    try:
        reply = status_reply(STATUS(number))
    except ValueError:
        raise ValueError(f"one of {_names(step)}, with a status from 400 to 599") from None
    return CallPlan(reply=lambda _: reply, is_after=number != how)


def _call_fault(step: str, what: str) -> FaultType[CallPlan]:
    about = f"{step}:HOW (500) {what} fails: {_names(step)}"
    return FaultType(about, partial(_call_plan, step), "500", takes_argument=True)


def batch_error(
    code: str, message: str, *, param: str | None = None, line: int | None = None
) -> dict[str, Any]:
    """Return one of the `errors` of a batch in the API's form; `line` counts from 1."""
    return {"code": code, "message": message, "param": param, "line": line}


_QUEUE_IS_FULL: Final = (
    "Enqueued token limit reached for gpt-image-2 in organization org-local. Limit: 90,000 enqueued tokens. Please try "
    "again once some in_progress batches have been completed."
)

CALL_FAULTS: Final[Mapping[str, FaultType[CallPlan]]] = {
    "file_upload": _call_fault("file_upload", "an upload"),
    "file_retrieve": _call_fault("file_retrieve", "the GET of a file's object"),
    "file_list": _call_fault("file_list", "the list of files"),
    "file_content": _call_fault("file_content", "the GET of a file's content"),
    "file_delete": _call_fault("file_delete", "the deletion of a file"),
    "batch_create": _call_fault("batch_create", "the creation of a batch"),
    "batch_retrieve": _call_fault("batch_retrieve", "the GET of a batch"),
    "batch_list": _call_fault("batch_list", "the list of batches"),
    "batch_cancel": _call_fault("batch_cancel", "the cancellation of a batch"),
}
BATCH_FAULTS: Final[Mapping[str, FaultType[BatchFaultPlan]]] = {
    "batch_ok": fault("no fault for this batch", BatchFaultPlan()),
    "batch_stuck": fault("a batch stays in validating until release()", BatchFaultPlan(hold=True)),
    "batch_invalid": fault(
        "a batch fails in validation: its first line is not JSON",
        BatchFaultPlan(
            error=batch_error("invalid_json_line", "This line is not parseable as valid JSON.", line=1)
        ),
    ),
    "batch_token_limit": fault(
        "a batch fails in validation: too many tokens are enqueued",
        BatchFaultPlan(error=batch_error("token_limit_exceeded", _QUEUE_IS_FULL)),
    ),
    "batch_expired": fault("a batch expires before any of its requests is run", BatchFaultPlan(expires=True)),
    "batch_slow_cancel": fault(
        "a batch that is cancelled stays in cancelling until release()", BatchFaultPlan(holds_cancel=True)
    ),
    "batch_unlisted": fault("a batch is in no list until release()", BatchFaultPlan(is_unlisted=True)),
    "batch_no_output": fault(
        "a batch ends without an output file, although its requests were run",
        BatchFaultPlan(has_output=False),
    ),
    "batch_no_errors": fault(
        "a batch ends without an error file, although requests failed", BatchFaultPlan(has_errors=False)
    ),
    "batch_missing_line": fault(
        "the output lacks the line of one request that was run", BatchFaultPlan(lacks_line=True)
    ),
    "batch_garbage_line": fault(
        "a line that is not JSON is in the middle of the output", BatchFaultPlan(garbage=True)
    ),
    "batch_duplicate_lines": fault("every line of the output occurs twice", BatchFaultPlan(duplicates=True)),
}
BATCH_OK: Final = Fault("batch_ok", BatchFaultPlan())
CALL_OK: Final = Fault("ok", CallPlan())
