"""Which timer runs while a request is sent, and when its own time begins."""

import asyncio

import pytest

from openai_images import Timeouts, Timing
from openai_images.client.sources import BytesSource
from openai_images.http.request_body import RequestProgress
from openai_images.wire.requests import CompositeBody

BODY = CompositeBody((b"head", BytesSource(memoryview(b"picture"), "image/png"), b"tail"))


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    @property
    def timing(self) -> Timing:
        """What a request takes."""
        return Timing(monotonic=lambda: self.now)


def left(sending: RequestProgress) -> float | None:
    """Seconds until the timer runs out."""
    when = sending.wait._when
    return None if when is None else round(when - asyncio.get_running_loop().time(), 1)


@pytest.mark.parametrize(
    ("timeouts", "upload", "meanwhile", "afterwards"),
    [
        (Timeouts(first_byte=5, total=60), 50, ("total", 60, 60.0), ("first_byte", 5, 5.0)),
        (Timeouts(first_byte=5, total=60), 57, ("total", 60, 60.0), ("total", 60, 3.0)),
        (Timeouts(first_byte=5, total=None), 500, ("total", None, None), ("first_byte", 5, 5.0)),
        (Timeouts(first_byte=None, total=60), 20, ("total", 60, 60.0), ("total", 60, 40.0)),
        (Timeouts(first_byte=None, total=None), 20, ("total", None, None), ("total", None, None)),
    ],
)
async def test_a_slow_upload_is_no_slow_answer(
    timeouts: Timeouts,
    upload: float,
    meanwhile: tuple[str, float | None, float | None],
    afterwards: tuple[str, float | None, float | None],
) -> None:
    """The timer "first_byte" begins when all is sent; "total" begins with the first byte and goes on."""
    clock = Clock()
    sending = RequestProgress(BODY, timeouts, clock.timing)
    with sending.wait.within(None):
        assert (sending.started, left(sending)) == (False, None)
        sending.mark_started()
        assert (sending.started, sending.timer, sending.seconds, left(sending)) == (True, *meanwhile)
        clock.now += upload
        sending.mark_started()
        assert left(sending) == meanwhile[2]
        sending.mark_sent()
        assert (sending.timer, sending.seconds, left(sending)) == afterwards
        assert sending.elapsed == upload
        sending.wait.move(None)


async def test_a_late_upload_moves_no_timer_of_the_answer() -> None:
    """A server may answer before it has read the images; from then on the answer's own timers run."""
    sending = RequestProgress(BODY, Timeouts(first_byte=5, total=60), Clock().timing)
    with sending.wait.within(None):
        sending.mark_started()
    sending.answered = True
    with sending.wait.within(30):
        sending.mark_sent()
        assert left(sending) == 30.0
