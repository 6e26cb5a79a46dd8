"""A batch that is not accepted because of some of its lines: these have failed, and the others are sent again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images import APIStatusError, Batch, BatchOptions, BatchSummary, ImagesClient
from tests.helpers.batch_provider import BatchProvider, as_it_should
from tests.helpers.batch_runs import items_of, many, rows, run, states

WORDS = "Invalid value: the size is not supported by this model."


def rejects(*numbers: int) -> Callable[[dict[str, Any]], str | None]:
    """Reject the prompts with these numbers."""
    ends = tuple(f" {number}" for number in numbers)
    return lambda line: WORDS if line["body"]["prompt"].endswith(ends) else None


async def test_the_others_are_sent_again(client: ImagesClient, provider: BatchProvider, out: Path) -> None:
    """Once, by the next run, without the lines that were named; these fail with the provider's words."""
    provider.invalid = rejects(2, 4)
    ran = await run(client, many(5), out, economy=True)
    assert ran.error is None
    for key in ("00002", "00004"):
        error = ran.failed[key]
        assert isinstance(error, APIStatusError)
        assert WORDS in str(error)
        assert (error.code, error.maybe_billed, error.safe_to_resend) == ("invalid_request", False, False)
    assert [states(out, f"0000{number}")[-1] for number in range(1, 6)] == [
        "refused", "failed", "refused", "failed", "refused"
    ]  # fmt: skip
    (row,) = [row for row in rows(out) if row["state"] == "failed" and row["key"] == "00002"]
    assert WORDS in row["message"]
    again = await run(client, many(5), out, economy=True)
    assert again.done == ["00001", "00003", "00005"]
    assert [line["body"]["prompt"] for line in provider.sent[1]] == [
        "otter number 1", "otter number 3", "otter number 5"
    ]  # fmt: skip
    last = await run(client, many(5), out, economy=True)
    assert (last.outcomes, last.summary.failed, last.summary.unknown) == ([], 2, 0)
    provider.invalid = lambda _: None
    repaired = await run(client, many(5), out, economy=True, retry_failed=True)
    assert repaired.done == ["00002", "00004"]


async def leave(client: ImagesClient, provider: BatchProvider, out: Path) -> BatchSummary:
    """Submit, and stop."""
    looks, provider.looks = provider.looks, 10**9
    async with Batch(client, many(6), out, options=BatchOptions(economy=True)) as batch:
        provider.looking = lambda _: batch.stop()
        async for _ in batch:
            pass
    provider.looks, provider.looking = looks, as_it_should
    return batch.summary


@pytest.mark.parametrize("is_numbered", [True, False])
async def test_another_run_knows_the_lines(
    client: ImagesClient, provider: BatchProvider, out: Path, is_numbered: bool
) -> None:
    """From the journal; where rows have no lines, nobody knows which one was meant, and all are sent again."""
    provider.invalid = rejects(3)
    assert (await leave(client, provider, out)).submitted == 6
    if not is_numbered:
        kept = [{name: value for name, value in row.items() if name != "line"} for row in rows(out)]
        (out / "journal.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in kept))
    ran = await run(client, many(6), out, economy=True)
    assert (ran.summary.failed, ran.summary.not_started) == ((1, 5) if is_numbered else (0, 6))
    assert states(out, "00003")[-1] == ("failed" if is_numbered else "refused")


async def test_lines_are_those_of_one_batch(client: ImagesClient, provider: BatchProvider, out: Path) -> None:
    """Each model has a file of its own."""
    items = [*many(3), *items_of("an otter number 1", "an otter number 2", model="gpt-image-1.5")]
    items = [type(item)(f"{number}", item.request) for number, item in enumerate(items)]
    provider.invalid = lambda line: WORDS if line["body"]["model"] == "gpt-image-1.5" else None
    ran = await run(client, items, out, economy=True)
    assert ran.done == ["0", "1", "2"]
    assert [states(out, key)[-1] for key in ("3", "4")] == ["failed", "failed"]


@pytest.mark.parametrize("line", [0, -1, 4, True, "2", 2.0, None])
async def test_lines_that_there_are_not(
    client: ImagesClient, provider: BatchProvider, out: Path, line: object
) -> None:
    """Blame nobody."""
    provider.invalid = rejects(2)
    end = provider.end

    def odd(batch: dict[str, Any], status: str) -> None:
        end(batch, status)
        batch["errors"]["data"][0]["line"] = line

    provider.end = odd  # type: ignore[method-assign]
    ran = await run(client, many(3), out, economy=True)
    assert (ran.error, ran.summary.failed, ran.summary.not_started) == (None, 0, 3)


async def test_words_repeat_no_prompt(client: ImagesClient, provider: BatchProvider, out: Path) -> None:
    """Nor that of another line."""
    provider.invalid = lambda line: (
        "Not 'otter number 1' nor 'otter number 2'." if "2" in line["body"]["prompt"] else None
    )
    ran = await run(client, many(2), out, economy=True)
    assert "otter" not in str(ran.failed["00002"])
    assert "otter" not in (out / "journal.jsonl").read_text()
