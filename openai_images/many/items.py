"""What many calls are asked for: an item for each thing that was given.

Rules: pure; what cannot be a request is told with its place, and never quotes a prompt. Parameters for all are laid
under each request's own. It refuses to repair: a number that came as text is told, not turned into one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, fields_dict, frozen

from openai_images._util.json import is_mapping
from openai_images.errors import RequestInvalidError
from openai_images.many.keys import file_name, index_key
from openai_images.models.requests import GenerateRequest

_NOTHING: Mapping[str, Any] = {}


@frozen
class Item:
    """One of many requests: its place, counted from 0, the key that names it, and what is asked."""

    index: int
    key: str
    request: GenerateRequest


def item_of(index: int, given: object, defaults: Mapping[str, Any] = _NOTHING) -> Item:
    """The item number `index` from a prompt, a request, a mapping of parameters, or an `Item` (as it is).

    A mapping has the endpoint's parameters, `prompt` and, if it likes, `key`; None counts as not set there. One with an
    `image` is an `EditRequest`.
    `defaults` hold for what a request does not set; `extra_body` is merged name by name. Raises
    `RequestInvalidError`.
    """
    if isinstance(given, Item):
        return given
    try:
        return Item(index, key_of(index, given), _checked(_request_of(given, defaults)))
    except RequestInvalidError as error:
        msg = f"request {index}: {error}"
        raise RequestInvalidError(msg) from None


def key_of(index: int, given: object) -> str:
    """The key in what was given, or the place with leading zeros. Raises `RequestInvalidError`."""
    key = given.get("key") if is_mapping(given) else None
    if key is None:
        return index_key(index)
    if isinstance(key, bool) or not isinstance(key, str | int):
        msg = f"its key must be text, not {type(key).__name__}"
        raise RequestInvalidError(msg)
    if not file_name(str(key)):
        msg = f"its key {str(key)[:40]!r} leaves nothing that could name a file; use letters or digits"
        raise RequestInvalidError(msg)
    return str(key)


def defaults_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """What of these keywords is set. Raises TypeError and `RequestInvalidError`."""
    _checked(GenerateRequest.of("", params))
    return {name: value for name, value in params.items() if value is not None}


def _request_of(given: object, defaults: Mapping[str, Any]) -> GenerateRequest:
    if isinstance(given, str):
        return GenerateRequest(given, **defaults)
    if isinstance(given, GenerateRequest):
        own = {name: getattr(given, name) for name in defaults}
        return evolve(given, **_laid_over(defaults, own))
    if not is_mapping(given):
        what = "a prompt (str), a GenerateRequest, an EditRequest or a mapping with 'prompt'"
        msg = f"it must be {what}, not {type(given).__name__}"
        raise RequestInvalidError(msg)
    own = {name: value for name, value in given.items() if name != "key"}
    kind = _kind_of(own)
    unknown = [str(name)[:40] for name in own if name not in fields_dict(kind)]
    if unknown:
        msg = f"unknown parameter {unknown[0]!r}; what this version does not know goes into extra_body"
        raise RequestInvalidError(msg)
    if own.get("prompt") is None:
        msg = "it has no 'prompt'"
        raise RequestInvalidError(msg)
    return kind(own.pop("prompt"), **_laid_over(defaults, own))


def _kind_of(own: Mapping[str, Any]) -> type[GenerateRequest]:
    """An `EditRequest` where there is a picture to edit."""
    if own.get("image") is None:
        return GenerateRequest
    # Here, so that those who edit nothing need not wait for its import.
    from openai_images.models.requests import EditRequest  # noqa: PLC0415

    return EditRequest


def _laid_over(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults, and over them what is set."""
    both = {**defaults, **{name: value for name, value in own.items() if value is not None}}
    common, more = defaults.get("extra_body"), own.get("extra_body")
    if is_mapping(common) and is_mapping(more):
        both["extra_body"] = {**common, **more}
    return both


def _checked(request: GenerateRequest) -> GenerateRequest:
    """The request, if what the client itself counts with is of its kind; the rest is the server's to judge."""
    pictures: Any = request.n  # callers may be untyped
    if pictures is not None and (isinstance(pictures, bool) or not isinstance(pictures, int)):
        msg = f"n must be a whole number, not {type(pictures).__name__}"
        raise RequestInvalidError(msg)
    if request.extra_body is not None and not is_mapping(request.extra_body):
        msg = f"extra_body must be a mapping, not {type(request.extra_body).__name__}"
        raise RequestInvalidError(msg)
    return request
