"""How many images each of the requests has that a large `n` is split into.

Invariants: pure; an `n` in `extra_body` is sent unchanged.
Must not: repair an `n` that is no number or too large; validation and the server judge it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from openai_images._util.json import is_mapping
from openai_images.catalog.models import MAX_IMAGES_PER_CALL, find_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.models.requests import GenerateRequest

_AT_ONCE: Final = 10
"""Pictures of one request where nothing else is known."""


def split_counts(request: GenerateRequest, *, stream: bool) -> tuple[int, ...]:
    """How many pictures each of several requests is to ask for; nothing where the request goes as it is."""
    number: Any = request.n  # callers may be untyped
    extra = request.extra_body or {}
    if (
        type(number) is not int
        or not 1 < number <= MAX_IMAGES_PER_CALL
        or not is_mapping(extra)
        or "n" in extra
    ):
        return ()
    most = 1 if stream or extra.get("stream") is True else _max_images(request, extra)
    whole, rest = divmod(number, most)
    shares = (most,) * whole + ((rest,) if rest else ())
    return shares if len(shares) > 1 else ()


def global_index(index: int, first: int, count: int) -> int:
    """The place among all pictures of the one that a part's server counts as `index`, within the part's own."""
    return first + min(max(index, 0), count - 1)


def _max_images(request: GenerateRequest, extra: Mapping[str, Any]) -> int:
    """Pictures of one request of this kind that is no stream."""
    if extra.get("output_format", request.output_format) == "svg":
        return 1
    name = extra.get("model", request.model)
    model = find_model(name)[0] if isinstance(name, str) else None
    return _AT_ONCE if model is None else min(model.max_images, _AT_ONCE)
