"""`GET /`: a page with the server's address, its recent requests, and how to use it.

Invariants: texts of requests are escaped and shortened; the page loads nothing, runs no script and cannot be framed;
foreign hosts are rejected as on every path.
Must not: show the key, which may be a real one.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from openai_images.server.images.delivery import local_address
from openai_images.server.protocol.catalog import DEFAULT_MODEL, served_models
from openai_images.server.requests.records import RecentRequest, RecentRequests
from openai_images.server.requests.settings import ServerSettings

_REFRESH_SECONDS: Final = 2
_PROMPT: Final = "a lighthouse"
_NOT_LISTED: Final = frozenset({"/", "/favicon.ico"})  # requested by a browser for this page


def add_start_page(app: web.Application, settings: ServerSettings, recent: RecentRequests) -> None:
    """Serve the page at `/`, and record the requests from now on for it."""
    app.middlewares.insert(0, _recorder(recent, settings))
    app.router.add_get("/", _page_handler(recent, settings))


def answered_status(response: web.StreamResponse) -> int:
    """Return the status that was sent; 0 if the connection was closed without a response."""
    hung_up = isinstance(response, web.Response) and response.body is None and not response.prepared
    return 0 if hung_up else response.status


def _recorder(recent: RecentRequests, settings: ServerSettings) -> Middleware:
    @web.middleware
    async def record(request: web.Request, handler: Handler) -> web.StreamResponse:
        started, status = settings.clock(), 0
        try:
            response = await handler(request)
            status = answered_status(response)
            return response
        finally:
            details = recent.pop_details(request)
            if request.path not in _NOT_LISTED:
                seconds = settings.clock() - started
                recent.add(
                    RecentRequest(settings.now(), seconds, request.method, request.path, status, details)
                )

    return record


def _page_handler(recent: RecentRequests, settings: ServerSettings) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        text = render(recent, settings, _base_url(request), refreshes="refresh" in request.query)
        return web.Response(text=text, content_type="text/html", headers=_headers())

    return handle


def _base_url(request: web.Request) -> str:
    host, port = local_address(request)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


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


def render(recent: RecentRequests, settings: ServerSettings, url: str, *, refreshes: bool) -> str:
    """Return the page; with `refreshes` the browser reloads it every few seconds."""
    link, words = ("/", "Stop") if refreshes else ("/?refresh", f"Refresh every {_REFRESH_SECONDS} s")
    shown = len(recent.last)
    count = "1 request" if shown == 1 else f"{shown} requests, the newest first"
    if recent.total > shown:
        count = f"The last {shown} of {recent.total:,} requests, the newest first"
    return Template(_template()).substitute(
        refresh=f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">' if refreshes else "",
        url=escape(url),
        links=f'<a href="{"/?refresh" if refreshes else "/"}">Refresh</a> <a href="{link}">{words}</a>',
        count=f"{count}." if recent.total else "Each request is listed here when it has been answered.",
        requests=_table(recent),
        ways="\n".join(_ways(url)),
        facts="\n".join(_facts(settings)),
    )


def _table(recent: RecentRequests) -> str:
    if not recent.last:
        return '<p class="empty">No requests yet. Try one of the commands below.</p>'
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Time", "Status", "Request", "Model", "Prompt", "Took")
    )
    rows = "\n".join(map(_row, reversed(recent.last)))
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _row(request: RecentRequest) -> str:
    at = datetime.fromtimestamp(request.at, UTC).astimezone()
    kind = "good" if 200 <= request.status < 300 else "bad" if request.status >= 400 else "gone"
    status = str(request.status) if request.status else "closed"
    fault, model, prompt = request.details
    took = f"{request.seconds * 1000:.0f} ms" if request.seconds < 1 else f"{request.seconds:.2f} s"
    cells = (
        ("time", f'<time datetime="{at.isoformat(timespec="seconds")}">{at:%H:%M:%S}</time>'),
        ("status-cell", f'<span class="status {kind}">{status}</span>'),
        ("path", escape(f"{request.method} {request.path}") + _fault_note(fault)),
        ("model", escape(model)),
        ("prompt", f'<q dir="auto">{escape(prompt)}</q>' if prompt else ""),
        ("seconds", took),
    )
    row = "".join(f'<td class="{name}">{text}</td>' for name, text in cells)
    return f"<tr>{row}</tr>"


def _fault_note(fault: str) -> str:
    return "" if fault == "ok" else f"<small>fault {escape(fault)}</small>"


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
