"""What an error means for the row of its item, and the options and cards of a batch."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    PUBLISHED_PRICES,
    AuthenticationError,
    BadRequestError,
    BatchOptions,
    ConfigurationError,
    DownloadError,
    Image,
    ImageResult,
    ImagesClient,
    ImagesError,
    PartialResultError,
    QuotaExhaustedError,
    RateLimitError,
    StreamInterruptedError,
)
from openai_images.batch.run.verdicts import classify_failure
from openai_images.errors import TimeoutOutcomeUnknownError
from openai_images.models.outcomes import CallObserver
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import many, pictures, run, states
from tests.helpers.clients import PNG
from tests.helpers.fake_calls import replace_calls

PICTURE = Image.from_bytes(PNG)
BEHIND_URL = Image(url="https://pictures.test/1.png")


def error_of(
    kind: type[ImagesError], *, images: tuple[Image, ...] = (), safe: bool = False, **more: Any
) -> ImagesError:
    """An exception as a call raises it."""
    error = kind("what happened", **more)
    error.images = images
    error.safe_to_resend = safe
    return error


def partial_result(*errors: ImagesError) -> ImagesError:
    """Two images of several, and what befell the others."""
    return PartialResultError("some failed", result=ImageResult((PICTURE, PICTURE)), errors=errors)


UNKNOWN = error_of(TimeoutOutcomeUnknownError, timer="total", seconds=1.0)


@pytest.mark.parametrize(
    ("error", "state", "billed", "images"),
    [
        (error_of(BadRequestError, status_code=400), "failed", False, 0),
        (error_of(RateLimitError, status_code=429, safe=True), "refused", False, 0),
        (error_of(RateLimitError, status_code=429), "failed", False, 0),
        (error_of(QuotaExhaustedError, status_code=429), "refused", False, 0),
        (error_of(AuthenticationError, status_code=401), "refused", False, 0),
        (error_of(ConfigurationError), "refused", False, 0),
        (error_of(DownloadError, url="https://pictures.test/1.png"), "unknown", True, 0),
        (error_of(StreamInterruptedError), "unknown", True, 0),
        (error_of(StreamInterruptedError, images=(PICTURE, BEHIND_URL)), "unknown", True, 1),
        (error_of(BadRequestError, status_code=400, images=(PICTURE,)), "unknown", True, 1),
        (UNKNOWN, "unknown", True, 0),
        (partial_result(error_of(BadRequestError, status_code=400)), "failed", True, 2),
        (partial_result(error_of(BadRequestError, status_code=400), UNKNOWN), "unknown", True, 2),
    ],
)
def test_what_an_error_means(error: ImagesError, state: str, billed: bool, images: int) -> None:
    """Only what provably did not run is free to be sent again; images that are whole are kept."""
    ending = classify_failure(error, "gpt-image-2", PUBLISHED_PRICES)
    assert (ending.state, ending.billed, len(ending.images), ending.cost) == (state, billed, images, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "BatchOptions(concurrency=0): must be a whole number above 0, or None"),
        ({"concurrency": True}, "BatchOptions(concurrency=True): must be a whole number above 0, or None"),
        ({"budget": 5.0}, "BatchOptions(budget=5.0): must be a Decimal of US dollars, 0 or more, or None"),
        ({"budget": Decimal("NaN")}, "BatchOptions(budget=Decimal('NaN')): must be a Decimal of US dollars"),
        ({"max_outage": -1}, "BatchOptions(max_outage=-1): must be a number of seconds, 0 or more"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    """They are refused when they are made."""
    with pytest.raises(ConfigurationError) as caught:
        BatchOptions(**options)
    assert str(caught.value).startswith(message)


async def test_small_copies(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Small copies are made while images come; one that cannot be made spoils nothing."""
    made: list[str] = []

    def thumbnail(picture: Path, copy: Path) -> None:
        made.append(picture.name)
        if picture.name == "00002.png":
            raise ZeroDivisionError
        copy.write_bytes(b"small")

    ran = await run(client, many(3), out, thumbnail=thumbnail, note="painted by a stand-in", concurrency=1)
    assert ran.summary.done == 3
    assert set(made) == {"00001.png", "00002.png", "00003.png"}
    assert sorted(path.name for path in (out / "thumbs" / "images").iterdir()) == [
        "00001.png.webp",
        "00003.png.webp",
    ]
    page = (out / "index.html").read_text()
    assert "painted by a stand-in" in page
    assert "otter number 3" in page


async def test_the_page_of_every_state(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Done, blocked, failed, unknown and not yet: the page has them all, with their reasons."""
    server.script("ok", "moderation_400", "status:400", "reset_after_body", "quota_429")
    ran = await run(client, many(6), out, concurrency=1)
    summary = ran.summary
    assert (summary.done, summary.failed, summary.blocked, summary.unknown, summary.not_started) == (
        1,
        2,
        1,
        1,
        2,
    )
    page = (out / "index.html").read_text()
    for words in ("safety system", "Invalid value", "it may have been billed", "quota is used up"):
        assert words in page
    assert states(out, "00005") == ["sent", "refused"]


async def test_some_of_many_pictures(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of a call of which a part failed are kept; where that part found the quota used up the batch ends."""
    quota = error_of(QuotaExhaustedError, status_code=429)

    async def generate(request: object, observer: CallObserver) -> ImageResult:
        await observer.before_send(1)
        raise partial_result(quota)

    replace_calls(monkeypatch, client, generate)
    ran = await run(client, many(3, n=4), out, concurrency=1)
    assert isinstance(ran.failed["00001"], PartialResultError)
    assert ran.error is quota
    assert pictures(out) == ["00001-0.png", "00001-1.png"]
    assert (ran.summary.failed, ran.summary.not_started, ran.summary.unpriced) == (1, 2, 1)


async def test_a_bug_in_a_call(client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else a call raises ends the run; what was sent by then may have been paid for."""

    async def generate(request: object, observer: CallObserver) -> ImageResult:
        await observer.before_send(1)
        raise ZeroDivisionError

    replace_calls(monkeypatch, client, generate)
    ran = await run(client, many(3), out, concurrency=1)
    assert isinstance(ran.error, ZeroDivisionError)
    assert (states(out, "00001"), ran.summary.unknown, ran.summary.not_started) == (["sent", "unknown"], 1, 2)
