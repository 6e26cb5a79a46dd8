"""`ImagesClient`: the public methods.

Invariants: building a client does no I/O and needs no event loop, so a client at module level can serve several
`asyncio.run`s; a setting that is not set is never sent; the environment is read for each call, not before.
Must not: show the key in any text.
"""

from __future__ import annotations

import os
import ssl as ssl_module
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from openai_images._util.attrs import safe_repr
from openai_images.client.endpoint_source import EndpointArguments, EndpointSource
from openai_images.client.files import Output
from openai_images.client.options import (
    Adjustable,
    NoSettings,
    checked_headers,
    reject_unknown,
    start_settings,
)
from openai_images.client.settings import ClientSettings, Settings
from openai_images.client.stream import ImageStream
from openai_images.http.endpoint import ApiKey, TokenProvider
from openai_images.http.sessions import Session, parse_proxy
from openai_images.models.image import Image
from openai_images.models.options import Limits, RetryPolicy, Timeouts, Timing
from openai_images.models.parameters import CallOptions, EditKeywords, GenerateKeywords, shows
from openai_images.models.requests import EditRequest, GenerateRequest
from openai_images.models.results import ImageResult, ModelInfo
from openai_images.validation.validator import Mode

if TYPE_CHECKING:
    from openai_images.catalog.prices import Prices
    from openai_images.http.azure import AzureConfig
    from openai_images.many.outcomes import Outcomes
    from openai_images.models.outcomes import Progress
    from openai_images.telemetry.telemetry import Telemetry

_What = TypeVar("_What", "ImageResult", "Image")


@safe_repr
class ImagesClient(Adjustable):
    """Generates and edits images with the OpenAI API, or any server with the same endpoints.

    `api_key`, `base_url`, `organization` and `project` default to OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_ORG_ID and
    OPENAI_PROJECT_ID, which are read for each call: a client can be built without them. `timeout` and `max_retries` are
    short for `Timeouts(total=…)` and `RetryPolicy(max_retries=…)`; each call takes them, too, and `with_options`
    returns a client with others. Raises `ConfigurationError`, and TypeError for an unknown setting; a missing key is
    reported by the first call.
    """

    @shows()
    def __init__(  # noqa: PLR0913  each setting is a keyword
        self,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  frozen
        timeout: float | Timeouts | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  frozen
        max_retries: int | None = None,
        limits: Limits = Limits(),  # noqa: B008  frozen
        model: str | None = None,
        session: Session | None = None,
        headers: Mapping[str, str] | None = None,
        ssl: ssl_module.SSLContext | bool | None = None,
        proxy: str | None = None,
        trust_env: bool = True,
        validate: Mode = "warn",
        split: bool = True,
        timing: Timing = Timing(),  # noqa: B008  frozen
        show_prompts: bool = True,
        telemetry: Telemetry | None = None,
        _azure: AzureConfig | None = None,
        **unknown: Unpack[NoSettings],
    ) -> None:
        """Build a client; this does no I/O."""
        timeouts, retry = start_settings(timeouts, timeout, retry, max_retries, unknown)
        given = checked_headers(headers or {})
        arguments = EndpointArguments(given, api_key, base_url, organization, project, _azure)
        self._endpoint = EndpointSource(arguments)
        self._model, self._limits = model, limits
        self._settings = Settings(
            timeouts=timeouts,
            retry=retry,
            session=session,
            ssl=ssl,
            proxy=parse_proxy(proxy),
            trust_env=trust_env,
            validate=validate,
            split=split,
            timing=timing,
            show_prompts=show_prompts,
            telemetry=telemetry,
        )
        self._assemble()

    @classmethod
    @shows(ClientSettings, __init__.__kwdefaults__)
    def azure(
        cls,
        endpoint: str | None = None,
        *,
        deployment: str | None = None,
        api_version: str | None = None,
        api_key: ApiKey | None = None,
        token_provider: TokenProvider | None = None,
        **settings: Unpack[ClientSettings],
    ) -> Self:
        """Create a client for Azure OpenAI, or for a gateway with the same URLs.

        `endpoint` may be any URL that Azure shows for the resource (`…/openai/v1`, a deployment's target URI). With a
        dated `api_version` requests go to `/openai/deployments/NAME/…`, otherwise to `/openai/v1/…`; NAME is the
        `deployment`, or each request's `model`. `api_key` is sent in the header `api-key`. Defaults are taken from
        AZURE_OPENAI_ENDPOINT, OPENAI_API_VERSION (or AZURE_OPENAI_API_VERSION), AZURE_OPENAI_AD_TOKEN and
        AZURE_OPENAI_API_KEY for each call; OPENAI_API_KEY and OPENAI_BASE_URL are ignored. Raises `ConfigurationError`.
        """
        # Imported here: other clients start faster without it.
        from openai_images.http.azure import AzureConfig  # noqa: PLC0415

        config = AzureConfig(endpoint, deployment, api_version, api_key, token_provider)
        return cls(**settings, _azure=config)

    @property
    def base_url(self) -> str:
        """The URL to which endpoint paths are added, without a trailing slash. Raises `ConfigurationError`."""
        return self._endpoint.base_url

    @property
    def wait_reason(self) -> str | None:
        """Why requests wait for a limit, or calls for their next attempt, and until when; None if for a few seconds."""
        return self._calls.context.wait_reason

    @shows(GenerateKeywords)
    async def generate(
        self,
        prompt: str | GenerateRequest,
        *,
        into: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        **params: Unpack[GenerateKeywords],
    ) -> ImageResult:
        """Generate images and wait for them.

        With `into`, a file path without its suffix, images are written to files while they arrive. The suffix is that
        of the image's format; several images get `-0`, `-1`, …; if a file exists, `-2`, `-3`, … is added unless
        `overwrite`. Raises `ImagesError`, and OSError if `into` cannot be written.
        """
        output = Output.from_into(into, overwrite)
        call = self._calls_for(params).from_keywords(GenerateRequest, prompt, params, output)
        return await call.result_or_raise()

    @shows(GenerateKeywords)
    def stream(
        self,
        prompt: str | GenerateRequest,
        *,
        into: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        keep_partials: bool = True,
        **params: Unpack[GenerateKeywords],
    ) -> ImageStream:
        """Generate images as a stream of events, partial images included; iterate it inside `async with`.

        The keywords are those of `generate`. With `into`, partial images are written to files, too (`.partial-0`, …);
        with `keep_partials=False` they stay in memory. Nothing is sent before the stream is entered or iterated, which
        raises the errors of the call. Raises `RequestInvalidError` immediately for an invalid request.
        """
        output = Output.from_into(into, overwrite, keep_partials=keep_partials)
        calls = self._calls_for(params)
        return ImageStream(calls.from_keywords(GenerateRequest, prompt, params, output, stream=True))

    @shows(EditKeywords)
    async def edit(
        self,
        prompt: str | EditRequest,
        *,
        into: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        **params: Unpack[EditKeywords],
    ) -> ImageResult:
        """Generate images from the 1 to 16 input images `image=…`, and wait for them.

        The keywords are those of `generate` and `EditRequest`. An input image, also as `mask` and `markup`, is a path,
        bytes, a binary file, an object with an async `read`, a Pillow image, an `Image`, a URL or an `ImageReference`.
        Paths and files are read again for each attempt, while they are sent. Raises `ImagesError`
        (`RequestInvalidError` if an input image cannot be read), and OSError if `into` cannot be written.
        """
        output = Output.from_into(into, overwrite)
        call = self._calls_for(params).from_keywords(EditRequest, prompt, params, output)
        return await call.result_or_raise()

    @shows(EditKeywords)
    def stream_edit(
        self,
        prompt: str | EditRequest,
        *,
        into: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        keep_partials: bool = True,
        **params: Unpack[EditKeywords],
    ) -> ImageStream:
        """Generate images from input images as a stream of events; see `edit` for keywords, `stream` for streams."""
        output = Output.from_into(into, overwrite, keep_partials=keep_partials)
        calls = self._calls_for(params)
        return ImageStream(calls.from_keywords(EditRequest, prompt, params, output, stream=True), edited=True)

    @shows(CallOptions)
    async def download(
        self,
        what: _What,
        *,
        into: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        **options: Unpack[CallOptions],
    ) -> _What:
        """Download images that the server returned as URLs, into memory or into files (`into` as in `generate`).

        `what` is an `ImageResult` or an `Image`; images that are already downloaded stay unchanged. Downloads have
        their own retries. Nothing is generated again. Raises `RequestInvalidError`; `DownloadError`, whose `response`
        can be passed to `download` again; and OSError if `into` cannot be written.
        """
        reject_unknown(options, CallOptions.__annotations__, "download")
        downloads = self._calls_for(options).remote_images()
        downloaded: Any = await downloads.download(what, Output.from_into(into, overwrite))
        result: _What = downloaded
        return result

    @shows(GenerateKeywords)
    def generate_many(  # noqa: PLR0913  each option is a keyword
        self,
        requests: Iterable[str | GenerateRequest | Mapping[str, Any]]
        | AsyncIterable[str | GenerateRequest | Mapping[str, Any]],
        *,
        concurrency: int | None = None,
        ordered: bool = False,
        into: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        progress: Callable[[Progress], object] | None = None,
        prices: Prices | None = None,
        max_identical_failures: int | None = 5,
        **params: Unpack[GenerateKeywords],
    ) -> Outcomes:
        """Generate images for many requests concurrently; iterate the outcomes inside `async with`.

        Each request is a prompt, a `GenerateRequest`, or a mapping of parameters with `prompt` and an optional `key`;
        `params` are the defaults of requests that do not set them. A request is read when it can start, so the iterable
        may be endless; a synchronous iterable is read on the event loop.

        The outcome of each request is a `Succeeded` or a `Failed` (with an `ImagesError`, or the OSError of `into`).
        Outcomes are yielded as requests finish, or in the order of the requests if `ordered`. `concurrency` (default:
        that of `Limits`) limits the sum of requests in flight and unread outcomes, including the one yielded last: a
        slow consumer delays new requests. Requests wait for rate limits as long as some of them succeed
        (`RetryPolicy.max_stall`).

        With `into`, a folder, files are named by the request's key, with unsafe characters replaced, or by its number
        (`00000`); several images get `-0`, `-1`, …; `overwrite` is as in `generate`. A request whose file name an
        earlier request uses is a `Failed`.

        An error that aborts the whole run stops new requests, and is raised after the outcomes of in-flight requests:
        an exception of `progress` or of the iterable, the first `QuotaExhaustedError`, a `RateLimitError` after too
        long a wait, and the last of `max_identical_failures` identical failures without a success between them (None:
        no limit; only failures that may have been billed or reject the account count). Invalid keywords raise
        `RequestInvalidError`, `ConfigurationError` or TypeError immediately.
        """
        # Imported here: single calls start faster without it.
        from openai_images.client.generate_many import Costs, start_many  # noqa: PLC0415
        from openai_images.many.items import RunOptions  # noqa: PLC0415

        calls = self._calls_for(params)
        defaults = {"model": calls.model, **params}
        options = RunOptions(
            concurrency=self._limits.concurrency if concurrency is None else concurrency,
            ordered=ordered,
            progress=progress,
            cost=Costs(prices),
            defaults=defaults,
            show_prompts=self._settings.show_prompts,
            max_identical_failures=max_identical_failures,
        )
        return start_many(calls, requests, options, Output.from_into(into, overwrite))

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """Return the models that the server offers to this key (`GET /models`). Raises `ImagesError`."""
        # Imported here: calls for images never load it.
        from openai_images.client.model_list import list_models  # noqa: PLC0415

        return await list_models(*self._calls.connection())

    def __repr__(self) -> str:
        return f"<ImagesClient {self.base_url}>"
