"""Fewer images than were asked for: what came is never lost, and what did not come is never passed over in silence."""

import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    DecodeError,
    ImagesClient,
    ImagesError,
    ModerationBlockedError,
    PartialImage,
    PartialResultError,
    StreamInterruptedError,
    errors,
)
from tests.helpers.clients import B64, COMPLETED, PNG, PROMPT, client_of, event, partial
from tests.helpers.leaks import parts
from tests.helpers.raw_server import CLOSE, RawServer, reply
from tests.helpers.tiny_images import gif, text

EVENTS = "text/event-stream"
GOOD = {"b64_json": B64}
BLOCKED = {"error": {"code": "moderation_blocked", "message": "the third was refused"}}
HALF = {"b64_json": text("A")[:16]}


def answer(*items: Any, **fields: Any) -> bytes:
    """A JSON answer."""
    return reply(json.dumps({"created": 1, "data": items, **fields}).encode())


async def test_three_of_ten(caplog: pytest.LogCaptureFixture) -> None:
    """An error that holds them as a result, says how many, and is in the log."""
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    async with RawServer([answer(GOOD, GOOD, GOOD, usage=usage)]) as server, client_of(server) as client:
        with pytest.raises(PartialResultError) as caught, caplog.at_level(logging.WARNING):
            await client.generate(PROMPT, n=10, model="gpt-image-2")
    error = caught.value
    assert "7 of 10 images are missing" in str(error)
    assert "the server sent 3 of 10 images" in str(error)
    assert [image.data for image in error.result.images] == [PNG] * 3
    assert (error.result.usage.total_tokens, error.result.model, error.attempts) == (3, "gpt-image-2", 1)
    [reason] = error.errors
    assert (type(reason), reason.maybe_billed, reason.attempts) == (ImagesError, False, 1)
    assert not error.maybe_billed
    assert error.result.missing == 7
    assert str(error) in caplog.text


async def test_it_is_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    """A server that ignores n says it with every answer: the log of a client has one warning, errors tell the rest."""
    async with RawServer([answer(GOOD)] * 3) as server, client_of(server) as client:
        with caplog.at_level(logging.DEBUG, "openai_images"):
            for _ in range(3):
                with pytest.raises(PartialResultError):
                    await client.generate(PROMPT, n=2)
    told = [
        record.levelname for record in caplog.records if "1 of 2 images is missing" in record.getMessage()
    ]
    assert told == ["WARNING", "DEBUG", "DEBUG"]


async def test_a_complete_result_lacks_nothing() -> None:
    """Whatever a server writes into a field of this name."""
    async with RawServer([answer(GOOD, missing=3)]) as server, client_of(server) as client:
        result = await client.generate(PROMPT)
    assert (result.missing, result.extra) == (0, {"missing": 3})


async def iterated(client: ImagesClient) -> None:
    """Read a stream's one image, and then to its end."""
    async with client.stream(PROMPT, n=2) as events:
        await anext(events)
        await anext(events)


VERBS: dict[str, Callable[[ImagesClient], Awaitable[object]]] = {
    "generate": lambda client: client.generate(PROMPT, n=2),
    "edit": lambda client: client.edit(PROMPT, image=PNG, n=2),
    "finish": lambda client: client.stream(PROMPT, n=2).finish(),
    "iterate": iterated,
}


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_says_it(verb: str) -> None:
    """A generation, an edit, and a stream that is answered in JSON."""
    async with RawServer([answer(GOOD, BLOCKED)]) as server, client_of(server, split=False) as client:
        with pytest.raises(PartialResultError, match="the third was refused") as caught:
            await VERBS[verb](client)
    [reason] = caught.value.errors
    assert isinstance(reason, ModerationBlockedError)
    assert (reason.status_code, len(caught.value.result.images)) == (200, 1)


async def test_a_stream_that_ends_early() -> None:
    """Two finished images of three, and the reason for the third."""
    failed = event("partial_failed", error={"message": "it did not work"})
    body = reply(COMPLETED + failed + COMPLETED, kind=EVENTS)
    async with RawServer([body]) as server, client_of(server, split=False) as client:
        stream = client.stream(PROMPT, n=3)
        with pytest.raises(PartialResultError, match="it did not work") as caught:
            await stream.finish()
        with pytest.raises(RuntimeError):
            _ = stream.result
    assert [type(reason) for reason in caught.value.errors] == [errors.StatusOutcomeUnknownError]
    assert len(caught.value.result.images) == 2


async def test_split_calls_are_put_together() -> None:
    """Of 23 three requests give three each: one error, with nine images and all reasons."""
    script = [answer(GOOD, GOOD, GOOD), CLOSE]
    async with RawServer(script, script, script) as server, client_of(server) as client:
        with pytest.raises(PartialResultError, match="14 of 23 images are missing") as caught:
            await client.generate(PROMPT, n=23)
    assert len(caught.value.result.images) == 9
    assert len(caught.value.result.parts) == 3
    assert caught.value.result.missing == 14
    assert [str(reason)[:30] for reason in caught.value.errors] == ["the server sent 3 of 10 images"] * 2


async def test_a_number_in_extra_body_counts() -> None:
    """It is what the server was asked for."""
    async with RawServer([answer(GOOD)]) as server, client_of(server) as client:
        with pytest.raises(PartialResultError, match="1 of 2 images is missing"):
            await client.generate(PROMPT, extra_body={"n": 2})


async def test_images_of_another_place_are_files(tmp_path: Path) -> None:
    """As those of the usual place are, and nothing else is left in the folder."""
    body = reply(json.dumps({"images": [B64, B64], "echo": {"input": B64}}).encode())
    async with RawServer([body]) as server, client_of(server) as client:
        result = await client.generate(PROMPT, n=2, into=tmp_path / "o")
    assert [image.data for image in result.images] == [PNG, PNG]
    assert parts(tmp_path) == ["o-0.png", "o-1.png"]


async def test_more_than_asked_for_is_no_error() -> None:
    """All of them are the result, and an unset n counts as one."""
    async with RawServer([answer(GOOD, GOOD, BLOCKED)]) as server, client_of(server) as client:
        assert len((await client.generate(PROMPT)).images) == 2


@pytest.mark.parametrize("n", [0, -3])
async def test_none_asked_for(n: int) -> None:
    """What is sent anyway is read to its end, whatever comes."""
    async with RawServer([answer(GOOD)], [answer()]) as server, client_of(server, validate="off") as client:
        assert (await client.generate(PROMPT, n=n)).image.data == PNG
        with pytest.raises(ImagesError) as caught:
            await client.generate(PROMPT, n=n)
    assert "in the middle of its JSON" not in str(caught.value)


async def test_what_is_half_is_kept_in_memory_and_in_files(tmp_path: Path) -> None:
    """Under a name that says what it is; the whole one beside it is the result."""
    async with RawServer([answer(GOOD, HALF)], [answer(GOOD, HALF)]) as server:
        for into in (None, tmp_path / "o"):
            async with client_of(server) as client:
                with pytest.raises(PartialResultError) as caught:
                    await client.generate(PROMPT, n=2, into=into)
            [kept] = caught.value.damaged
            assert (kept.data, kept.flaw) == (gif("A")[:12], "truncated")
            assert isinstance(caught.value.errors[0], DecodeError)
            assert [image.data for image in caught.value.result.images] == [PNG]
    assert parts(tmp_path) == ["o-0.damaged.gif", "o-0.png"]


async def test_a_single_one_that_is_half(tmp_path: Path) -> None:
    """Nothing is sent again, and what came is a file."""
    async with RawServer([answer(HALF)]) as server, client_of(server) as client:
        with pytest.raises(DecodeError, match="a truncated image") as caught:
            await client.generate(PROMPT, into=tmp_path / "o.gif")
        assert server.posts == 1
    assert caught.value.damaged[0].path == tmp_path / "o.damaged.gif"
    assert caught.value.maybe_billed


async def test_partials_are_kept_as_many_as_were_asked_for() -> None:
    """The last ones, for the error; `generate` keeps none, however many a server sends."""
    body = b"".join(map(partial, range(50)))
    async with RawServer([reply(body, kind=EVENTS)]) as server, client_of(server) as client:
        async with client.stream(PROMPT, partial_images=2) as events:
            seen = [await anext(events) for _ in range(50)]
            assert {type(one) for one in seen} == {PartialImage}
            with pytest.raises(StreamInterruptedError) as caught:
                await anext(events)
        assert caught.value.partials == tuple(seen[-2:])
        with pytest.raises(StreamInterruptedError) as caught:
            await client.generate(PROMPT)
        assert caught.value.partials == ()


@pytest.mark.parametrize("form", ["urls", "events", "pictures"])
async def test_the_result_is_made_once_however_many_come(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of images behind the one that was asked for are work once, not once for each."""
    from openai_images.wire.response import ResponseDecoder

    items = [{"url": "https://x.example/a.png"} if form == "urls" else GOOD] * 300
    body = reply(COMPLETED * 300, kind=EVENTS) if form == "events" else answer(*items)
    made = 0
    result = ResponseDecoder.result

    def counted(self: ResponseDecoder, completed: Any) -> Any:
        nonlocal made
        made += 1
        return result(self, completed)

    monkeypatch.setattr(ResponseDecoder, "result", counted)
    async with RawServer([body]) as server, client_of(server) as client:
        assert len((await client.generate(PROMPT)).images) == 300
    assert made <= 2
