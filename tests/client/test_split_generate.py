"""`generate(n=23)`: three requests at once, one result, and nothing lost where one of them fails."""

import asyncio
import gc
import pickle
import subprocess
import sys
import weakref
from typing import Any

import pytest
from aiohttp import web

from openai_images import (
    APIStatusError,
    BadRequestError,
    ImageResult,
    ImagesClient,
    InternalServerError,
    Limits,
    OutcomeUnknownError,
    PartialResultError,
    RateLimitError,
    RequestInvalidError,
    RetryPolicy,
)
from openai_images.ratelimit.limiter import Patience
from openai_images.server import LocalImagesServer
from tests.helpers import clients as calling
from tests.helpers.clients import KEY, PNG, before_each_request
from tests.helpers.leaks import nothing_left, until
from tests.helpers.split_servers import Asked, Gate, b64, client_of, painting, picture, refusal, whole

PROMPT = "an otter on a raft"


async def by_number(_: web.Request, asked: Asked) -> web.Response:
    """The requests for ten are marked by their number, the one for three by 9."""
    n = asked.get("n", 1)
    return whole(9 if n == 3 else asked.number, n)


async def test_the_bodies_and_the_result() -> None:
    """10 + 10 + 3, all else alike; images, tokens, attempts and parts are those of all."""
    async with painting(by_number) as painter, client_of(painter) as client:
        result = await client.generate(PROMPT, n=23, model="gpt-image-2", size="1024x1024", user="u")
    assert sorted(painter.numbers) == [3, 10, 10]
    rest = {"prompt": PROMPT, "model": "gpt-image-2", "size": "1024x1024", "user": "u"}
    assert [{**asked, "n": 0} for asked in painter.asked] == [{**rest, "n": 0}] * 3
    assert [len(part.images) for part in result.parts] == [10, 10, 3]
    assert result.images == tuple(image for part in result.parts for image in part.images)
    assert [image.data for image in result.images[20:]] == [picture(9, number) for number in range(3)]
    assert result.usage is not None
    assert (result.usage.input_tokens, result.usage.output_tokens, result.usage.total_tokens) == (
        30,
        2300,
        2330,
    )
    assert result.usage.input_tokens_details is not None
    assert result.usage.input_tokens_details.text_tokens == 30
    assert (result.attempts, result.model, result.edited) == (3, "gpt-image-2", False)
    first = result.parts[0]
    assert (result.created, result.request_id) == (first.created, first.request_id)
    assert result.elapsed == max(part.elapsed for part in result.parts)


async def test_the_order_is_that_of_the_requests() -> None:
    """Images of the request that answers last stand where it was asked, all requests being in flight at once."""
    gate = Gate(3)

    async def answer(request: web.Request, asked: Asked) -> web.Response:
        if asked["n"] == 10:
            await gate()
        return await by_number(request, asked)

    async with painting(answer) as painter, client_of(painter) as client:
        task = asyncio.create_task(client.generate(PROMPT, n=23))
        await until(lambda: len(painter.asked) == 3 and painter.busy == 2)
        gate.go_on.set()
        result = await task
    assert [image.data for image in result.images[20:]] == [picture(9, number) for number in range(3)]
    assert painter.most == 3


async def test_a_missing_usage_is_not_taken_for_nothing() -> None:
    """Where one request is not counted the sum is not known; the parts have what is."""

    async def answer(_: web.Request, asked: Asked) -> web.Response:
        return whole(1, asked["n"], **({"usage": None} if asked["n"] == 3 else {}))

    async with painting(answer) as painter, client_of(painter) as client:
        result = await client.generate(PROMPT, n=13, model="gpt-image-2")
    assert result.usage is None
    assert [part.usage is None for part in result.parts] == [False, True]
    assert result.cost() is None


async def test_authors_of_svgs_are_added_up() -> None:
    """An svg a request, and the tokens of the model that wrote them in all."""

    async def answer(_: web.Request, asked: Asked) -> web.Response:
        author = {"model": "gpt-5", "input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
        return whole(asked.number, 1, svg_usage=author)

    async with painting(answer) as painter, client_of(painter) as client:
        result = await client.generate(
            PROMPT, n=3, model="gpt-image-2.6-flare", output_format="svg", svg={"model": "gpt-5"}
        )
    assert painter.numbers == [1, 1, 1]
    assert result.svg_usage is not None
    assert (result.svg_usage.model, result.svg_usage.total_tokens) == ("gpt-5", 36)
    assert result.svg_usage.reasoning_tokens is None


@pytest.mark.parametrize(
    ("params", "sent"),
    [
        ({"n": 10}, [10]),
        ({"n": 1}, [1]),
        ({}, [1]),
        ({"extra_body": {"n": 23}}, [23]),
        ({"n": 5, "extra_body": {"n": 23}}, [23]),
    ],
)
async def test_what_goes_as_it_is(params: dict[str, Any], sent: list[int]) -> None:
    """One request where one will do, and where the caller wrote the body."""
    async with painting(by_number) as painter, client_of(painter) as client:
        result = await client.generate(PROMPT, **params)
    assert (painter.numbers, result.parts) == (sent, ())


async def test_the_off_switch() -> None:
    """`split=False` sends `n` as it is, and the checks speak up against what OpenAI refuses."""
    async with painting(by_number) as painter, client_of(painter, split=False) as client:
        result = await client.generate(PROMPT, n=23)
        assert (painter.numbers, len(result.images), result.parts) == ([23], 23, ())
    official = ImagesClient(api_key=KEY, base_url="https://api.openai.com/v1", split=False)
    with pytest.raises(RequestInvalidError, match="23 is above 10"):
        await official.generate(PROMPT, n=23)
    with pytest.raises(RequestInvalidError, match="cannot come in one stream"):
        official.stream(PROMPT, n=2)
    await official.aclose()


async def test_a_slip_of_the_finger_buys_nothing() -> None:
    """More than 1,000 images are refused here, or by the server where that is not OpenAI's."""
    official = ImagesClient(api_key=KEY, base_url="https://api.openai.com/v1")
    with pytest.raises(RequestInvalidError, match="1 to 1,000, or more with generate_many"):
        await official.generate(PROMPT, n=100_000)
    await official.aclose()

    async def answer(_: web.Request, __: Asked) -> web.Response:
        return refusal(400)

    async with painting(answer) as painter, client_of(painter) as client:
        with pytest.raises(BadRequestError):
            await client.generate(PROMPT, n=100_000)
    assert painter.numbers == [100_000]


async def test_under_the_limits(server: LocalImagesServer) -> None:
    """A hundred images take ten slots of two at a time, each as large as what it asks for."""
    most = 0
    asked: list[int] = []
    async with ImagesClient(
        base_url=server.base_url, api_key=server.api_key, limits=Limits(concurrency=2)
    ) as client:
        limiter = client._context.limiter
        acquire, held = limiter.acquire, 0

        async def counted(images: int, patience: Patience) -> Any:
            nonlocal most, held
            slot = await acquire(images, patience)
            asked.append(images)
            held += 1
            most = max(most, held)
            release, released = slot.release, False

            def once() -> None:
                nonlocal held, released
                held, released = held - (not released), True
                release()

            slot.release = once  # type: ignore[method-assign]
            return slot

        limiter.acquire = counted  # type: ignore[method-assign]
        result = await client.generate(PROMPT, n=95)
    assert len(result.images) == 95
    assert (asked, most, held) == ([10] * 9 + [5], 2, 0)


# One fails


async def test_one_is_refused_and_the_others_finish() -> None:
    """The two that were not refused are in the error, in their order, with all there is to know."""
    gate = Gate(3)

    async def answer(request: web.Request, asked: Asked) -> web.Response:
        if asked["n"] == 3:
            return refusal(400, "moderation_blocked")
        await gate()
        return await by_number(request, asked)

    async with painting(answer) as painter, client_of(painter) as client:
        task = asyncio.create_task(client.generate(PROMPT, n=23, model="gpt-image-2"))
        await until(lambda: len(painter.asked) == 3 and painter.busy == 2)
        gate.go_on.set()
        with pytest.raises(PartialResultError) as caught:
            await task
    error = caught.value
    assert str(error).startswith(
        "3 of 23 images are missing; the 20 received are in error.result, and n=3 requests the missing ones. "
        "The first error: the server answered 400 (moderation_blocked)"
    )
    assert PROMPT not in str(error)
    assert [type(one).__name__ for one in error.errors] == ["ModerationBlockedError"]
    assert (len(error.result.images), len(error.result.parts), error.images) == (20, 2, error.result.images)
    assert (error.result.usage.total_tokens, error.result.cost() is not None) == (2020, True)
    assert (error.maybe_billed, error.safe_to_resend, error.attempts) == (False, False, 3)
    assert error.elapsed >= max(part.elapsed for part in error.result.parts)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.attempts, len(again.result.images)) == (str(error), 3, 20)


async def test_one_is_cut_and_its_whole_pictures_count() -> None:
    """Two of its three had arrived: they are in the result, whose usage nobody knows then."""

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        if asked["n"] == 10:
            return whole(1, 10)
        response = web.StreamResponse(headers={"content-type": "application/json", "x-request-id": "req_9"})
        await response.prepare(request)
        items = "".join(f'{{"b64_json": "{b64(picture(9, number))}"}},' for number in range(2))
        await response.write(f'{{"data": [{items} {{"b64_js'.encode())
        assert request.transport is not None
        request.transport.close()
        return response

    async with painting(answer) as painter, client_of(painter) as client:
        with pytest.raises(PartialResultError) as caught:
            await client.generate(PROMPT, n=13, model="gpt-image-2")
    error = caught.value
    assert str(error).startswith("1 of 13 images is missing; the 12 received are in")
    assert [image.data for image in error.result.images[10:]] == [picture(9, number) for number in range(2)]
    assert len(error.errors[0].images) == 2
    assert (error.maybe_billed, error.result.usage, error.result.cost()) == (True, None, None)
    assert (error.request_id, error.result.request_id) == ("req_9", "req_1")


async def test_a_short_answer_is_told() -> None:
    """A request for ten that gives nine has lost one, as it has alone; what came is one result."""

    async def answer(_: web.Request, asked: Asked) -> web.Response:
        return whole(asked.number, min(asked["n"], 9))

    async with painting(answer) as painter, client_of(painter) as client:
        with pytest.raises(PartialResultError, match="2 of 23 images are missing") as caught:
            await client.generate(PROMPT, n=23)
    error = caught.value
    assert [len(part.images) for part in error.result.parts] == [9, 9, 3]
    assert [str(reason) for reason in error.errors] == ["the server sent 9 of 10 images without a reason"] * 2
    assert (len(error.images), error.attempts, error.maybe_billed) == (21, 3, False)


@pytest.mark.parametrize(
    ("statuses", "kind", "said"),
    [
        ((400, 400, 400), BadRequestError, "3 x BadRequestError"),
        ((500, 400, 400), InternalServerError, "1 x ServerOutcomeUnknownError"),
        ((400, 400, 500), InternalServerError, "2 x BadRequestError, 1 x ServerOutcomeUnknownError"),
        ((429, 429, 400), BadRequestError, "2 x RateLimitError, 1 x BadRequestError"),
        ((429, 429, 429), RateLimitError, "3 x RateLimitError"),
    ],
)
async def test_all_fail(statuses: tuple[int, ...], kind: type[APIStatusError], said: str) -> None:
    """One of the errors is raised: the one that may have cost money, or that waiting does not help; all are told."""

    async def answer(_: web.Request, asked: Asked) -> web.Response:
        return refusal(statuses[asked.number])

    retry = RetryPolicy(max_rate_limit_wait=0)
    limits = Limits(concurrency=1)  # so that they come in their order
    async with painting(answer) as painter, client_of(painter, retry=retry, limits=limits) as client:
        with pytest.raises(kind) as caught:
            await client.generate(PROMPT, n=23)
    error = caught.value
    assert isinstance(error, OutcomeUnknownError) == error.maybe_billed == (500 in statuses)
    (note,) = error.__notes__
    assert note.startswith("all 3 requests for the 23 images failed: ")
    assert said in note
    assert error.attempts == 3


async def test_all_fail_and_what_was_whole_is_kept() -> None:
    """Images that had arrived in any of the requests are on the one error that is raised, in their order."""

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        data = b64(picture(asked["n"]))
        await response.write(f'{{"data": [{{"b64_json": "{data}"}}, {{"b64_js'.encode())
        assert request.transport is not None
        request.transport.close()
        return response

    async with painting(answer) as painter, client_of(painter) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.generate(PROMPT, n=13)
    assert [image.data for image in caught.value.images] == [picture(10), picture(3)]


@pytest.mark.parametrize("failing", [1, 2])
async def test_a_disk_that_fails_in_one_request(failing: int) -> None:
    """It is one of the reasons, and may have cost money; where it befalls all of them, it is raised as it is."""

    async def fail(number: int) -> None:
        if number <= failing:
            raise OSError(28, "No space left on device")

    async with painting(by_number) as painter, client_of(painter) as client:
        before_each_request(client, fail)
        with pytest.raises(OSError if failing == 2 else PartialResultError) as caught:
            await client.generate(PROMPT, n=13)
    error = caught.value
    if isinstance(error, PartialResultError):
        (told,) = error.errors
        assert str(told) == "a file could not be written or read back (No space left on device)"
        assert (told.maybe_billed, error.maybe_billed, isinstance(told.__cause__, OSError)) == (
            True,
            True,
            True,
        )
        assert str(error).startswith("10 of 13 images are missing, some may have been billed; the 3 received")
    else:
        assert (error.errno, error.__notes__[0]) == (
            28,
            "all 2 requests for the 13 images failed: 2 x OSError",
        )


async def test_each_request_is_sent_again_where_that_is_safe(server: LocalImagesServer) -> None:
    """A limit that one of them meets is waited for by that one; the attempts of all are counted."""
    server.script("rate_limited:0.001", "ok", "should_retry_true:500")
    async with calling.client_of(server) as client:
        result = await client.generate(PROMPT, n=23)
    assert (len(result.images), result.attempts, server.posts) == (23, 5, 5)


# It ends early


async def test_a_cancelled_call_leaves_nothing() -> None:
    """All connections close, no task stays, and the slots are free."""
    gate = Gate(3)

    async def answer(_: web.Request, asked: Asked) -> web.Response:
        await gate()
        return whole(0, asked["n"])

    async with painting(answer) as painter:
        async with nothing_left(), client_of(painter, limits=Limits(concurrency=3)) as client:
            tasks = asyncio.all_tasks()
            task = asyncio.create_task(client.generate(PROMPT, n=43))
            await gate.came.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            ours = [one for one in asyncio.all_tasks() - tasks if one.get_name().startswith("openai_images")]
            assert ours == []
            await until(lambda: painter.busy == 0)
            assert client._context.limiter.queue().free > 0
            gate.go_on.set()
            assert len((await client.generate(PROMPT, n=11)).images) == 11
        assert len(painter.asked) == 5


@pytest.mark.parametrize("mistake", [LookupError("a mistake"), SystemExit(3), None])
async def test_a_mistake_ends_all_at_once(mistake: BaseException | None) -> None:
    """What is no error of a request is raised as it is, and the siblings do not go on."""
    gate = Gate(2)

    async def answer(_: web.Request, asked: Asked) -> web.Response:
        await gate()
        return whole(0, asked["n"])

    async def fail(number: int) -> None:
        if number == 3:
            await gate.came.wait()
            if mistake is None:
                raise asyncio.CancelledError
            raise mistake

    def run() -> None:
        async def main() -> None:
            async with painting(answer) as painter, nothing_left(), client_of(painter) as client:
                before_each_request(client, fail)
                if isinstance(mistake, SystemExit):
                    await client.generate(PROMPT, n=23)
                expected = LookupError if mistake else RuntimeError
                with pytest.raises(expected, match=r"a mistake|cancelled by other code"):
                    await client.generate(PROMPT, n=23)
                await until(lambda: painter.busy == 0)

        asyncio.run(main())

    if isinstance(mistake, SystemExit):
        with pytest.raises(SystemExit):
            await asyncio.to_thread(run)
    else:
        await asyncio.to_thread(run)


async def test_a_call_that_is_thrown_away() -> None:
    """A coroutine that is closed, as one whose loop has ended, cancels its requests."""
    gate = Gate(2)

    async def answer(_: web.Request, asked: Asked) -> web.Response:
        await gate()
        return whole(0, asked["n"])

    async with painting(answer) as painter, nothing_left(), client_of(painter) as client:
        coroutine = client.generate(PROMPT, n=13)
        coroutine.send(None)
        await gate.came.wait()
        coroutine.close()
        await until(lambda: painter.busy == 0)


async def test_pictures_go_when_nobody_holds_them() -> None:
    """Their memory is free at once, without the garbage collector, as soon as the result is dropped."""
    async with painting(by_number) as painter, client_of(painter) as client:
        gc.collect()
        gc.disable()
        try:
            result: ImageResult | None = await client.generate(PROMPT, n=23)
            assert result is not None
            gone = [weakref.ref(image) for image in result.images]
            del result
            assert [one() for one in gone] == [None] * 23
        finally:
            gc.enable()


def test_one_picture_needs_none_of_it() -> None:
    """The splitting is imported with the first call that is split."""
    code = (
        "import asyncio, sys\n"
        "from openai_images import ImagesClient\n"
        "client = ImagesClient(api_key='k', base_url='http://127.0.0.1:9/v1')\n"
        "try:\n"
        "    asyncio.run(client.generate('an otter'))\n"
        "except Exception: pass\n"
        "client.stream('an otter')\n"
        "print([name for name in sys.modules if name.startswith('openai_images.client.split')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_a_picture_is_what_the_server_painted(server: LocalImagesServer) -> None:
    """End to end against the local server, which refuses more than it takes."""
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key) as client:
        result = await client.generate(PROMPT, n=12)
    assert [image.data for image in result.images] == [PNG] * 12
    assert sorted(request.json["n"] for request in server.requests) == [2, 10]
