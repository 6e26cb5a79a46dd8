"""Faults of downloads: the GET of an image by its URL.

Invariants: a redirect has its hop in the query, so that the server recognizes its own redirects.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import attrs

from openai_images.server.faults.plan import (
    MEGABYTES,
    STATUS,
    Fault,
    FaultType,
    Plan,
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
    """How one download differs from a normal one, which is the default.

    `location` makes the target of a redirect from the port, the path with its query, and the hop in the query.
    """

    reply: Reply | None = None
    location: Callable[[int, str, str], str] | None = None
    body: Body = "whole"
    megabytes: float | None = None


def _redirect(url: str) -> DownloadPlan:
    return DownloadPlan(
        location=lambda port, path, _: url or f"http://localhost:{port}{_next_hop(path, '1')}"
    )


def _next_hop(url: str, hop: str) -> str:
    path, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith("hop=")]
    return f"{path}?{'&'.join([*kept, f'hop={hop}'])}"


LOOP: Final = DownloadPlan(
    location=lambda _, path, hop: _next_hop(path, "loop-b" if hop == "loop-a" else "loop-a")
)

DOWNLOAD_FAULTS: Final[Mapping[str, FaultType[DownloadPlan]]] = {
    "download_ok": fault("no fault for this download", DownloadPlan()),
    "download_status": fault_with_argument(
        "download_status:NNN (500) a download gets that HTTP status",
        "500",
        STATUS,
        lambda status: DownloadPlan(reply=status_reply(status)),
    ),
    "download_404": fault(
        "a download gets a 404",
        DownloadPlan(reply=error_reply(404, "The image was not found.", code="not_found")),
    ),
    "download_expired_403": fault(
        "a download of an expired URL: 403 with the XML of a storage service",
        DownloadPlan(reply=Reply(403, _EXPIRED, "application/xml")),
    ),
    "download_500_then_ok": fault(
        "500 for this download, the image for the next",
        DownloadPlan(reply=status_reply(500), every_other=True),
    ),
    "download_redirect": fault_with_argument(
        "download_redirect:URL (this server under another host name) a download is redirected there, 302",
        "",
        _URL,
        _redirect,
    ),
    "download_redirect_relative": fault(
        "a download is redirected to a relative URL that works",
        DownloadPlan(location=lambda _, path, __: _next_hop(path, "1")),
    ),
    "download_redirect_other_host": fault(
        "a download is redirected to this server under the name localhost", _redirect("")
    ),
    "download_redirect_link_local": fault(
        "a download is redirected to http://169.254.169.254/latest/meta-data/",
        _redirect("http://169.254.169.254/latest/meta-data/"),
    ),
    "download_redirect_file": fault(
        "a download is redirected to file:///etc/passwd", _redirect("file:///etc/passwd")
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
    "download_html": fault("a download returns an HTML page", DownloadPlan(reply=html_page(200))),
    "download_empty": fault("a download returns an empty body with status 200", DownloadPlan(body="empty")),
    "download_stall": fault(
        "a download returns nothing, not even headers, until release()", DownloadPlan(hold=True)
    ),
    "download_stall_mid_body": fault(
        "a download returns its first half, then nothing until release()", DownloadPlan(body="stalled")
    ),
}

DOWNLOAD_OK: Final = Fault("download_ok", DownloadPlan())
