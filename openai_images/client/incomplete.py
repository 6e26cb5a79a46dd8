"""The error of a call that failed, or whose response has fewer images than were requested, with all that came.

Invariants: complete images go with the error as `images`, what is no image by its own bytes as `damaged`, and both
into the files of `into=`. A response with too few images is logged as well. Imported with the first failure.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from openai_images.client.split_summary import shortfall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_images.client.attempts import Attempts
    from openai_images.client.files import OutputFiles
    from openai_images.errors import PartialResultError
    from openai_images.models.results import CompletedImage, ImageResult
    from openai_images.wire.response import ResponseDecoder

_log = logging.getLogger("openai_images")


def incomplete_error(
    result: ImageResult, reader: ResponseDecoder, attempts: Attempts, wanted: int
) -> PartialResultError:
    """The error for an answer that is whole and has fewer pictures than were `wanted`."""
    attempts.record_usage(result.usage)
    error = shortfall(result, reader.errors(), wanted)
    for reason in error.errors:
        attempts.annotate(reason)
    _log.warning("%s", error)
    return error


async def store_rest(
    reader: ResponseDecoder, files: OutputFiles | None, completed: Sequence[CompletedImage]
) -> dict[str, Any]:
    """What the error has besides: the pictures that are whole, and what came in the place of others."""
    images, damaged = reader.undelivered_images(), reader.damaged()
    if files is not None:
        images, damaged = await files.store_all(images), await files.store_all(damaged, ".damaged")
    return {"images": (*(event.image for event in completed), *images), "damaged": tuple(damaged)}
