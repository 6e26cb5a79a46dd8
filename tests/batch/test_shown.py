"""What a batch, its plan and its outcomes show of themselves."""

from pathlib import Path

import pytest

from openai_images import Batch, BatchItem, BatchOptions, Failed, GenerateRequest, Outcome, Succeeded
from openai_images.server import LocalImagesServer
from tests.helpers.clients import client_of

SAME = [BatchItem(key, GenerateRequest("a secret otter", model="gpt-image-2")) for key in ("a", "b")]


async def outcomes_of(batch: Batch) -> list[Outcome]:
    """All outcomes of a batch that is entered."""
    return [outcome async for outcome in batch]


@pytest.mark.parametrize(("script", "kind"), [("ok", Succeeded), ("status:400", Failed)])
@pytest.mark.parametrize("show", [True, False])
async def test_an_outcome_says_which_prompt_it_was(
    server: LocalImagesServer, out: Path, script: str, kind: type, show: bool
) -> None:
    """Unless the client hides prompts; so does one that shares the request of another item."""
    server.script(script)
    options = BatchOptions(dedupe=True)
    async with (
        client_of(server, show_prompts=show) as client,
        Batch(client, SAME, out, options=options) as batch,
    ):
        outcomes = await outcomes_of(batch)
    assert [(type(outcome), outcome.key) for outcome in outcomes] == [(kind, "a"), (kind, "b")]
    for outcome in outcomes:
        assert ("secret otter" in str(outcome), outcome.prompt_beginning) == (
            show,
            "a secret otter" if show else "",
        )
        assert ("secret otter" in outcome._repr_html_()) == show


async def test_a_batch_shows_where_it_stands(server: LocalImagesServer, out: Path) -> None:
    """Its folder and its state, and in a notebook the counts of its summary."""
    async with client_of(server) as client:
        batch = Batch(client, SAME, out)
        assert repr(batch) == f"<Batch of 2 items in {str(out)!r}, not entered>"
        assert "<td" not in batch._repr_html_()
        async with batch:
            assert repr(batch).endswith(", open>")
            assert repr(batch.plan) == "BatchPlan(total=2, pending=('a', 'b'), to_send=('a', 'b'))"
            await outcomes_of(batch)
        assert repr(batch).endswith(", closed>")
        html = batch._repr_html_()
    assert "<strong>Batch of 2 items in &#x27;" in html
    assert "done</th>" in html
    assert "secret" not in html + repr(batch) + batch.plan._repr_html_()
