"""The values of the API: requests, results, events, options."""

from __future__ import annotations

from openai_images.models.image import Image
from openai_images.models.options import Limits, Timeouts
from openai_images.models.requests import GenerateParams, GenerateRequest
from openai_images.models.results import CompletedImage, ImageEvent, ImageResult, PartialImage, UnknownEvent
from openai_images.models.usage import SvgUsage, TokenDetails, Usage

__all__ = [
    "CompletedImage",
    "GenerateParams",
    "GenerateRequest",
    "Image",
    "ImageEvent",
    "ImageResult",
    "Limits",
    "PartialImage",
    "SvgUsage",
    "Timeouts",
    "TokenDetails",
    "UnknownEvent",
    "Usage",
]
