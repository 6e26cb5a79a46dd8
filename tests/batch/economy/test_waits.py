"""What a run in economy says of its waits is what it does: the reason, and the end, also when the clock is set."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from openai_images import Batch, BatchOptions, ImagesClient, ImagesError, Timing
from tests.helpers.batch_provider import BatchProvider
from tests.helpers.batch_runs import many
from tests.helpers.clients import FakeTime, client_of

HOUR = 3600.0


class Clock(FakeTime):
    """A clock of the wall that moves with the other one, and may be `set` by so many seconds."""

    def __init__(self) -> None:
        """Not set yet."""
        super().__init__()
        self.start, self.ahead = self.monotonic(), 0.0

    def wall(self) -> float:
        """The Unix time."""
        return self.WALL + self.passed + self.ahead

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return self.monotonic() - self.start

    @property
    def timing(self) -> Timing:
        """What a client takes."""
        return Timing(monotonic=self.monotonic, wall=self.wall, sleep=self.sleep, random=lambda: 0.0)

    def shown(self) -> str:
        """The time, as it is shown."""
        return f"until {datetime.fromtimestamp(self.wall()).astimezone():%d %b %H:%M} at the latest"


async def run(provider: BatchProvider, clock: Clock, out: Path, **options: Any) -> tuple[Batch, list[str]]:
    """Run a batch to its end; what ends it is raised by the batch, and the reasons of its waits are returned."""
    reasons: list[str] = []
    async with client_of(provider, timing=clock.timing) as client:
        batch = Batch(
            *(client, many(3), out),
            options=BatchOptions(economy=True, **options),
            progress=lambda seen: reasons.append(seen.wait_reason or ""),
        )
        async with batch:
            try:
                async for _ in batch:
                    pass
            except ImagesError as error:
                reasons.append(str(error))
    return batch, reasons


def finalizing(_: web.Request) -> web.Response:
    """A batch that does not end."""
    return web.json_response({"id": "batch_0", "status": "finalizing"})


async def test_a_batch_that_never_ends(provider: BatchProvider, out: Path) -> None:
    """It is watched for as long as is said from the beginning: thirty hours."""
    clock = Clock()
    provider.looking = finalizing
    batch, reasons = await run(provider, clock, out)
    assert 30 * HOUR <= clock.passed < 30 * HOUR + 60
    assert {reason.rpartition(", ")[2] for reason in reasons if reason.startswith("waiting")} == {
        clock.shown()
    }
    assert "should have ended hours ago" in reasons[-1]
    assert batch.summary.submitted == 3


@pytest.mark.parametrize("hours", [48, -48])
async def test_a_clock_that_is_set(hours: float, provider: BatchProvider, out: Path) -> None:
    """While it waits: the batch is not taken for an old one, and not polled more often."""
    clock = Clock()

    def looking(_: web.Request) -> web.Response | None:
        clock.ahead = hours * HOUR * (clock.passed > HOUR)
        return finalizing(_) if clock.passed < 20 * HOUR else None

    provider.looking = looking
    batch, reasons = await run(provider, clock, out)
    assert batch.summary.done == 3
    assert provider.calls.count("retrieve") < 20 * 12 + 80
    assert not any("hours ago" in reason for reason in reasons)


async def test_an_outage(provider: BatchProvider, out: Path) -> None:
    """Its cause is shown, and the end, at which the batch is left to another run."""
    clock = Clock()
    provider.looking = lambda _: web.json_response({"error": {"message": "Down."}}, status=500)
    batch, reasons = await run(provider, clock, out, max_outage=1800.0)
    assert batch.summary.submitted == 3
    told = {reason for reason in reasons if "could not be polled (status 500: Down.): retrying" in reason}
    assert {reason.rpartition(", ")[2] for reason in told} == {clock.shown()}


async def test_a_creation_whose_outcome_is_unknown(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """The time of the next look at the list is shown."""
    reasons: set[str] = set()
    answers = iter([web.json_response({}, status=500)])
    provider.creating = lambda: next(answers, None)
    async with Batch(
        *(client, many(3), out),
        options=BatchOptions(economy=True),
        progress=lambda seen: reasons.add(seen.wait_reason or ""),
    ) as batch:
        async for _ in batch:
            pass
    end = datetime.fromtimestamp(FakeTime.WALL + 120).astimezone()
    assert any(f"until {end:%H:%M:%S}, 120 s from now" in reason for reason in reasons)
