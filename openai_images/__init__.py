"""An asyncio-first client for OpenAI's image generation, and for every server that speaks it.

Names only: each is imported from its module when it is first used, so that importing this package is instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from openai_images._version import __version__

if TYPE_CHECKING:
    from openai_images.client import ImagesClient
    from openai_images.errors import (
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        BatchFolderError,
        BatchInputError,
        ConfigurationError,
        DecodeError,
        DownloadError,
        ImagesError,
        InternalServerError,
        ModerationBlockedError,
        NotFoundError,
        OutcomeUnknownError,
        PartialResultError,
        PermissionDeniedError,
        QuotaExhaustedError,
        RateLimitError,
        RequestInvalidError,
        ResponseTooLargeError,
        StreamInterruptedError,
    )
    from openai_images.http.retry import RetryPolicy
    from openai_images.http.timing import Timing
    from openai_images.models.events import CompletedImage, PartialImage, UnknownEvent
    from openai_images.models.image import Image
    from openai_images.models.options import Limits, Timeouts
    from openai_images.models.outcomes import Failed, Outcome, Progress, Succeeded
    from openai_images.models.request import GenerateRequest
    from openai_images.models.results import ImageResult, SvgUsage, TokenDetails, Usage
    from openai_images.stream import ImageStream

_HOMES = {
    "client": ("ImagesClient",),
    "errors": (
        "APIConnectionError",
        "APIStatusError",
        "APITimeoutError",
        "AuthenticationError",
        "BadRequestError",
        "BatchFolderError",
        "BatchInputError",
        "ConfigurationError",
        "DecodeError",
        "DownloadError",
        "ImagesError",
        "InternalServerError",
        "ModerationBlockedError",
        "NotFoundError",
        "OutcomeUnknownError",
        "PartialResultError",
        "PermissionDeniedError",
        "QuotaExhaustedError",
        "RateLimitError",
        "RequestInvalidError",
        "ResponseTooLargeError",
        "StreamInterruptedError",
    ),
    "http.retry": ("RetryPolicy",),
    "http.timing": ("Timing",),
    "models": (
        "CompletedImage",
        "GenerateRequest",
        "Image",
        "ImageResult",
        "Limits",
        "PartialImage",
        "SvgUsage",
        "Timeouts",
        "TokenDetails",
        "UnknownEvent",
        "Usage",
    ),
    "models.outcomes": ("Failed", "Outcome", "Progress", "Succeeded"),
    "stream": ("ImageStream",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BatchFolderError",
    "BatchInputError",
    "CompletedImage",
    "ConfigurationError",
    "DecodeError",
    "DownloadError",
    "Failed",
    "GenerateRequest",
    "Image",
    "ImageResult",
    "ImageStream",
    "ImagesClient",
    "ImagesError",
    "InternalServerError",
    "Limits",
    "ModerationBlockedError",
    "NotFoundError",
    "Outcome",
    "OutcomeUnknownError",
    "PartialImage",
    "PartialResultError",
    "PermissionDeniedError",
    "Progress",
    "QuotaExhaustedError",
    "RateLimitError",
    "RequestInvalidError",
    "ResponseTooLargeError",
    "RetryPolicy",
    "StreamInterruptedError",
    "Succeeded",
    "SvgUsage",
    "Timeouts",
    "Timing",
    "TokenDetails",
    "UnknownEvent",
    "Usage",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Import a public name from its module, once."""
    if name not in _HOME_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
