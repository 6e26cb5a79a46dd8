"""What comes back from another process: results and errors as they were there."""

from decimal import Decimal
from typing import Any

import pytest

from openai_images import (
    APIConnectionError,
    BadRequestError,
    DownloadError,
    GenerateRequest,
    Image,
    ImagesError,
    ModerationBlockedError,
    OutcomeUnknownError,
    PartialResultError,
)
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.run.remote_runner import error_from_row, result_from_row
from openai_images.batch.run.run_state import WorkItem
from openai_images.errors import ServerOutcomeUnknownError

WORK = WorkItem(item=ResolvedItem(0, "a", GenerateRequest("otter", model="gpt-image-2"), "digest"), stem="a")
IMAGE = Image(url="s3://bucket/images/a.png", nbytes=9, media_type="image/png")


def test_a_result() -> None:
    """With its usage, of which its cost is made."""
    usage = {"input_tokens": 9, "output_tokens": 196, "total_tokens": 205}
    details = {"input_tokens_details": {"text_tokens": 9, "image_tokens": 0}}
    row = {
        "state": "done",
        "created": 7,
        "size": "1024x1024",
        "quality": "low",
        "usage": {**usage, **details},
    }
    row |= {"attempts": 2, "seconds": 1.5, "request_id": "req_1", "files": [], "cost": "0.005925"}
    result = result_from_row(row, WORK, [IMAGE])
    assert result.images == (IMAGE,)
    assert (result.attempts, result.elapsed, result.request_id, result.created) == (2, 1.5, "req_1", 7)
    assert (result.model, result.size, result.quality) == ("gpt-image-2", "1024x1024", "low")
    assert result.cost() == Decimal("0.005925")
    assert not result.extra


@pytest.mark.parametrize(
    ("row", "cls", "facts"),
    [
        (
            {"error": "BadRequestError", "status": 400, "code": "x", "attempts": 1, "request_id": "r"},
            BadRequestError,
            {"status_code": 400, "code": "x", "attempts": 1, "request_id": "r", "maybe_billed": False},
        ),
        (
            {"error": "ModerationBlockedError", "stage": "output", "categories": ["violence"]},
            ModerationBlockedError,
            {"stage": "output", "categories": ("violence",)},
        ),
        ({"error": "APIConnectionError", "state": "refused"}, APIConnectionError, {"safe_to_resend": True}),
        (
            {"error": "ServerOutcomeUnknownError", "state": "unknown", "seconds": 2.5},
            ServerOutcomeUnknownError,
            {"elapsed": 2.5, "maybe_billed": True, "safe_to_resend": False},
        ),
        ({"state": "unknown"}, OutcomeUnknownError, {"maybe_billed": True}),
        (
            {"error": "DownloadError", "state": "away", "urls": ["https://x/1"]},
            DownloadError,
            {"url": "https://x/1"},
        ),
        (
            {"error": "PartialResultError", "state": "failed", "missing": 1},
            PartialResultError,
            {"errors": None},
        ),
        ({"error": "PermissionError"}, OSError, {}),
        ({"error": "TypeError"}, ImagesError, {}),
        ({"error": "annotate"}, ImagesError, {}),
        ({}, ImagesError, {}),
    ],
)
def test_an_error(row: dict[str, Any], cls: type[BaseException], facts: dict[str, Any]) -> None:
    """Of its class, with what is known of it; of the package's root, where the class is not known."""
    error = error_from_row({"state": "failed", "message": "what happened", **row}, WORK, [IMAGE])
    assert type(error) is cls
    assert str(error) == "what happened"
    for name, value in facts.items():
        assert value is None or getattr(error, name) == value
    if isinstance(error, PartialResultError):
        assert (error.result.images, error.result.missing) == ((IMAGE,), 1)
    if isinstance(error, DownloadError):
        assert error.urls == ("https://x/1",)
        assert [image.url for image in error.response.images] == [IMAGE.url, "https://x/1"]


def test_an_item_that_a_dead_worker_has_claimed_says_what_to_do() -> None:
    """It has a row without an end."""
    error = error_from_row({"state": "unknown"}, WORK)
    assert "retry_unknown" in str(error)
