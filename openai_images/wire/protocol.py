"""The request of `POST /images/generations`, as URL, headers and body.

Rules: pure; only what was set is sent. Answers are read by `reader.py`, refusals by `refusals.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from openai_images._version import __version__
from openai_images.wire.codec import encode_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.models.request import GenerateRequest

__all__ = ["HttpRequest", "generation", "joined"]

_USER_AGENT = f"openai-images/{__version__}"


@frozen
class HttpRequest:
    """What goes over the wire; always a POST."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def generation(
    url: str, request: GenerateRequest, headers: Mapping[str, str], *, stream: bool
) -> HttpRequest:
    """A request for pictures; `headers` (authorization, the user's own) win over ours.

    Base64 hardly compresses, and inflating it costs ten times what decoding it does: we ask for it plain.
    """
    ours = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json" if stream else "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": _USER_AGENT,
    }
    return HttpRequest(url, joined(ours, headers), encode_request(request, stream=stream))


def joined(ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, str]:
    """Both, and no name twice: theirs win, however they are spelled."""
    names = {name.lower() for name in theirs}
    return {name: value for name, value in ours.items() if name.lower() not in names} | dict(theirs)
