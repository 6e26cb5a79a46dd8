"""The JavaScript for browsers: one ES module without dependencies, served by each adapter.

Invariants: it is served only as JavaScript.
Must not: be built; browsers run the file unchanged.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

__all__ = ["SCRIPT_HEADERS", "read_script"]

SCRIPT_HEADERS: Final = MappingProxyType(
    {
        "Content-Type": "text/javascript; charset=utf-8",
        "Cache-Control": "public, max-age=3600",
        "X-Content-Type-Options": "nosniff",
    }
)


@cache
def read_script() -> bytes:
    """Return the text of the JavaScript module."""
    return files("openai_images.web").joinpath("openai-images.js").read_bytes()
