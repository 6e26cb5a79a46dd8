"""The clock of a loop counts what the loop does, and nothing that others do."""

import asyncio
import time

from benchmarks.turn import LoopClock


def spin(seconds: float) -> None:
    """Use so much processor time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_processor_time_counts_and_being_held_up_does_not() -> None:
    """A turn is as long as what it used; a wait is no longer than it was asked for."""
    clock = LoopClock()

    async def turns() -> list[float]:
        passed: list[float] = []
        for act in (
            lambda: spin(0.2),
            lambda: time.sleep(0.4),
            lambda: None,
        ):  # as if others had the processor
            clock.longest, before = 0.0, clock.time()
            act()
            await asyncio.sleep(0.1)
            passed += [clock.longest, clock.time() - before]
        return passed

    with asyncio.Runner(loop_factory=clock.new_loop) as runner:
        spun, spun_passed, held_up, held_up_passed, idle, idle_passed = runner.run(turns())
    assert spun >= 0.2
    assert spun_passed >= 0.2
    assert max(held_up, idle) < 0.1
    assert held_up_passed < 0.3
    assert 0.05 < idle_passed < 0.3
