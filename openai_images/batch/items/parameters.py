"""The parameters of a request as plain values (text, numbers and booleans) for columns.

Invariants: pure; structured values become JSON text; input images are named by path, URL or id.
Must not: return the bytes of an image, the id of a user, or, without `prompts`, anything that may contain a prompt.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any, Final, cast

from openai_images._util.plain_json import json_value
from openai_images.models.requests import GenerateRequest, ImageReference, as_list, set_parameters

_LEFT_OUT: Final = frozenset({"user", "safety_identifier", "as_json"})
_PROMPTS: Final = frozenset({"prompt", "extra_body"})

encode_plain = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=float
).encode
"""Encodes compact JSON in which a Decimal is a number. Raises TypeError and ValueError."""


def plain_parameters(request: GenerateRequest, *, prompts: bool) -> dict[str, Any]:
    """Return the parameters that are set; without `prompts`, neither the prompt nor `extra_body`."""
    left_out = _LEFT_OUT if prompts else _LEFT_OUT | _PROMPTS
    return {
        name: _plain(name, value) for name, value in set_parameters(request).items() if name not in left_out
    }


def plain_parameter_names(requests: Iterable[GenerateRequest], *, prompts: bool) -> dict[str, None]:
    """Return the names that `plain_parameters` returns for any of these requests, in order of appearance."""
    left_out = _LEFT_OUT if prompts else _LEFT_OUT | _PROMPTS
    names = dict.fromkeys(name for request in requests for name in set_parameters(request))
    return {name: None for name in names if name not in left_out}


def _plain(name: str, value: Any) -> Any:
    """Return a value as one cell: text, a number or a boolean; JSON text for structured values."""
    if name in ("image", "mask", "markup"):
        names = [_source_name(source) for source in as_list(value)]
        return names[0] if len(names) == 1 else encode_plain(names)
    if isinstance(value, str | int):
        return value
    try:
        return encode_plain(value)
    except (TypeError, ValueError, RecursionError):
        return encode_plain(json_value(value))


def _source_name(source: object) -> str:
    """Return an input image's path, URL or id; never its bytes."""
    if isinstance(source, ImageReference):
        source = source.image_url or source.file_id or ""
    if isinstance(source, os.PathLike):
        source = str(cast("os.PathLike[str]", source))
    is_name = isinstance(source, str) and not source.startswith("data:")
    return source if is_name and isinstance(source, str) else f"<{type(source).__name__}>"
