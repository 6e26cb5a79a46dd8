"""What an item's error means for its row: whether it may be sent again, what it cost, and what of it is worth keeping.

Rules: pure. What nobody knows is `unknown`, what provably did not run is `refused`, the rest has `failed`. Pictures
that were whole before things went wrong were paid for, and are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from attrs import frozen

from openai_images.errors import (
    AuthenticationError,
    ConfigurationError,
    DownloadError,
    ImagesError,
    PartialResultError,
    QuotaExhaustedError,
)
from openai_images.models.cost import cost_of
from openai_images.models.image import Image
from openai_images.models.prices import Prices
from openai_images.models.results import ImageResult

__all__ = ["Ending", "concerns_all", "ending_of", "is_away", "not_fetched"]


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
        return Ending("unknown" if unknown else "failed", billed=True, cost=cost, images=result.images)
    images = [image for image in error.images if isinstance(image, Image) and not is_away(image)]
    if error.maybe_billed or images:
        return Ending("unknown", billed=True, images=images)
    return Ending("failed", billed=isinstance(error, DownloadError))


def concerns_all(error: ImagesError) -> bool:
    """Whether all items would be told the same, and none was run: no quota, no key, a client that is set up wrongly."""
    return isinstance(error, AuthenticationError | ConfigurationError | QuotaExhaustedError)


def is_away(image: Image) -> bool:
    """Whether the server gave a URL in the picture's place."""
    return image.url is not None and not image.nbytes


def not_fetched(images: Sequence[Image]) -> DownloadError:
    """The error for pictures that are behind URLs: they were paid for, and need not be generated again."""
    urls = [image.url for image in images if image.url is not None]
    msg = (
        f"the server answered with a URL in place of {'a picture' if len(urls) == 1 else f'{len(urls)} pictures'}; "
        "it is in the journal: fetch it from there soon, as such URLs end (the OpenAI API's after an hour)"
    )
    return DownloadError(msg, url=urls[0])
