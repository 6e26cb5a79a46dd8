"""What an item's error means for its row: whether it may be sent again, what it cost, and what of it is worth keeping.

Rules: pure. What nobody knows is `unknown`, what provably did not run is `refused`, the rest has `failed`. Pictures
that were whole before things went wrong were paid for, and are kept, and so is what came in the place of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from attrs import frozen

from openai_images.catalog.prices import Prices
from openai_images.errors import (
    AuthenticationError,
    ConfigurationError,
    ImagesError,
    PartialResultError,
)
from openai_images.many.failure_streaks import ends_all
from openai_images.models.cost import cost_of
from openai_images.models.image import Image, is_remote as is_away
from openai_images.models.results import ImageResult

__all__ = ["Ending", "concerns_all", "ending_of", "urls_of"]


@frozen
class Ending:
    """What becomes of an item: its state, whether it was paid for and how much that was, as far as it is known."""

    state: Literal["refused", "failed", "unknown"]
    billed: bool = False
    cost: Decimal | None = None
    images: Sequence[Image] = ()


def ending_of(error: ImagesError, model: str | None, prices: Prices) -> Ending:
    """What this error means."""
    if error.safe_to_resend or concerns_all(error):
        return Ending("refused")
    if isinstance(error, PartialResultError):
        result: ImageResult = error.result
        unknown = any(part.maybe_billed for part in error.errors)
        cost = None if unknown else cost_of(result, model, prices)
        here = [image for image in result.images if not is_away(image)]
        state: Literal["failed", "unknown"] = "unknown" if unknown else "failed"
        return Ending(state, billed=True, cost=cost, images=[*here, *error.damaged])
    images = [image for image in error.images if isinstance(image, Image) and not is_away(image)]
    images += error.damaged
    if error.maybe_billed or images:
        return Ending("unknown", billed=True, images=images)
    return Ending("failed")


def concerns_all(error: ImagesError) -> bool:
    """Whether all items would be told the same, and none was run: no quota, no key, a limit that lasts."""
    return isinstance(error, AuthenticationError | ConfigurationError) or ends_all(error)


def urls_of(error: ImagesError) -> list[str]:
    """Where pictures are that came with this error, and were not fetched."""
    result: ImageResult | None = getattr(error, "result", None)
    images = error.images if result is None else result.images
    return [image.url for image in images if isinstance(image, Image) and is_away(image) and image.url]
