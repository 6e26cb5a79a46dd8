"""What the tests of batches share: items, a run from beginning to end, and what is in a folder afterwards."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from openai_images import (
    Batch,
    BatchItem,
    BatchOptions,
    BatchPlan,
    BatchSummary,
    Failed,
    GenerateRequest,
    ImagesClient,
    Outcome,
    Succeeded,
)
from openai_images.server import LocalImagesServer
from tests.helpers.crashing_filesystem import HastyDisk

MODEL = "gpt-image-2"


def items_of(*prompts: str, **params: Any) -> list[BatchItem]:
    """Items with these prompts, which cost at most $0.006 each."""
    params = {"model": MODEL, "quality": "low", "size": "1024x1024", **params}
    return [
        BatchItem(f"{number:05d}", GenerateRequest(prompt, **params))
        for number, prompt in enumerate(prompts, 1)
    ]


def many(count: int, **params: Any) -> list[BatchItem]:
    """So many items."""
    return items_of(*(f"otter number {number}" for number in range(1, count + 1)), **params)


@frozen
class Ran:
    """What came of one run."""

    plan: BatchPlan
    outcomes: list[Outcome]
    summary: BatchSummary
    error: BaseException | None

    @property
    def done(self) -> list[str]:
        """The keys of the items that succeeded, sorted."""
        return sorted(outcome.key for outcome in self.outcomes if isinstance(outcome, Succeeded))

    @property
    def failed(self) -> dict[str, BaseException]:
        """The errors of the items that failed, by key."""
        return {outcome.key: outcome.error for outcome in self.outcomes if isinstance(outcome, Failed)}


async def run(
    client: ImagesClient, items: Sequence[BatchItem], out: Path, *, disk: Any = None, **options: Any
) -> Ran:
    """Run a batch to its end; what ends it for all items is kept."""
    outcomes: list[Outcome] = []
    error: BaseException | None = None
    async with Batch(client, items, out, options=BatchOptions(**options), disk=disk or HastyDisk()) as batch:
        try:
            async for outcome in batch:
                outcomes.append(outcome)  # noqa: PERF401  those before an error are kept
        except Exception as failure:  # noqa: BLE001  the test looks at it
            error = failure
    return Ran(batch.plan, outcomes, batch.summary, error)


def rows(out: Path) -> list[dict[str, Any]]:
    """The rows of the journal; one without its end is none."""
    journal = out / "journal.jsonl"
    lines = journal.read_text().split("\n")[:-1] if journal.exists() else []
    return [json.loads(line) for line in lines]


def states(out: Path, key: str) -> list[str]:
    """The states an item went through."""
    return [row["state"] for row in rows(out) if row["key"] == key]


def pictures(out: Path) -> list[str]:
    """The names in the folder of the images, temporary ones included."""
    return sorted(path.name for path in (out / "images").iterdir())


def posts(server: LocalImagesServer) -> Counter[str]:
    """How often each prompt was sent."""
    return Counter(request.json["prompt"] for request in server.requests)
