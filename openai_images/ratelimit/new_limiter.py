"""Chooses the limiter of a client: its own limits, or those that it shares through Redis.

Invariants: the shared one is imported only where it is configured.
"""

from __future__ import annotations

from typing import Any

from openai_images.errors import ConfigurationError
from openai_images.models.options import Limits, Timing
from openai_images.ratelimit.limiter import Limiter


def new_limiter(limits: Limits, timing: Timing) -> Limiter:
    """Make the limiter that the limits ask for.

    Raises `ConfigurationError` for other objects, or if a package is missing for it.
    """
    kind: Any = type(limits)  # callers may be untyped
    if not issubclass(kind, Limits):
        raise ConfigurationError(
            f"limits must be Limits(…), not {kind.__name__}, such as Limits(concurrency=…)"
        )
    if limits.shared is None:
        return Limiter(limits, timing)
    from openai_images.ratelimit.shared import SharedLimiter  # noqa: PLC0415  an extra

    return SharedLimiter(limits, timing)
