"""A folder written by version 0.1.0 is read as it was meant: nothing in it is bought again without a question."""

from decimal import Decimal
from pathlib import Path

import pytest

from openai_images import ImagesClient
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, pictures, posts, run
from tests.helpers.clients import PNG

JOURNAL = Path(__file__).with_name("journal-0.1.0.jsonl").read_text()
ITEMS = items_of("an otter", "a fox", "a cat", "a dog", "a hen", "a bee")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder: three images, an item that was blocked, one whose outcome is unknown, one behind a URL."""
    folder = tmp_path / "out"
    (folder / "images").mkdir(parents=True)
    (folder / "journal.jsonl").write_text(JOURNAL)
    for key in ("00001", "00004", "00005"):
        (folder / "images" / f"{key}.png").write_bytes(PNG)
    return folder


async def test_each_state_is_known(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Every state of an item, what was spent, and nothing to send."""
    ran = await run(client, ITEMS, out)
    assert ran.plan.done == ("00001", "00004", "00005")
    assert ran.plan.failed == ("00002",)
    assert ran.plan.unknown == ("00003",)
    assert ran.plan.away == ("00006",)
    assert (ran.plan.pending, ran.plan.missing, ran.plan.altered, ran.plan.changed) == ((), (), (), ())
    assert (ran.plan.spent, ran.plan.unpriced) == (Decimal("0.01766000"), 2)
    assert server.posts == 0
    assert ran.summary.done == 3
    assert (out / "journal.jsonl").read_text().startswith(JOURNAL)


async def test_what_may_be_sent_again_is_sent_when_asked(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """The blocked one, and those of which nothing is known but that they were sent, each once."""
    ran = await run(client, ITEMS, out, retry_failed=True, retry_unknown=True)
    assert posts(server) == {"a fox": 1, "a cat": 1, "a bee": 1}
    assert ran.done == ["00002", "00003", "00006"]
    assert pictures(out) == [f"0000{number}.png" for number in range(1, 7)]
