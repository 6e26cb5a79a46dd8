"""Faults of downloads: what may go wrong when the image behind a URL is fetched.

Invariants: names begin with `download_`; each is about one GET, and the image itself is unchanged.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import attrs

from openai_images.server.error_replies import Reply, error_reply
from openai_images.server.faults.plan import (
    MEGABYTES,
    STATUS,
    Argument,
    FaultType,
    Plan,
    fault,
    fault_with_argument,
)
from openai_images.server.faults.statuses import html_page, status_reply

_EXPIRED: Final = (
    b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code><Message>Server failed '
    b"to authenticate the request.</Message><AuthenticationErrorDetail>Signature not valid in the specified time frame"
    b"</AuthenticationErrorDetail></Error>"
)

_URL: Final = Argument(str, lambda url: url.isprintable() and " " not in url, "a url")

Body = Literal["whole", "cut", "reset", "endless", "stalled", "empty"]


@attrs.frozen(kw_only=True)
class DownloadInfo:
    """The port and the path (with its query) of a download."""

    port: int
    path: str
    hop: str


@attrs.frozen(kw_only=True)
class DownloadPlan(Plan):
    """How one download differs from the normal one, which is the default."""

    reply: Callable[[], Reply] | None = None
    location: Callable[[DownloadInfo], str] | None = None
    body: Body = "whole"
    megabytes: float | None = None


def _redirect(url: str) -> DownloadPlan:
    return DownloadPlan(location=lambda info: url or f"http://localhost:{info.port}{next_hop(info, '1')}")


def _reply(reply: Reply) -> DownloadPlan:
    return DownloadPlan(reply=lambda: reply)


def next_hop(info: DownloadInfo, hop: str) -> str:
    """The path of a download after one more redirect."""
    path, _, query = info.path.partition("?")
    kept = [pair for pair in query.split("&") if pair and not pair.startswith("hop=")]
    return f"{path}?{'&'.join([*kept, f'hop={hop}'])}"


def _in_circles(info: DownloadInfo) -> str:
    return next_hop(info, "loop-b" if info.hop == "loop-a" else "loop-a")


LOOP: Final = DownloadPlan(location=_in_circles)

DOWNLOAD_FAULTS: Final[Mapping[str, FaultType[DownloadPlan]]] = {
    "download_ok": fault("no fault for this download", DownloadPlan()),
    "download_status": fault_with_argument(
        "download_status:NNN (500) a download gets that HTTP status",
        "500",
        STATUS,
        lambda status: _reply(status_reply(status)),
    ),
    "download_404": fault(
        "a download finds nothing: 404",
        _reply(error_reply(404, "The picture was not found.", code="not_found")),
    ),
    "download_expired_403": fault(
        "a download comes too late: 403 with the XML of a storage",
        _reply(Reply(403, _EXPIRED, "application/xml")),
    ),
    "download_500_then_ok": fault(
        "500 for this download, the picture for the next",
        DownloadPlan(reply=lambda: status_reply(500), every_other=True),
    ),
    "download_redirect": fault_with_argument(
        "download_redirect:URL (this server under another host name) a download is sent there, 302",
        "",
        _URL,
        _redirect,
    ),
    "download_redirect_relative": fault(
        "a download is sent to a relative url that works",
        DownloadPlan(location=lambda info: next_hop(info, "1")),
    ),
    "download_redirect_other_host": fault(
        "a download is sent to this server under the name localhost", _redirect("")
    ),
    "download_redirect_link_local": fault(
        "a download is sent to http://169.254.169.254/latest/meta-data/",
        _redirect("http://169.254.169.254/latest/meta-data/"),
    ),
    "download_redirect_file": fault(
        "a download is sent to file:///etc/passwd", _redirect("file:///etc/passwd")
    ),
    "download_redirect_loop": fault("a download is sent from here to there and back, for ever", LOOP),
    "download_endless": fault("a download begins as a picture and never ends", DownloadPlan(body="endless")),
    "download_huge": fault_with_argument(
        "download_huge:MB (100) a download of that many megabytes",
        "100",
        MEGABYTES,
        lambda megabytes: DownloadPlan(megabytes=megabytes),
    ),
    "download_cut": fault("a download ends after half of its declared length", DownloadPlan(body="cut")),
    "download_reset": fault("TCP reset after half of a download", DownloadPlan(body="reset")),
    "download_html": fault("a download gives an HTML page", _reply(html_page(200))),
    "download_empty": fault("a download gives nothing, with status 200", DownloadPlan(body="empty")),
    "download_stall": fault("a download gives not even headers until release()", DownloadPlan(hold=True)),
    "download_stall_mid_body": fault(
        "a download gives its first half, then nothing until release()", DownloadPlan(body="stalled")
    ),
}
