"""Code as people write it, which mypy and pyright must accept in strict mode; it is checked and never run."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Unpack, assert_never, assert_type

import aiohttp
import PIL.Image

from openai_images import (
    PUBLISHED_PRICES,
    APIConnectionError,
    ApiKey,
    APIStatusError,
    APITimeoutError,
    Batch,
    BatchItem,
    BatchOptions,
    CallOptions,
    CompletedImage,
    DownloadError,
    EditKeywords,
    EditParams,
    Failed,
    GenerateKeywords,
    GenerateParams,
    GenerateRequest,
    Image,
    ImageEvent,
    ImageInput,
    ImageResult,
    ImagesClient,
    ImagesError,
    ImageStream,
    Limits,
    ModerationBlockedError,
    Outcome,
    Outcomes,
    OutcomeUnknownError,
    PartialImage,
    Progress,
    RateLimitError,
    RetryPolicy,
    StreamInterruptedError,
    Succeeded,
    Telemetry,
    Timeouts,
    TokenProvider,
    UnknownEvent,
    Usage,
    read_batch_items,
    size_of_ratio,
)
from openai_images.server import LocalImagesServer, RecordedDownload, RecordedPart

module_level = ImagesClient()
short_forms = ImagesClient(timeout=30.0, max_retries=0)
reporting = ImagesClient(telemetry=Telemetry(capture_prompts=True))


async def await_a_picture() -> bytes:
    """Nothing on the way to the bytes is Optional."""
    async with ImagesClient() as client:
        assert_type(client, ImagesClient)
        result = await client.generate("a cute baby sea otter", model="gpt-image-2", size="1024x1024")
        assert_type(result, ImageResult)
        assert_type(result.images, tuple[Image, ...])
        assert_type(result.image.save("otter.png"), Path)
        assert_type(result.image.media_type, str)
        assert_type(result.image.content_type, str)
        assert_type(result.image.width, int | None)
        assert_type(result.usage, Usage | None)
        assert_type(await result.image.read(), bytes)
        assert_type(result.cost(), Decimal | None)
        assert_type(result.cost(PUBLISHED_PRICES, model="gpt-image-2"), Decimal | None)
        assert_type(result.model, str | None)
        assert_type(result.parts, tuple[ImageResult, ...])
        with result.image.open() as picture:
            assert_type(picture, PIL.Image.Image)
        return result.image.data


async def every_parameter() -> ImageResult:
    """Known values are hints, and any other string passes; a prompt may be a whole request."""
    request = GenerateRequest("an otter", model="a-model-of-tomorrow", quality="xhigh")
    await module_level.generate(request, size=size_of_ratio("16:9"))
    return await module_level.generate(
        "an otter",
        n=2,
        quality="high",
        background="transparent",
        output_format="webp",
        output_compression=80,
        moderation="low",
        user="someone",
        extra_body={"seed": 1, "nested": {"any": ["thing", None]}},
        into=Path("out") / "otter",
    )


async def options_of_one_call(image: Path) -> None:
    """Every verb takes them, together with the endpoint's parameters; a client with others is of the same class."""
    headers = {"X-Team": "otters"}
    await module_level.generate("an otter", size="auto", timeout=30, headers=headers, max_retries=0)
    await module_level.edit("a hat", image=image, timeout=Timeouts(total=None), retry=RetryPolicy())
    await module_level.stream("an otter", partial_images=1, timeout=None, headers=None).finish()
    await module_level.stream_edit("a hat", image=[image, b"..."], timeout=2.5).finish()
    module_level.generate_many(["an otter"], quality="low", timeout=60, max_retries=1)
    patient = module_level.with_options(timeout=600, model="gpt-image-2", validate="strict", split=False)
    assert_type(patient, ImagesClient)
    assert_type(await patient.download(await patient.generate("an otter"), timeout=5), ImageResult)


async def fetch_what_is_behind_urls(client: ImagesClient, result: ImageResult) -> bytes:
    """A picture stays a picture, a result a result; what an error carries can be fetched later."""
    assert_type(await client.download(result.image), Image)
    try:
        assert_type(await client.download(result, into="out/otter", overwrite=True), ImageResult)
    except DownloadError as error:
        assert_type(error.url, str | None)
        assert_type(error.urls, tuple[str, ...])
        later: ImageResult = await client.download(error.response)
        return later.image.data
    return result.image.data


async def iterate_partial_images() -> ImageResult:
    """The three kinds of event are told apart by class, and there is no fourth."""
    async with module_level.stream("an otter", partial_images=3) as stream:
        assert_type(stream, ImageStream)
        async for event in stream:
            match event:
                case PartialImage():
                    assert_type(event.partial_image_index, int | None)
                    assert_type(event.image.data, bytes)
                case CompletedImage():
                    assert_type(event.usage, Usage | None)
                case UnknownEvent():
                    assert_type(event.type, str)
                case _:
                    assert_never(event)
    assert_type(stream.result, ImageResult)
    return stream.result


async def relay() -> AsyncIterator[bytes]:
    """A stream passes its pictures on as an async generator of a web framework would."""
    async with module_level.stream("an otter", into="out/otter") as stream:
        async for event in stream:
            if isinstance(event, PartialImage | CompletedImage):
                yield event.image.data


async def only_images() -> AsyncIterator[bytes]:
    """Each event of `images()` has an image."""
    async with module_level.stream("an otter", partial_images=2) as stream:
        async for event in stream.images():
            assert_type(event, PartialImage | CompletedImage)
            yield bytes(event.image)


async def wrap_generate(prompt: str, **params: Unpack[GenerateParams]) -> Image:
    """A wrapper keeps the types of all parameters."""
    return (await module_level.generate(prompt, **params)).image


async def wrap_call(prompt: str, **keywords: Unpack[GenerateKeywords]) -> Image:
    """So does one that passes on the options of the call, and what makes them."""
    options: CallOptions = {"timeout": 30, "max_retries": 0}
    quick = module_level.with_options(**options)
    return (await quick.generate(prompt, **keywords)).image


async def wrap_edit_call(prompt: str, picture: ImageInput, **keywords: Unpack[EditKeywords]) -> Image:
    """The same for an edit."""
    keywords["image"] = [picture]
    return (await module_level.edit(prompt, **keywords)).image


async def wrap_edit(prompt: str, picture: ImageInput, **params: Unpack[EditParams]) -> Image:
    """So does one of an edit, whose keywords may also be a value."""
    keywords: EditParams = {**params, "image": [picture]}
    return (await module_level.edit(prompt, **keywords)).image


def wrap_client(key: ApiKey, token: TokenProvider | None = None) -> ImagesClient:
    """The two kinds of credentials."""
    return ImagesClient(api_key=key) if token is None else ImagesClient.azure(token_provider=token)


def describe(event: ImageEvent) -> str:
    """What a stream yields."""
    return event.type if isinstance(event, UnknownEvent) else event.image.data_url()


async def without_a_block() -> None:
    """A stream may be iterated as it is, and closed by hand."""
    stream = module_level.stream(GenerateRequest("an otter"))
    async for _ in stream:
        pass
    await stream.aclose()
    await module_level.aclose()


async def many_prompts(prompts: list[str]) -> list[Path]:
    """An outcome is one of two, and each has what it needs without a check for None."""
    paths: list[Path] = []
    async with module_level.generate_many(prompts, concurrency=16, into="out", size="1024x1024") as outcomes:
        assert_type(outcomes, Outcomes)
        async for outcome in outcomes:
            assert_type(outcome, Outcome)
            assert_type(outcome.index, int)
            assert_type(outcome.key, str)
            match outcome:
                case Succeeded():
                    assert_type(outcome.request, GenerateRequest)
                    assert_type(outcome.result, ImageResult)
                    if outcome.result.image.path is not None:
                        paths.append(outcome.result.image.path)
                case Failed():
                    assert_type(outcome.request, GenerateRequest | None)
                    assert_type(outcome.error, ImagesError | OSError)
                    outcomes.stop()
                case _:
                    assert_never(outcome)
    assert_type(outcomes.progress, Progress)
    assert_type(outcomes.progress.spent, Decimal | None)
    assert_type(outcomes.progress.eta, float | None)
    return paths


def show(progress: Progress) -> None:
    """A callback of one's own."""


async def rows() -> AsyncIterator[dict[str, str]]:
    """Rows of a database, one after the other."""
    yield {"prompt": "an otter", "key": "otter"}


def mixed() -> Iterator[str | GenerateRequest | Mapping[str, object]]:
    """Whatever a request may be."""
    yield "an otter"
    yield GenerateRequest("an otter", n=2)
    yield {"prompt": "an otter", "extra_body": {"seed": 1}}


async def many_of_every_kind() -> None:
    """Iterables and async iterables of prompts, requests and mappings; every option."""
    async for outcome in module_level.generate_many(rows(), ordered=True, progress=show):
        assert_type(outcome, Outcome)
    async for _ in module_level.generate_many(mixed(), overwrite=True, prices=PUBLISHED_PRICES, n=2):
        pass
    async for _ in module_level.generate_many({"an otter", "a raft"}, progress=print):
        pass
    outcomes = module_level.generate_many([{"prompt": "an otter"}])
    await outcomes.aclose()


async def fresh_key() -> str:
    """A key that is fetched when it is needed."""
    return "sk-fresh"


async def every_option() -> None:
    """The client takes all of its options by name."""
    async with (
        aiohttp.ClientSession() as session,
        ImagesClient(
            api_key=fresh_key,
            base_url="http://localhost:8000/v1",
            organization="org",
            project="project",
            timeouts=Timeouts(connect=5.0, first_byte=None, idle=60, total=None),
            retry=RetryPolicy(max_retries=5, retry_unknown=True, max_rate_limit_wait=120.0),
            limits=Limits(concurrency=8),
            model="gpt-image-2",
            session=session,
            headers={"X-Team": "otters"},
            ssl=ssl.create_default_context(),
            proxy="http://localhost:3128",
            trust_env=False,
        ) as client,
    ):
        await client.generate("an otter")


async def handle_errors() -> str:
    """Errors can be caught by what to do about them, and each carries what it knows."""
    try:
        await module_level.generate("an otter")
    except ModerationBlockedError as error:
        assert_type(error.categories, tuple[str, ...])
        return error.stage
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
    except StreamInterruptedError as error:
        return f"{len(error.partials)} partial images had come"
    except (APITimeoutError, TimeoutError) as error:
        return str(error)
    except OutcomeUnknownError as error:
        assert_type(error.maybe_billed, bool)
    except APIStatusError as error:
        assert_type(error.status_code, int)
        assert_type(error.code, str | None)
        assert_type(error.request_id, str | None)
    except APIConnectionError:
        raise
    except ImagesError as error:
        assert_type(error.attempts, int)
        assert_type(error.elapsed, float)
    return ""


async def beside_the_local_server() -> None:
    """The local server gives the client what it needs."""
    async with (
        LocalImagesServer() as server,
        ImagesClient(base_url=server.base_url, api_key=server.api_key) as client,
    ):
        results = await asyncio.gather(*(client.generate(prompt) for prompt in ("one", "two")))
        assert_type(results, list[ImageResult])


async def what_the_local_server_saw() -> None:
    """Its options are typed, and so is what it has recorded."""
    async with LocalImagesServer(
        legacy=True, picture_links="relative", max_upload_bytes=10_000_000
    ) as server:
        with server.patch(ImagesClient()) as same:
            assert_type(same, LocalImagesServer)
        server.reset(pictures="small")
        server.script("download_404", "ok")
        assert_type(server.downloads, list[RecordedDownload])
        assert_type(server.requests[0].parts, tuple[RecordedPart, ...])
        assert_type(server.requests[0].parts[0].text, str | None)
        assert_type(server.downloads[0].with_key, bool)


async def batch(client: ImagesClient, path: Path) -> tuple[str, ...]:
    """A batch that survives a crash: its plan, its outcomes, its summary."""
    items = read_batch_items(path, defaults={"model": "gpt-image-2"})
    assert_type(items, list[BatchItem])
    options = BatchOptions(budget=Decimal(5), retry_failed=True)
    async with Batch(client, items, "out", options=options, progress=print) as run:
        keys = run.plan.to_send
        async for outcome in run:
            assert_type(outcome, Outcome)
            if isinstance(outcome, Failed):
                assert_type(outcome.error, ImagesError | OSError)
        assert_type(run.summary.spent, Decimal | None)
    return keys
