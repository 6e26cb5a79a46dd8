"""The harness that cancels calls sees what is left: each kind of it, told apart."""

import asyncio
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command, cancel, cancel_run
from benchmarks.cancel_run import MODEL, Moment, Run, Scenario, Server, Stage, cancelled, serving
from benchmarks.kill import noise
from benchmarks.kill_run import Snapshot

PICTURE = noise(20)
NEVER, LATER, AT_ONCE = Moment(None), Moment(5), Moment(0)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that serves a small image."""
    with serving(PICTURE) as running:
        yield running


def whatever(act: Callable[[Stage], Awaitable[object]]) -> Scenario:
    """A scenario that does this, and whose files must be whole."""
    return Scenario("whatever", act, cancel._whole)


async def steps(count: int) -> None:
    """Take so many steps at least."""
    for _ in range(count):
        await asyncio.sleep(0)


async def leave_a_task(_: Stage) -> None:
    """One that nobody awaits."""
    keep.append(asyncio.ensure_future(asyncio.Event().wait()))
    await steps(50)


async def leave_a_file_open(stage: Stage) -> None:
    """A descriptor."""
    keep.append((stage.folder.parent / "open").open("wb"))
    await steps(50)


async def leave_half_a_file(stage: Stage) -> None:
    """Under a name of its own."""
    (stage.folder / "o.png").write_bytes(PICTURE[:100])
    await steps(50)


async def leave_a_part(stage: Stage) -> None:
    """Whole, under a temporary name."""
    (stage.folder / ".o.part").write_bytes(PICTURE)
    await steps(50)


async def warn(_: Stage) -> None:
    """Something was left open."""
    warnings.warn("unclosed something", ResourceWarning, stacklevel=1)
    await steps(50)


async def drop_an_error(_: Stage) -> None:
    """A task whose exception is never retrieved."""

    async def fail() -> None:
        raise LookupError

    asyncio.ensure_future(fail())  # noqa: RUF006  that is the point
    await steps(50)


async def swallow(_: Stage) -> None:
    """Go on as if nothing had happened."""
    try:
        await steps(50)
    except asyncio.CancelledError:
        return


async def turn_into_another(_: Stage) -> None:
    """Raise something else."""
    try:
        await steps(50)
    except asyncio.CancelledError:
        raise LookupError("instead") from None


keep: list[Any] = []


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (leave_a_task, "tasks left: "),
        (leave_a_file_open, "descriptors left: "),
        (leave_half_a_file, "half-written: o.png"),
        (leave_a_part, "half-written: .o.part"),
        (warn, "ResourceWarning: unclosed something"),
        (drop_an_error, "said to the loop: Task exception was never retrieved"),
        (swallow, "the cancellation was swallowed"),
        (turn_into_another, "ended with LookupError: instead"),
    ],
)
def test_what_is_left_is_found(
    act: Any, said: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in words of its own."""
    monkeypatch.setattr(cancel_run, "PATIENCE", 0.5)
    monkeypatch.setattr(cancel, "PATIENCE", 0.05)
    run = cancelled(LATER, whatever(act), server, tmp_path / "f")
    for one in keep:
        if hasattr(one, "close"):
            one.close()
    keep.clear()
    assert run.was_cancelled
    assert any(fault.startswith(said) for fault in run.faults), run.faults


def test_a_slot_that_is_not_given_back_is_found(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls that look for it are never there at the same time."""
    monkeypatch.setattr(cancel_run, "PATIENCE", 0.3)
    whole = cancel_run.ImagesClient.generate

    async def one_by_one(client: Any, *words: Any, **more: Any) -> Any:
        lock = client.__dict__.setdefault("lock", asyncio.Lock())
        async with lock:
            return await whole(client, *words, **more)

    monkeypatch.setattr(cancel_run.ImagesClient, "generate", one_by_one)
    run = cancelled(LATER, whatever(lambda _: steps(50)), server, tmp_path / "f")
    assert any(fault.startswith("slots left: ") for fault in run.faults), run.faults


def test_a_step_is_a_callback(server: Server, tmp_path: Path) -> None:
    """None before the first; each `sleep(0)` is one; a second cancellation comes when it is told to."""
    seen: list[int] = []

    async def count(_: Stage) -> None:
        for number in range(30):
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                seen.append(number)
                if len(seen) == 2:
                    raise

    assert cancelled(AT_ONCE, whatever(count), server, tmp_path / "a").was_cancelled
    assert seen == []
    assert cancelled(Moment(5, again=4), whatever(count), server, tmp_path / "b").faults == []
    assert seen[1] - seen[0] == 4
    run = cancelled(NEVER, whatever(count), server, tmp_path / "c")
    assert (run.was_cancelled, run.faults) == (False, [])
    assert 30 <= run.steps <= 35


def of(**states: str) -> dict[str, list[dict[str, Any]]]:
    """Rows by key."""
    return {name: [{"state": state} for state in given.split()] for name, given in states.items()}


def test_what_a_cancelled_batch_broke_is_found() -> None:
    """Paid without a row that says so, done without an image."""
    keys = {"first": "k1", "second": "k2"}
    good = Snapshot(of(k1="sent done", k2="sent"), {"k1.png": ""}, Counter(first=1, second=1))
    assert cancel._of_cancelled(good, keys) == []
    bad = Snapshot(of(k1="sent done"), {}, Counter(first=1, second=1))
    assert cancel._of_cancelled(bad, keys) == [
        "k2 was sent, and the journal does not say so",
        "k1 is done without an image",
    ]


def test_what_is_paid_twice_is_found(server: Server, tmp_path: Path) -> None:
    """A folder that somebody emptied."""

    async def forget(stage: Stage) -> None:
        await cancel._batch(stage)
        for path in sorted(stage.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    run = cancelled(NEVER, Scenario("b", forget, cancel._resumed), server, tmp_path / "f")
    assert [fault for fault in run.faults if "was paid 2 times" in fault]


def test_all_steps_are_tried(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it ends before its turn; what is found is told with its moment; what never ends is a finding."""

    def run(when: Moment, *_: Any) -> Run:
        assert when.after is not None
        return Run(steps=9, was_cancelled=when.after < 9, faults=["left"] if when.after == 4 else [])

    monkeypatch.setattr(cancel, "cancelled", run)
    scenario = whatever(lambda _: steps(1))
    found = cancel.at_every_step(scenario, server, tmp_path, [Moment(after) for after in range(0, 99, 2)])
    assert (found.cancelled, found.steps) == (5, 9)
    assert [(finding.when.after, finding.what) for finding in found.findings] == [(4, "left")]
    found = cancel.at_every_step(scenario, server, tmp_path, [Moment(1)])
    assert found.findings[0].what == "it does not end"


@pytest.mark.parametrize("faults", [[], ["tasks left: x"]])
def test_the_command_says_what_it_found(
    faults: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each scenario and for each fault; exit code 1 with one; it is a command of `benchmarks`."""
    monkeypatch.setattr(
        cancel, "cancelled", lambda when, *_: Run(3, when.after < 3, faults if when.after == 2 else [])
    )
    monkeypatch.setattr(cancel, "SIDE", 20)
    monkeypatch.setattr("sys.argv", ["benchmarks", "cancel", "generate", "download"])
    assert command.main() == len(faults)
    said = capsys.readouterr().out
    assert "generate                                  3         3" in said
    assert ("    after 2 steps: tasks left: x" in said) == bool(faults)
    assert said.endswith(f"6 cancellations, {2 * len(faults)} faults\n")


def test_a_scenario_has_a_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Another one is refused, with those that there are."""
    monkeypatch.setattr("sys.argv", ["cancel", "sleep"])
    with pytest.raises(SystemExit):
        cancel.main()
    assert "no such scenario: sleep" in capsys.readouterr().err


def test_a_call_runs_whole_with_nothing_left(server: Server, tmp_path: Path) -> None:
    """A call of one image takes some steps."""

    async def generate(stage: Stage) -> None:
        await stage.client.generate("a heron", model=MODEL)

    run = cancelled(NEVER, whatever(generate), server, tmp_path / "f")
    assert run.faults == []
    assert run.steps > 10
