"""Items for which fewer images came than were asked for: they are not done, and only the missing ones are asked for."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from openai_images import (
    BatchItem,
    GenerateRequest,
    Image,
    ImageResult,
    ImagesClient,
    ImagesError,
    PartialResultError,
    StreamInterruptedError,
    Succeeded,
    Usage,
)
from openai_images.batch.journal.journal_reader import parse_journal
from openai_images.batch.journal.ledger import Ledger
from openai_images.client.call import Call
from openai_images.models.outcomes import CallObserver
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, pictures, rows, run, states
from tests.helpers.clients import PNG
from tests.helpers.fake_calls import replace_calls

ITEM = "00001"
USAGE = Usage(input_tokens=10, output_tokens=100, total_tokens=110)


class Stingy:
    """Calls that give so many images each, whatever is asked for, and say so as the client does."""

    def __init__(self, client: ImagesClient, monkeypatch: pytest.MonkeyPatch, gives: Sequence[int]) -> None:
        """In the client's place."""
        self.gives = list(gives)
        self.asked: list[int | None] = []
        replace_calls(monkeypatch, client, self.generate)

    async def generate(self, request: GenerateRequest, observer: CallObserver) -> ImageResult:
        """One call."""
        await observer.before_send(1)
        self.asked.append(request.n)
        number = self.gives.pop(0)
        result = ImageResult((Image.from_bytes(PNG),) * number, usage=USAGE, model=request.model)
        if number >= (request.n or 1):
            return result
        error = ImagesError(f"the server sent {number} of {request.n} images")
        raise PartialResultError(str(error), result=result, errors=[error])


def files(out: Path) -> list[str]:
    """The files in the last row."""
    return [file["name"] for file in rows(out)[-1]["files"]]


def names(*numbers: int) -> list[str]:
    """Names of the item's files."""
    return [f"images/{ITEM}-{number}.png" for number in numbers]


async def test_the_missing_ones_are_asked_for(
    client: ImagesClient,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Names, images and costs go on where they stopped, over several runs, until all are there."""
    stingy = Stingy(client, monkeypatch, [3, 5, 2])
    items = items_of("an otter", n=10)
    first = await run(client, items, out)
    assert isinstance(first.failed[ITEM], PartialResultError)
    assert (states(out, ITEM), files(out)) == (["sent", "failed"], names(0, 1, 2))
    assert rows(out)[-1]["message"] == "the server sent 3 of 10 images"
    assert (first.summary.failed, first.summary.incomplete, first.summary.done) == (1, 1, 0)
    assert (first.plan.incomplete, rows(out)[-1]["missing"]) == ((), 7)
    (told,) = [each for each in caplog.messages if "retry_missing" in each]
    assert (
        told == f"'{ITEM}' has 3 of 10 images; retry_missing requests the missing ones (logged once per run)"
    )
    assert "3 of 10 images: the server sent" in (out / "index.html").read_text()
    each = Decimal(rows(out)[-1]["cost"])
    resumed = await run(client, items, out)
    assert (resumed.plan.failed, resumed.outcomes, stingy.asked) == ((ITEM,), [], [10])
    assert resumed.plan.incomplete == (ITEM,)
    second = await run(client, items, out, retry_failed=True, budget=Decimal(10))
    assert (files(out), second.summary.incomplete) == (names(*range(8)), 1)
    assert "8 of 10 images" in (out / "index.html").read_text()
    sent = [row for row in rows(out) if row["state"] == "sent"]
    assert [row["pictures"] for row in sent] == [10, 10]
    assert Decimal(sent[1]["estimate"]) < Decimal(sent[0]["estimate"])
    third = await run(client, items, out, retry_failed=True)
    (outcome,) = third.outcomes
    assert isinstance(outcome, Succeeded)
    assert (len(outcome.result.images), outcome.request.n, stingy.asked) == (10, 10, [10, 7, 2])
    assert all(image.path is not None and image.path.read_bytes() == PNG for image in outcome.result.images)
    assert (files(out), len(pictures(out))) == (names(*range(10)), 10)
    assert (third.summary.done, third.summary.incomplete, third.summary.spent) == (1, 0, 3 * each)
    record = Ledger.from_journal(parse_journal((out / "journal.jsonl").read_bytes()), {}).get(ITEM)
    assert (record.cost, len(record.files)) == (3 * each, 10)
    assert (await run(client, items, out)).plan.done == (ITEM,)


async def test_an_image_that_was_deleted_is_missing_too(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is there is kept."""
    stingy = Stingy(client, monkeypatch, [3, 2])
    items = items_of("an otter", n=4)
    await run(client, items, out)
    (out / "images" / f"{ITEM}-2.png").unlink()
    again = await run(client, items, out, retry_failed=True)
    assert (again.summary.done, stingy.asked) == (1, [4, 2])
    assert files(out) == names(0, 1, 2, 3)


async def test_an_unknown_item_with_some_images(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`retry_unknown` asks for the others, whatever the error was; damaged images are none."""

    async def interrupted(request: GenerateRequest, observer: CallObserver) -> ImageResult:
        await observer.before_send(1)
        error = StreamInterruptedError("the response ended")
        error.images, error.damaged = (
            [Image.from_bytes(PNG)] * 2,
            [evolve(Image.from_bytes(PNG[:-20]), flaw="cut")],
        )
        raise error

    items = items_of("an otter", n=4)
    with monkeypatch.context() as patch:
        replace_calls(patch, client, interrupted)
        first = await run(client, items, out)
    assert (first.summary.unknown, first.summary.incomplete, rows(out)[-1]["missing"]) == (1, 1, 2)
    again = await run(client, items, out, retry_unknown=True)
    assert (again.done, [request.json["n"] for request in server.requests]) == ([ITEM], [2])
    assert files(out) == names(0, 1, 2, 3)


async def test_the_request_was_changed(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of another prompt count for nothing: all are asked for, and none is overwritten."""
    stingy = Stingy(client, monkeypatch, [1, 2])
    await run(client, items_of("an otter", n=2), out)
    again = await run(client, items_of("a heron", n=2), out)
    assert (again.done, stingy.asked, len(pictures(out))) == ([ITEM], [2, 2], 3)


async def test_n_where_nobody_sees_it(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `n` in extra_body goes as it is, so nothing is asked for less of."""
    request = GenerateRequest("an otter", model="gpt-image-2", n=4, extra_body={"n": 4})
    stingy = Stingy(client, monkeypatch, [1, 4])
    await run(client, [BatchItem(ITEM, request)], out)
    again = await run(client, [BatchItem(ITEM, request)], out, retry_failed=True)
    assert (again.done, stingy.asked) == ([ITEM], [4, 4])


async def test_another_failure_keeps_them(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry that is refused, blocked or lost forgets none of the images that came before."""
    with monkeypatch.context() as patch:
        Stingy(client, patch, [3])
        await run(client, items_of("an otter", n=5), out)
    server.script("moderation_400")
    blocked = await run(client, items_of("an otter", n=5), out, retry_failed=True)
    assert (blocked.summary.blocked, blocked.summary.incomplete) == (1, 1)
    journal = parse_journal((out / "journal.jsonl").read_bytes())
    record = Ledger.from_journal(journal, {}).get(ITEM)
    assert (len(record.files), record.image_count, record.cost is not None) == (3, 5, True)
    assert record.is_incomplete
    last = await run(client, items_of("an otter", n=5), out, retry_failed=True)
    assert (last.done, [request.json["n"] for request in server.requests]) == ([ITEM], [2, 2])
    assert len(pictures(out)) == 5


async def test_a_part_that_failed(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Of 23 images in three requests one is blocked: the retry sends a request for its ten, and no other."""
    server.script("ok", "moderation_400")
    items = items_of("an otter", n=23)
    first = await run(client, items, out)
    came = len(pictures(out))
    assert (first.summary.incomplete, came < 23) == (1, True)
    again = await run(client, items, out, retry_failed=True)
    assert (again.done, sum(request.json["n"] for request in server.requests[3:])) == ([ITEM], 23 - came)
    assert pictures(out) == sorted(f"{ITEM}-{number}.png" for number in range(23))


async def test_fewer_without_an_error(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result with fewer images than were asked for is no success either."""
    new = client._calls.new

    def less(request: GenerateRequest, **keywords: Any) -> Call:
        return new(evolve(request, n=1), **keywords)

    monkeypatch.setattr(client._calls, "new", less)
    ran = await run(client, items_of("an otter", n=3), out)
    error = ran.failed[ITEM]
    assert isinstance(error, PartialResultError)
    assert str(error).startswith("the server sent 1 of 3 images; they are kept")
    assert (len(error.result.images), ran.summary.incomplete, files(out)) == (1, 1, names(0))


async def test_only_what_is_missing(
    client: ImagesClient, server: LocalImagesServer, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that ignores n: it is said once, and `retry_missing` asks for the rest, and for no other failure."""
    server.script("fewer_images:1", "fewer_images:2", "moderation_400", "fewer_images")
    items = items_of("an otter", "a heron", "a fox", "a frog", n=3)
    first = await run(client, items, out, concurrency=1)
    assert (first.summary.failed, first.summary.incomplete, first.summary.blocked) == (4, 3, 1)
    assert [row["missing"] for row in rows(out) if "missing" in row] == [2, 1, 2]
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    first_of_client, first_of_batch = [text for text in warnings if "missing" in text]
    assert first_of_client.startswith("2 of 3 images are missing")
    assert first_of_batch.startswith("'00001' has 1 of 3 images; retry_missing requests the missing ones")
    again = await run(client, items, out, retry_missing=True)
    assert (again.plan.to_send, again.plan.incomplete) == (("00001", "00002", "00004"),) * 2
    assert sorted(request.json["n"] for request in server.requests[4:]) == [1, 2, 2]
    assert (again.summary.done, again.summary.failed, again.summary.blocked) == (3, 1, 1)
    assert pictures(out) == [f"0000{item}-{number}.png" for item in (1, 2, 4) for number in range(3)]


async def test_what_may_have_been_billed_is_not_asked_for(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Where a part of a request is unknown, `retry_missing` sends nothing: its images may be paid for."""
    server.script("ok", "reset_after_body")
    items = items_of("an otter", n=13)
    first = await run(client, items, out)
    assert (first.summary.unknown, first.summary.incomplete) == (1, 1)
    assert (await run(client, items, out, retry_missing=True)).plan.to_send == ()


async def test_what_cannot_be_asked_for_alone(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `n` in extra_body would ask for all of them again, so `retry_missing` does not."""
    request = GenerateRequest("an otter", model="gpt-image-2", n=4, extra_body={"n": 4})
    Stingy(client, monkeypatch, [1])
    await run(client, [BatchItem(ITEM, request)], out)
    assert (await run(client, [BatchItem(ITEM, request)], out, retry_missing=True)).plan.to_send == ()
