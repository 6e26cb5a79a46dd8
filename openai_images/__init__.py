"""An asyncio client for OpenAI's image generation API, and for all servers that implement it.

Invariants: each name is imported from its module at its first use, so that importing this package is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from openai_images._version import __version__

if TYPE_CHECKING:
    from openai_images.batch.batch import Batch
    from openai_images.batch.input.matrix import expand_matrix
    from openai_images.batch.input.reader import read_batch_items
    from openai_images.batch.items.models import BatchItem, BatchOptions, BatchPlan, BatchSummary
    from openai_images.batch.journal.costs import BatchCosts, ModelCosts, read_batch_costs
    from openai_images.catalog.models import ModelSpec, SizeRules, known_models
    from openai_images.catalog.prices import PUBLISHED_PRICES, ModelPrice, Prices, read_prices
    from openai_images.catalog.sizes import size_of_ratio
    from openai_images.client.client import ImagesClient
    from openai_images.client.stream import ImageStream
    from openai_images.cluster.compaction import OpenClaim, SharedStatus, read_batch_status
    from openai_images.cluster.dask import DaskEngine
    from openai_images.cluster.ray import RayBatch
    from openai_images.cluster.shared_batch import Shard
    from openai_images.errors import (
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        BatchFolderError,
        BatchInputError,
        ClusterError,
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
        SharedLimitError,
        StreamInterruptedError,
    )
    from openai_images.http.endpoint import ApiKey, TokenProvider
    from openai_images.many.outcomes import Outcomes
    from openai_images.models.cost import cost_of, estimate_cost, estimate_cost_range
    from openai_images.models.image import Image
    from openai_images.models.options import Limits, RetryPolicy, Timeouts, Timing
    from openai_images.models.outcomes import Failed, Outcome, Progress, Succeeded
    from openai_images.models.parameters import CallOptions, EditKeywords, GenerateKeywords
    from openai_images.models.requests import (
        EditParams,
        EditRequest,
        GenerateParams,
        GenerateRequest,
        ImageInput,
        ImageReference,
    )
    from openai_images.models.results import (
        CompletedImage,
        ImageEvent,
        ImageResult,
        ModelInfo,
        PartialImage,
        UnknownEvent,
    )
    from openai_images.models.usage import SvgUsage, TokenDetails, Usage
    from openai_images.telemetry.telemetry import Telemetry

_MODULES = {
    "batch.journal.costs": ("BatchCosts", "ModelCosts", "read_batch_costs"),
    "batch.input.reader": ("read_batch_items",),
    "batch.input.matrix": ("expand_matrix",),
    "batch.items.models": ("BatchItem", "BatchOptions", "BatchPlan", "BatchSummary"),
    "batch.batch": ("Batch",),
    "client.client": ("ImagesClient",),
    "cluster.dask": ("DaskEngine",),
    "cluster.ray": ("RayBatch",),
    "cluster.compaction": ("OpenClaim", "SharedStatus", "read_batch_status"),
    "cluster.shared_batch": ("Shard",),
    "http.endpoint": ("ApiKey", "TokenProvider"),
    "many.outcomes": ("Outcomes",),
    "models.image": ("Image",),
    "models.parameters": ("CallOptions", "EditKeywords", "GenerateKeywords"),
    "models.cost": ("cost_of", "estimate_cost", "estimate_cost_range"),
    "models.requests": (
        "EditParams",
        "EditRequest",
        "GenerateParams",
        "GenerateRequest",
        "ImageInput",
        "ImageReference",
    ),
    "models.results": (
        "CompletedImage",
        "ImageEvent",
        "ImageResult",
        "ModelInfo",
        "PartialImage",
        "UnknownEvent",
    ),
    "models.usage": ("SvgUsage", "TokenDetails", "Usage"),
    "models.options": ("Limits", "RetryPolicy", "Timeouts", "Timing"),
    "models.outcomes": ("Failed", "Outcome", "Progress", "Succeeded"),
    "catalog.models": ("ModelSpec", "SizeRules", "known_models"),
    "catalog.prices": ("PUBLISHED_PRICES", "ModelPrice", "Prices", "read_prices"),
    "catalog.sizes": ("size_of_ratio",),
    "client.stream": ("ImageStream",),
    "telemetry.telemetry": ("Telemetry",),
}
"""The module of each public name; the others are exceptions, in `errors`."""
_MODULE_BY_NAME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "PUBLISHED_PRICES",
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "ApiKey",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "BatchCosts",
    "BatchFolderError",
    "BatchInputError",
    "BatchItem",
    "BatchOptions",
    "BatchPlan",
    "BatchSummary",
    "CallOptions",
    "ClusterError",
    "CompletedImage",
    "ConfigurationError",
    "DaskEngine",
    "DecodeError",
    "DownloadError",
    "EditKeywords",
    "EditParams",
    "EditRequest",
    "Failed",
    "GenerateKeywords",
    "GenerateParams",
    "GenerateRequest",
    "Image",
    "ImageEvent",
    "ImageInput",
    "ImageReference",
    "ImageResult",
    "ImageStream",
    "ImagesClient",
    "ImagesError",
    "InternalServerError",
    "Limits",
    "ModelCosts",
    "ModelInfo",
    "ModelPrice",
    "ModelSpec",
    "ModerationBlockedError",
    "NotFoundError",
    "OpenClaim",
    "Outcome",
    "OutcomeUnknownError",
    "Outcomes",
    "PartialImage",
    "PartialResultError",
    "PermissionDeniedError",
    "Prices",
    "Progress",
    "QuotaExhaustedError",
    "RateLimitError",
    "RayBatch",
    "RequestInvalidError",
    "ResponseTooLargeError",
    "RetryPolicy",
    "Shard",
    "SharedLimitError",
    "SharedStatus",
    "SizeRules",
    "StreamInterruptedError",
    "Succeeded",
    "SvgUsage",
    "Telemetry",
    "Timeouts",
    "Timing",
    "TokenDetails",
    "TokenProvider",
    "UnknownEvent",
    "Usage",
    "__version__",
    "cost_of",
    "estimate_cost",
    "estimate_cost_range",
    "expand_matrix",
    "known_models",
    "read_batch_costs",
    "read_batch_items",
    "read_batch_status",
    "read_prices",
    "size_of_ratio",
]


if not TYPE_CHECKING:  # a type checker that sees it accepts every misspelt name

    def __getattr__(name: str) -> object:
        """Import a public name from its module, once."""
        if name not in __all__:
            from openai_images._util.keyword_hints import missing_name  # noqa: PLC0415  only mistakes need it

            raise missing_name(__name__, name, __all__)
        value = getattr(import_module(f"{__name__}.{_MODULE_BY_NAME.get(name, 'errors')}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
