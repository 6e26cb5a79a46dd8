"""The requests of `POST /images/generations` and `/images/edits`, as URL, headers and body.

Rules: pure; only what was set is sent. Answers are read by `reader.py`, refusals by `refusals.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from openai_images._version import __version__
from openai_images.wire.codec import encode, encode_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.models.requests import GenerateRequest
    from openai_images.wire.uploads import Pictures, Upload

_USER_AGENT = f"openai-images/{__version__}"


@frozen
class HttpRequest:
    """What goes over the wire; always a POST."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | Upload = field(repr=False)


def generation(
    url: str, request: GenerateRequest, headers: Mapping[str, str], *, stream: bool
) -> HttpRequest:
    """A request for pictures; `headers` (authorization, the user's own) win over ours."""
    ours = _headers("application/json", stream)
    return HttpRequest(url, joined(ours, headers), encode_request(request, stream=stream))


def edit(  # noqa: PLR0913  a generation's, the pictures, and what parts them
    url: str,
    body: Mapping[str, Any],
    pictures: Pictures,
    headers: Mapping[str, str],
    *,
    stream: bool,
    boundary: str | None,
) -> HttpRequest:
    """A request for pictures made from `pictures`: a form with this `boundary`, or JSON without one.

    Raises `RequestInvalidError`.
    """
    # Here, so that those who edit nothing need not wait for its import.
    from openai_images.wire.uploads import form, json_form  # noqa: PLC0415

    if boundary is None:
        ours = _headers("application/json", stream)
        return HttpRequest(url, joined(ours, headers), json_form(encode(body), pictures))
    ours = _headers(f"multipart/form-data; boundary={boundary}", stream)
    theirs = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    return HttpRequest(url, joined(ours, theirs), form(body, pictures, boundary))


def _headers(content_type: str, stream: bool) -> dict[str, str]:
    """Base64 hardly compresses, and inflating it costs ten times what decoding it does: we ask for it plain."""
    return {
        "Content-Type": content_type,
        "Accept": "text/event-stream, application/json" if stream else "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": _USER_AGENT,
    }


def joined(ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, str]:
    """Both, and no name twice: theirs win, however they are spelled."""
    names = {name.lower() for name in theirs}
    return {name: value for name, value in ours.items() if name.lower() not in names} | dict(theirs)
