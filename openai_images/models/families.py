"""The model that a dated snapshot belongs to: prices, tokens and rules are the same for all of them."""

from __future__ import annotations

import re

__all__ = ["model_family"]

_SNAPSHOT = re.compile(r"-[0-9]{4}-[0-9]{2}-[0-9]{2}")


def model_family(model: str) -> str:
    """`gpt-image-2` for `gpt-image-2-2026-04-21`; a name without a date is its own."""
    return model[:-11] if _SNAPSHOT.fullmatch(model[-11:]) else model
