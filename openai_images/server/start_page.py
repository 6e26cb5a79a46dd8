"""`GET /`: a page with the server's address, its recent requests, and how to use it.

Invariants: texts of requests are escaped and shortened; the page loads nothing, runs no script and cannot be framed;
foreign hosts are rejected as on every path.
Must not: show the key, which may be a real one.
"""

import base64
import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from openai_images.server.protocol.catalog import DEFAULT_MODEL, served_models
from openai_images.server.requests.settings import ServerSettings
from openai_images.server.requests.state import RecentRequest, ServerState, local_address, origin

_REFRESH_SECONDS: Final = 2
_PROMPT: Final = "a lighthouse"


def page_handler(state: ServerState) -> Handler:
    """Return the handler of the page."""

    async def handle(request: web.Request) -> web.StreamResponse:
        url = f"{origin(*local_address(request))}/v1"
        text = _render(state, url, refreshes="refresh" in request.query)
        return web.Response(text=text, content_type="text/html", headers=_headers())

    return handle


@cache
def _template() -> str:
    return files("openai_images.server").joinpath("start_page.html").read_text("utf-8")


@cache
def _headers() -> Mapping[str, str]:
    style = _template().partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        "content-security-policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        ),
        "cache-control": "no-store",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "server": "openai-images-local",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }


def _render(state: ServerState, url: str, *, refreshes: bool) -> str:
    """Return the page; with `refreshes` the browser reloads it every few seconds."""
    link, words = ("/", "Stop") if refreshes else ("/?refresh", f"Refresh every {_REFRESH_SECONDS} s")
    shown = len(state.recent)
    count = "1 request" if shown == 1 else f"{shown} requests, the newest first"
    if state.answered > shown:
        count = f"The last {shown} of {state.answered:,} requests, the newest first"
    return Template(_template()).substitute(
        refresh=f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">' if refreshes else "",
        url=escape(url),
        links=f'<a href="{"/?refresh" if refreshes else "/"}">Refresh</a> <a href="{link}">{words}</a>',
        count=f"{count}." if shown else "Each request is listed here when it has been answered.",
        requests=_table(state.recent),
        ways="\n".join(_ways(url)),
        facts="\n".join(_facts(state.settings)),
    )


def _table(recent: deque[RecentRequest]) -> str:
    if not recent:
        return '<p class="empty">No requests yet. Try one of the commands below.</p>'
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Time", "Status", "Request", "Model", "Prompt", "Took")
    )
    rows = "\n".join(map(_row, reversed(recent)))
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _row(request: RecentRequest) -> str:
    at = datetime.fromtimestamp(request.at, UTC).astimezone()
    kind = "good" if 200 <= request.status < 300 else "bad" if request.status >= 400 else "gone"
    status = str(request.status) if request.status else "closed"
    took = f"{request.seconds * 1000:.0f} ms" if request.seconds < 1 else f"{request.seconds:.2f} s"
    cells = (
        ("time", f'<time datetime="{at.isoformat(timespec="seconds")}">{at:%H:%M:%S}</time>'),
        ("status-cell", f'<span class="status {kind}">{status}</span>'),
        ("path", escape(f"{request.method} {request.path}") + _fault_note(request.fault)),
        ("model", escape(request.model)),
        ("prompt", f'<q dir="auto">{escape(request.prompt)}</q>' if request.prompt else ""),
        ("seconds", took),
    )
    row = "".join(f'<td class="{name}">{text}</td>' for name, text in cells)
    return f"<tr>{row}</tr>"


def _fault_note(fault: str) -> str:
    return "" if fault in {"ok", "download_ok"} else f"<small>fault {escape(fault)}</small>"


_PYTHON: Final = f"""\
import asyncio

from openai_images import ImagesClient

client = ImagesClient(model="{DEFAULT_MODEL}")
result = asyncio.run(client.generate("{_PROMPT}"))
result.image.save("lighthouse.png")"""
_CURL: Final = f"""\
curl $OPENAI_BASE_URL/images/generations \\
  -H "Authorization: Bearer $OPENAI_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{DEFAULT_MODEL}", "prompt": "{_PROMPT}"}}'"""
_COMMAND: Final = f'openai-images generate "{_PROMPT}" -o lighthouse.png'


def _ways(url: str) -> Iterator[str]:
    variables = f"export OPENAI_BASE_URL={url}\nexport OPENAI_API_KEY=the-key-that-was-printed"
    ways = (
        ("Environment variables, for every client", variables),
        ("curl", _CURL),
        ("On the command line", _COMMAND),
        ("Python", _PYTHON),
    )
    for name, code in ways:
        yield f'<article class="way"><h3>{name}</h3><pre><code>{escape(code, quote=False)}</code></pre></article>'


def _facts(settings: ServerSettings) -> Iterator[str]:
    rates = ((settings.images_per_minute, "images"), (settings.requests_per_minute, "requests"))
    limits = [f"{rate:,} {unit} per minute" for rate, unit in rates if rate is not None]
    models = ", ".join(
        f"<span>{escape(name)}</span>" for name in served_models(settings.now(), legacy=settings.legacy)
    )
    pace = f"{settings.pace:g} s from one partial image to the next" if settings.pace else "as fast as it can"
    facts = (
        ("Models", models),
        ("Rate limit", " and ".join(limits) or "none"),
        ("Pace", pace),
        (
            "Paths",
            "POST /v1/images/generations, POST /v1/images/edits, GET /v1/models, /v1/files, /v1/batches",
        ),
    )
    yield from (f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts)
