"""A budget holds: what the server bills never exceeds it, whatever is under way, fails or comes back without usage."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    Batch,
    BatchItem,
    BatchOptions,
    BatchSummary,
    GenerateRequest,
    ImagesClient,
    ImagesError,
    Limits,
)
from openai_images.server import AnsweredRequest, LocalImagesServer
from tests.helpers.clients import PNG

# gpt-image-2 in low quality at 1024x1024: 196 tokens of output at $30 for a million; the prompt's at $5.
OUTPUT_USD = Decimal(196) * 30 / 1_000_000
TEXT_USD_PER_TOKEN = Decimal(5) / 1_000_000
ITEMS, AT_ONCE = 60, 8


class Billing:
    """What the server would bill: a picture's price for each answer with one."""

    def __init__(self) -> None:
        self.pictures = 0
        self.unit = Decimal(0)

    def answered(self, answer: AnsweredRequest) -> None:
        """Called by the server for each answer."""
        self.pictures += answer.status == 200

    @property
    def billed(self) -> Decimal:
        """In US dollars."""
        return self.pictures * self.unit


@pytest.fixture
def billing() -> Billing:
    """Nothing billed yet."""
    return Billing()


@pytest.fixture
async def server(billing: Billing) -> AsyncIterator[LocalImagesServer]:
    """A server whose answers are billed."""
    async with LocalImagesServer(pictures=PNG, pace=0.002, on_answer=billing.answered) as server:
        yield server


@pytest.fixture
async def client(server: LocalImagesServer, billing: Billing) -> AsyncIterator[ImagesClient]:
    """A client with room for a crowd; what one picture costs is known from the server's own numbers."""
    async with ImagesClient(
        base_url=server.base_url, api_key=server.api_key, limits=Limits(concurrency=AT_ONCE)
    ) as client:
        usage = (await client.generate(request(0))).usage
        assert usage is not None
        assert (usage.output_tokens, billing.pictures) == (196, 1)
        billing.unit = OUTPUT_USD + (usage.input_tokens or 0) * TEXT_USD_PER_TOKEN
        billing.pictures = 0
        yield client


def request(number: int) -> GenerateRequest:
    """One of many; all of them cost the same."""
    return GenerateRequest(
        f"a lighthouse, number {number:03d}", model="gpt-image-2", size="1024x1024", quality="low"
    )


def items() -> list[BatchItem]:
    """More than the budgets pay for."""
    return [BatchItem(key=f"k{number:03d}", request=request(number)) for number in range(ITEMS)]


async def run(client: ImagesClient, out: Path, budget: Decimal, **options: Any) -> BatchSummary:
    """A batch to its end."""
    given = BatchOptions(concurrency=AT_ONCE, budget=budget, **options)
    async with Batch(client, items(), out, options=given) as batch:
        async for _ in batch:
            pass
    return batch.summary


@pytest.mark.parametrize("pays_for", [0, 1, 7, 25])
async def test_what_is_billed_stays_within_the_budget(
    client: ImagesClient, billing: Billing, tmp_path: Path, pays_for: int
) -> None:
    """It stops because of the budget, has spent what was billed, and uses nearly all of it."""
    budget = billing.unit * pays_for + billing.unit / 2
    summary = await run(client, tmp_path, budget)
    assert billing.billed <= budget
    assert summary.reason == "budget"
    assert (summary.done, summary.not_started) == (billing.pictures, ITEMS - billing.pictures)
    assert (summary.spent or 0) == billing.billed
    assert billing.pictures >= pays_for - 1  # an estimate is a little above the bill


async def test_a_budget_holds_over_several_runs(
    client: ImagesClient, billing: Billing, tmp_path: Path
) -> None:
    """The same budget buys nothing more; a higher one goes on from what was spent."""
    for pays_for in (10, 10, 25):
        budget = billing.unit * pays_for + billing.unit / 2
        summary = await run(client, tmp_path, budget)
        assert billing.billed <= budget
        assert summary.done == billing.pictures >= pays_for - 1
    summary = await run(client, tmp_path, billing.unit * (ITEMS + 10))
    assert (summary.reason, summary.done, billing.pictures) == ("", ITEMS, ITEMS)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(["missing_fields", "ok", "missing_fields"] * 20, id="answers without usage"),
        pytest.param(["status:400", "ok", "moderation_400"] * 20, id="failures"),
        pytest.param(["reset_after_body", "ok"] * 30, id="outcomes that nobody knows"),
        pytest.param(["rate_limited:0.01", "ok"] * 30, id="refusals"),
        pytest.param(["status:500", "ok", "missing_fields"] * 20, id="all sorts"),
    ],
)
async def test_a_budget_holds_whatever_comes_back(
    server: LocalImagesServer, client: ImagesClient, billing: Billing, tmp_path: Path, faults: list[str]
) -> None:
    """What may have been billed counts as if it were: unknown is never nothing."""
    server.script(*faults)
    budget = billing.unit * 15 + billing.unit / 2
    summary = await run(client, tmp_path, budget)
    assert billing.billed + summary.unknown * billing.unit <= budget
    assert summary.done == billing.pictures
    if "missing_fields" in faults:
        assert summary.unpriced > 0


async def test_a_model_without_a_price_is_not_started(
    server: LocalImagesServer, client: ImagesClient, billing: Billing, tmp_path: Path
) -> None:
    """Nobody can keep a budget with an unknown price, so nothing is sent."""
    posts = server.posts
    unknown = [BatchItem(key="a", request=GenerateRequest("a fox", model="some-model-of-tomorrow"))]
    batch = Batch(client, unknown, tmp_path, options=BatchOptions(budget=Decimal(5)))
    with pytest.raises(ImagesError, match="price"):
        await batch.__aenter__()
    await batch.aclose()
    assert server.posts == posts
