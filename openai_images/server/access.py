"""Decides from the head of a request whether it is answered: by the names in Host and Origin, and by the key.

Rules: a page of another site cannot reach the server, neither under a name of its own that leads to this machine (DNS
rebinding) nor with a form it posts; a client outside a browser, which sends no Origin, notices nothing. It refuses to
look at a body.
"""

import hmac
import re
from typing import Final

from aiohttp import web

from openai_images.server.error_replies import Reply, error_reply, invalid_key, missing_key
from openai_images.server.options import is_loopback

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:@/\s]+)(?::[0-9]*)?", re.IGNORECASE)


def refuse_foreign(request: web.Request, bound: str) -> Reply | None:
    """The 403 for a request under another name than one of loopback or `bound`, or from another site; else None."""
    for host in request.headers.getall("Host", ()):
        if not _is_here(host, bound):
            return _foreign("Host", host, "host_not_allowed")
    for origin in request.headers.getall("Origin", ()):
        scheme, _, host = origin.partition("://")
        if scheme.lower() not in {"http", "https"} or not _is_here(host, bound):
            return _foreign("Origin", origin, "origin_not_allowed")
    return None


def refuse_stranger(request: web.Request, api_key: str) -> Reply | None:
    """The 401 for a request without the right key, or None."""
    given = request.headers.get("authorization")
    if given is None:
        return missing_key()
    scheme, _, key = given.partition(" ")
    right = hmac.compare_digest(key.strip().encode("utf-8", "replace"), api_key.encode())
    return None if scheme.lower() == "bearer" and right else invalid_key(key.strip())


def _is_here(host: str, bound: str) -> bool:
    """Whether `host`, with or without a port, is a name of this machine."""
    match = _HOST.fullmatch(host.strip())
    name = "" if match is None else match[1].strip("[]").rstrip(".").lower()
    return name in {"localhost", bound} or is_loopback(name)


def _foreign(header: str, value: str, code: str) -> Reply:
    message = (
        f"The local images server does not answer requests with the header '{header}: {value[:200]}'. "
        "Use an address of this machine: 127.0.0.1, localhost or [::1]."
    )
    return error_reply(403, message, code=code)
