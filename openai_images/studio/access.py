"""Access control of the studio: only the browser that opened its address, no other page, host or machine.

Invariants: the Host of every request is this address (no DNS rebinding); a request from another site's page is
rejected, also from another port of this machine, because browsers send cookies to all ports. The token of the address
works once: it is exchanged for a cookie that scripts cannot read and that ends with this process.
Must not: log or show the token or the cookie.
"""

from __future__ import annotations

import secrets
from hmac import compare_digest
from types import MappingProxyType
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

__all__ = ["Access"]

_HEADERS: Final = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
_HOSTS: Final = ("127.0.0.1", "localhost")
_USED: Final = (
    "This address was used already, or belongs to an earlier run. Stop the studio (Ctrl-C) and start it again: it "
    "prints a new one."
)

# Not a redirect: after a link on another site, a browser would follow a redirect without the cookie.
_ENTRY: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
    '<link rel="icon" href="data:,">'
    '<title>Studio</title><p><a href="/">Open the studio</a></p></html>'
)


class Access:
    """The token of one address, and the cookie that replaces it."""

    def __init__(self) -> None:
        self.token: str | None = secrets.token_urlsafe(24)
        self._session = secrets.token_urlsafe(32)

    def middleware(self) -> Middleware:
        """Return the middleware that checks every request."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if (refusal := self._refuse(request)) is not None:
                return web.Response(status=refusal[0], text=refusal[1])
            if request.path == "/" and "token" in request.query and request.method == "GET":
                return self._exchange(request)
            if not self._has_cookie(request):
                return web.Response(status=401, text=_USED)
            return await handler(request)

        return guard

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG002
        """Add the headers of every response; a signal handler of the app."""
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)

    def _refuse(self, request: web.Request) -> tuple[int, str] | None:
        if request.host not in {f"{host}:{_port(request)}" for host in _HOSTS}:
            return 403, "This host is not the studio."
        origin = request.headers.get("Origin")
        is_read = request.method in {"GET", "HEAD"}
        if origin != f"http://{request.host}" and not (origin is None and is_read):
            return 403, "Another page may not use the studio."
        is_page = (
            is_read and request.path == "/" and request.headers.get("Sec-Fetch-Dest") in {None, "document"}
        )
        # A link to the page may be anywhere; its images and data are only for the page itself.
        if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"} and not is_page:
            return 403, "Another page may not use the studio."
        return None

    def _exchange(self, request: web.Request) -> web.Response:
        """Answer the address with the token; the first response sets the cookie."""
        response = web.Response(text=_ENTRY, content_type="text/html")
        if self._has_cookie(request):
            return response
        if self.token is None or not compare_digest(self.token.encode(), request.query["token"].encode()):
            return web.Response(status=401, text=_USED)
        self.token = None
        response.set_cookie(_cookie(request), self._session, httponly=True, samesite="Strict", path="/")
        return response

    def _has_cookie(self, request: web.Request) -> bool:
        given = request.cookies.get(_cookie(request), "")
        return compare_digest(given.encode(), self._session.encode())


def _port(request: web.Request) -> int:
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("sockname")
    return name[1] if name else 0


def _cookie(request: web.Request) -> str:
    # Cookies do not depend on the port: two studios must not overwrite each other's.
    return f"openai-images-studio-{_port(request)}"
