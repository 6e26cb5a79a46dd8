"""One batch on a Dask cluster, in a process of its own that can be killed: `python -m benchmarks.cluster_driver JSON`.

Prints one JSON object when the batch has ended: the keys by state, what ended it, seconds, and memory.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import distributed
from attrs import define, field

from openai_images import (
    Batch,
    BatchItem,
    BatchOptions,
    DaskEngine,
    Failed,
    GenerateRequest,
    ImagesClient,
    ImagesError,
    Limits,
)

_SAMPLE_SECONDS = 0.5

new_dask_client: Any = distributed.Client  # its signature has no types


def items_of(count: int) -> list[BatchItem]:
    """So many items, each with a prompt of its own."""
    return [
        BatchItem(
            f"{number:05d}",
            GenerateRequest(f"otter number {number}", model="gpt-image-2", quality="low", size="1024x1024"),
        )
        for number in range(1, count + 1)
    ]


@define
class Memory:
    """The resident memory of this process in MB, sampled while the batch runs."""

    samples: list[float] = field(factory=list[float])

    async def sample(self) -> None:
        while True:
            self.samples.append(_resident())
            await asyncio.sleep(_SAMPLE_SECONDS)


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


async def drive(plan: Mapping[str, Any]) -> dict[str, Any]:
    limits = Limits(**plan.get("limits", {}))
    options = BatchOptions(budget=Decimal(plan.get("budget", 1_000)), retry_unknown=plan["retry_unknown"])
    states: dict[str, str] = {}
    error, error_at = "", 0.0
    memory = Memory()
    started = time.monotonic()
    async with new_dask_client(plan["address"], asynchronous=True) as dask_client:
        engine = DaskEngine(dask_client, in_flight=plan.get("in_flight", 64))
        async with (
            ImagesClient(base_url=plan["base_url"], limits=limits) as client,
            Batch(client, items_of(plan["items"]), plan["out"], options=options, engine=engine) as batch,
        ):
            sampling = asyncio.create_task(memory.sample())
            entered = time.monotonic()
            try:
                async for outcome in batch:
                    failed = type(outcome.error).__name__ if isinstance(outcome, Failed) else ""
                    states[outcome.key] = failed or "done"
            except ImagesError as failure:
                error, error_at = f"{type(failure).__name__}: {failure}", time.time()
            ended = time.monotonic()
            sampling.cancel()
        summary = batch.summary
    return {
        "states": states,
        "error": error,
        "error_at": error_at,
        "reason": summary.reason,
        "done": summary.done,
        "unknown": summary.unknown,
        "not_started": summary.not_started,
        "failed": summary.failed,
        "spent": str(summary.spent),
        "entering": round(entered - started, 2),
        "seconds": round(ended - entered, 2),
        "closing": round(time.monotonic() - ended, 2),
        "memory": [round(sample) for sample in memory.samples],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive(json.loads(sys.argv[1])))), flush=True)
