"""Counts, money and speed, by a clock that the test sets."""

from decimal import Decimal

import pytest

from openai_images import Failed, GenerateRequest, ImageResult, ModerationBlockedError, Succeeded
from openai_images.errors import ImagesError, StreamInterruptedError
from openai_images.many.scheduler import ProgressMeter
from tests.helpers.fake_send import result

REQUEST = GenerateRequest("an otter")


def good(pictures: int = 1) -> Succeeded:
    """A result with so many images."""
    return Succeeded(0, "0", REQUEST, ImageResult(images=result().images * pictures))


def bad(error: ImagesError | OSError) -> Failed:
    """A failure."""
    return Failed(0, "0", REQUEST, error)


def test_counts() -> None:
    """Images are counted one by one, failures by what they mean."""
    tally = ProgressMeter()
    blocked = ModerationBlockedError("no", status_code=400)
    for outcome in (good(), good(3), bad(blocked), bad(StreamInterruptedError("cut")), bad(OSError("full"))):
        tally.add(outcome, 0.0, None)
    assert (tally.done, tally.images, tally.failed, tally.blocked, tally.unknown) == (2, 4, 3, 1, 1)


def test_money() -> None:
    """Unknown costs are counted and never taken for zero; a cost of zero is one."""
    tally = ProgressMeter()
    tally.add(good(), 0.0, None)
    assert (tally.spent, tally.unpriced) == (None, 1)
    tally.add(good(), 0.0, Decimal(0))
    assert (tally.spent, tally.unpriced) == (Decimal(0), 1)
    tally.add(good(), 0.0, Decimal("0.1"))
    tally.add(good(), 0.0, Decimal("0.2"))
    tally.add(bad(ImagesError("no")), 0.0, None)
    assert (tally.spent, tally.unpriced) == (Decimal("0.3"), 1)


def test_before_it_begins() -> None:
    """No time, no speed, no division by zero."""
    tally = ProgressMeter()
    tally.add(good(), 5.0, None)
    assert (tally.elapsed(5.0), tally.images_per_minute(5.0), tally.eta(3, 5.0)) == (0.0, 0.0, None)
    tally.begin(5.0)
    assert (tally.elapsed(5.0), tally.images_per_minute(5.0), tally.eta(3, 5.0)) == (0.0, 0.0, None)
    assert tally.elapsed(4.0) == 0.0


def test_the_first_minutes() -> None:
    """Speed is that of the whole time, by images; what is left is reckoned by requests."""
    tally = ProgressMeter()
    tally.begin(1000.0)
    for second in range(1, 31):
        tally.add(good(2), 1000.0 + 2 * second, None)
    assert tally.images_per_minute(1060.0) == pytest.approx(60.0)
    assert tally.eta(15, 1060.0) == pytest.approx(30.0)
    assert tally.eta(0, 1060.0) == 0.0
    assert tally.eta(None, 1060.0) is None


def test_of_late() -> None:
    """After an hour at one a second, and then one in ten, the last five minutes count."""
    tally = ProgressMeter()
    tally.begin(0.0)
    for second in range(3600):
        tally.add(good(), second, None)
    for second in range(3600, 4200, 10):
        tally.add(good(), second, None)
    assert tally.images_per_minute(4200.0) == pytest.approx(6.0, rel=0.05)
    assert tally.eta(10, 4200.0) == pytest.approx(100.0, rel=0.05)
    assert len(tally._recent) <= 301


def test_when_little_ends() -> None:
    """Where the last five minutes hold next to nothing, the whole time counts."""
    tally = ProgressMeter()
    tally.begin(0.0)
    for minute in range(60):
        tally.add(good(), minute * 60.0, None)
    assert tally.images_per_minute(3600.0) == pytest.approx(1.0)
    assert tally.eta(60, 7200.0) == pytest.approx(7200.0)


def test_the_end() -> None:
    """Time stands still behind it."""
    tally = ProgressMeter()
    tally.begin(0.0)
    for second in range(3600):
        tally.add(good(), second, None)
    tally.end(3600.0)
    assert tally.elapsed(9999.0) == 3600.0
    assert tally.images_per_minute(9999.0) == pytest.approx(60.0, rel=0.02)
