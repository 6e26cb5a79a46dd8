"""The studio's page with thousands of generations: what a frame costs, the keyboard, and finding text."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from openai_images import ImagesClient
from openai_images.server import LocalImagesServer
from openai_images.studio import History, Studio, StudioSettings
from tests.helpers.browsers import chromium
from tests.studio.conftest import PNG

pytestmark = pytest.mark.asyncio(loop_scope="module")
COUNT = 3_000
FRAMES = 30
LOAD = """async (count) => {
    const cards = document.querySelector("#history").getElementsByTagName("li");
    while (cards.length < count) {
        scrollTo(0, document.documentElement.scrollHeight);
        await new Promise(requestAnimationFrame);
    }
}"""
SCROLL = """async (frames) => {
    for (let frame = 0; frame < frames; frame += 1) {
        scrollBy(0, frame % 2 ? 300 : -300);
        await new Promise(requestAnimationFrame);
    }
}"""


def seed(folder: Path) -> None:
    """Write the journal of a history: the oldest generation comes first."""
    folder.mkdir()
    with (folder / "history.jsonl").open("w") as journal:
        for number in range(COUNT):
            record_id = f"20261129-080000-{number:08x}"
            prompt = f"otter number {number}"
            row: dict[str, object] = {
                "id": record_id,
                "at": 1e9 + number,
                "prompt": prompt,
                "params": {},
                "images": [],
            }
            end = {"row": "end", "id": record_id, "status": "failed"}
            journal.write(f"{json.dumps({'row': 'sent', **row})}\n{json.dumps(end)}\n")


@pytest_asyncio.fixture(loop_scope="module")
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    """The page of a studio with a long history."""
    seed(tmp_path / "studio")
    history = History(tmp_path / "studio")
    async with (
        LocalImagesServer(pictures=PNG) as upstream,
        ImagesClient(base_url=upstream.base_url, api_key=upstream.api_key) as client,
        Studio(client, history, StudioSettings(model="gpt-image-2")).serve() as address,
        chromium() as browser,
    ):
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(120_000)
        await page.goto(address)
        await page.wait_for_selector("html[data-ready]")
        yield page
    history.close()


async def cpu_of_a_frame(page: Page, cdp: Any) -> float:
    """Milliseconds of the page's main thread for one frame of scrolling."""

    async def used() -> float:
        metrics = (await cdp.send("Performance.getMetrics"))["metrics"]
        return 1000 * next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    await page.evaluate(SCROLL, FRAMES)  # what is new in the viewport is laid out and painted
    before = await used()
    await page.evaluate(SCROLL, FRAMES)
    return (await used() - before) / FRAMES


async def test_a_frame_costs_no_more_with_a_long_history(page: Page) -> None:
    """Processor time, so that it holds on a busy machine, too."""
    cdp: Any = await page.context.new_cdp_session(page)
    await cdp.send("Performance.enable", {"timeDomain": "threadTicks"})
    await page.evaluate(LOAD, 300)
    short = await cpu_of_a_frame(page, cdp)
    await page.evaluate(LOAD, COUNT)
    long = await cpu_of_a_frame(page, cdp)
    assert long < 2 * short + 5, f"{long:.1f} ms with {COUNT} generations, {short:.1f} ms with 300"


async def test_the_last_generation_is_found_and_selected(page: Page) -> None:
    """By finding its text, and by the keyboard; a new generation moves none out of its row."""
    await page.evaluate(LOAD, 300)
    await page.evaluate("scrollTo(0, 0)")
    assert await page.evaluate("window.find('otter number 2750')")
    card = page.locator("#history button", has_text="otter number 2750")
    await expect(card).to_be_in_viewport()
    await card.focus()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#stage .prompt")).to_have_text("otter number 2749")
    await page.fill("#prompt", "a new otter")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("#stage .facts b")).to_contain_text("$0.")
    sizes = await page.locator("#history ol").evaluate_all(
        "(groups) => groups.map((group) => group.children.length)"
    )
    assert set(sizes[:-1]) == {60}
    prompts = await page.locator("#history .shot + .line").all_text_contents()
    assert prompts == [
        "a new otter",
        *(f"otter number {COUNT - number}" for number in range(1, len(prompts))),
    ]
