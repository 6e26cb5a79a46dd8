"""What an error means for the row of its item, and for the batch.

Invariants: pure; an error that all items would get without being executed stops the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from attrs import frozen

from openai_images.catalog.prices import Prices
from openai_images.errors import AuthenticationError, ConfigurationError, ImagesError, PartialResultError
from openai_images.many.failure_streaks import ends_all
from openai_images.models.cost import cost_of
from openai_images.models.image import Image, is_remote
from openai_images.models.results import ImageResult


@frozen
class FailureVerdict:
    """What an error means for an item's row: its state, whether it was billed, its cost, the images to keep."""

    state: Literal["refused", "failed", "unknown"]
    billed: bool = False
    cost: Decimal | None = None
    images: Sequence[Image] = ()


def classify_failure(error: ImagesError, model: str | None, prices: Prices) -> FailureVerdict:
    """Return the verdict on an error: `refused` if not executed, `unknown` if the outcome is unknown, else `failed`."""
    if error.safe_to_resend or stops_batch(error):
        return FailureVerdict("refused")
    if isinstance(error, PartialResultError):
        result: ImageResult = error.result
        unknown = any(part.maybe_billed for part in error.errors)
        cost = None if unknown else cost_of(result, model, prices)
        local = [image for image in result.images if not is_remote(image)]
        state: Literal["failed", "unknown"] = "unknown" if unknown else "failed"
        return FailureVerdict(state, billed=True, cost=cost, images=[*local, *error.damaged])
    images = [image for image in error.images if isinstance(image, Image) and not is_remote(image)]
    images += error.damaged
    if error.maybe_billed or images:
        return FailureVerdict("unknown", billed=True, images=images)
    return FailureVerdict("failed")


def stops_batch(error: ImagesError) -> bool:
    """Return whether all items would get this error without being executed: no quota, no key, a lasting limit."""
    return isinstance(error, AuthenticationError | ConfigurationError) or ends_all(error)


def remote_urls(error: ImagesError) -> list[str]:
    """Return the URLs of images of this error that are not downloaded."""
    result: ImageResult | None = getattr(error, "result", None)
    images = error.images if result is None else result.images
    return [image.url for image in images if isinstance(image, Image) and is_remote(image) and image.url]
