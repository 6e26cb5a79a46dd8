"""A budget holds: what the server bills never exceeds it, whatever is in flight, fails or comes back without usage."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from openai_images import (
    Batch,
    BatchItem,
    BatchOptions,
    BatchSummary,
    GenerateRequest,
    ImagesClient,
    ImagesError,
    Limits,
    Prices,
    Progress,
    RetryPolicy,
)
from openai_images.server import AnsweredRequest, LocalImagesServer
from tests.helpers.batch_runs import rows
from tests.helpers.clients import PNG, client_of
from tests.helpers.leaks import until

# gpt-image-2 in low quality at 1024x1024: 196 tokens of output at $30 for a million; the prompt's at $5.
OUTPUT_USD = Decimal(196) * 30 / 1_000_000
TEXT_USD_PER_TOKEN = Decimal(5) / 1_000_000
ITEMS, AT_ONCE = 60, 8


class Billing:
    """What the server would bill: an image's price for each answer with one."""

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
    """A client with room for a crowd; what one image costs is known from the server's own numbers."""
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


async def run(
    client: ImagesClient, out: Path, budget: Decimal, given: list[BatchItem] | None = None, **options: Any
) -> BatchSummary:
    """A batch to its end."""
    chosen = BatchOptions(concurrency=AT_ONCE, budget=budget, **options)
    async with Batch(client, given or items(), out, options=chosen) as batch:
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


@pytest.mark.parametrize("more", [{}, {"n": 12}], ids=["one request", "several requests"])
async def test_a_budget_holds_for_attempts_that_are_repeated(
    server: LocalImagesServer, client: ImagesClient, billing: Billing, tmp_path: Path, more: dict[str, int]
) -> None:
    """Each attempt that may have been billed counts, and none is repeated that does not fit."""
    server.always("reset_after_body")
    server.requests.clear()
    retry = RetryPolicy(retry_unknown=True, max_retries=5)
    given = [evolve(item, request=evolve(item.request, **more)) for item in items()]
    budget = billing.unit * 40 + billing.unit / 2
    async with client_of(server, retry=retry, limits=Limits(concurrency=AT_ONCE)) as repeating:
        summary = await run(repeating, tmp_path, budget, given, max_identical_failures=None)
    sent = sum(request.json.get("n", 1) for request in server.requests)
    assert 20 < sent <= 40
    assert (summary.reason, summary.done) == ("budget", 0)


def auto_items(count: int, **params: Any) -> list[BatchItem]:
    """Items whose size and quality the server chooses: they may cost $0.70, and cost a hundredth of it."""
    request = GenerateRequest("a lighthouse", model="gpt-image-2", **params)
    return [BatchItem(f"a{number:03d}", request) for number in range(count)]


async def test_half_a_dollar_pays_for_what_auto_really_costs(
    client: ImagesClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first finds out what it costs; the log and the summary say what is assumed; a resumed run knows it."""
    first = await run(client, tmp_path, Decimal("0.05"), auto_items(20))
    assert (first.reason, first.done) == ("budget", 7)
    each = (first.spent or Decimal(0)) / first.done
    assert Decimal("0.05") - each * Decimal("1.25") < (first.spent or 0) <= Decimal("0.05")
    (message,) = [each for each in caplog.messages if "the budget allows" in each]
    assert message.startswith(
        "the budget allows only 1 in flight now: the next one waits until their costs are certain; "
        "an image of gpt-image-2 with size auto, quality"
    )
    assert "may cost up to $0.7" in message
    assert "times the most expensive so far; set size and quality" in first.assumed_cost
    again = await run(client, tmp_path, Decimal("0.05"), auto_items(20))
    assert (again.reason, again.done, again.spent) == ("budget", 7, first.spent)
    more = await run(client, tmp_path, Decimal("0.05") + each, auto_items(20))
    assert more.done == 8


async def test_it_says_why_the_next_request_waits(
    client: ImagesClient, server: LocalImagesServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It waits for the costs of those in flight, which is logged and in the progress."""
    server.script("stall")
    options = BatchOptions(budget=OUTPUT_USD * 3 / 2)
    reason = "the budget allows only 1 in flight now: the next one waits until their costs are certain"
    seen: list[Progress] = []
    async with (
        asyncio.timeout(60),
        Batch(client, items()[:4], tmp_path, options=options, progress=seen.append) as batch,
    ):
        first = asyncio.ensure_future(anext(batch))
        await until(lambda: server.posts == 2 and seen[-1].wait_reason is not None)
        assert seen[-1].wait_reason == reason
        server.release()
        await first
        async for _ in batch:
            pass
        assert seen[-1].wait_reason is None
    assert [text for text in caplog.messages if "the budget" in text] == [reason]


@pytest.mark.parametrize(("options", "at_once"), [({}, 3), ({"max_image_cost": Decimal("0.02")}, AT_ONCE)])
async def test_as_many_are_in_flight_as_the_promise_allows(
    client: ImagesClient, tmp_path: Path, options: dict[str, Any], at_once: int
) -> None:
    """Of three at $0.71 only the last may exceed $1.50; with a cost that the user knows all run at once."""
    summary = await run(client, tmp_path, Decimal("1.50"), auto_items(16), **options)
    assert summary.done == 16
    steps = {"sent": 1, "done": -1}
    assert max(accumulate(steps.get(row["state"], 0) for row in rows(tmp_path))) == at_once


async def test_a_cost_of_ones_own_makes_a_budget_for_any_model(client: ImagesClient, tmp_path: Path) -> None:
    """A model without a price counts as what the user says that an image costs at most."""
    none = Prices(as_of=date(2026, 11, 29), models={})
    options = {"prices": none, "max_image_cost": Decimal("0.1")}
    summary = await run(client, tmp_path, Decimal("0.5"), auto_items(5, n=2), **options)
    assert (summary.reason, summary.done, summary.unpriced) == ("budget", 2, 2)


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
