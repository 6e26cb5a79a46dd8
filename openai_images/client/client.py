"""`ImagesClient`: the public verbs.

Invariants: building a client does no I/O and needs no event loop, so it may live at module level and serve several
`asyncio.run`s. A setting that was not given is never sent; the key is checked when the client is built.
Must not: show the key in any text.
"""

from __future__ import annotations

import os
import ssl as ssl_module
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from openai_images._util.attrs import safe_repr
from openai_images.client.attempts import CallContext
from openai_images.client.calls import CallFactory
from openai_images.client.files import Output
from openai_images.client.settings import ClientSettings, Portable, Settings, endpoint_from
from openai_images.client.stream import ImageStream
from openai_images.http.endpoint import ApiKey, Endpoint, TokenProvider
from openai_images.http.sessions import Session, SessionPool, parse_proxy
from openai_images.http.transport import Transport
from openai_images.models.image import Image
from openai_images.models.options import Limits, RetryPolicy, Timeouts, Timing
from openai_images.models.requests import EditParams, EditRequest, GenerateParams, GenerateRequest
from openai_images.models.results import ImageResult
from openai_images.ratelimit.limiter import Limiter
from openai_images.validation.validator import Mode, RequestValidator

if TYPE_CHECKING:
    from openai_images.catalog.prices import Prices
    from openai_images.many.outcomes import Outcomes
    from openai_images.models.outcomes import Progress

_What = TypeVar("_What", "ImageResult", "Image")


@safe_repr
class ImagesClient(Portable):
    """Generates and edits images through the OpenAI API, or through any server with the same endpoints.

    `api_key` (a string, or an async function awaited before each attempt), `base_url`, `organization` and `project`
    default to OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_ORG_ID and OPENAI_PROJECT_ID. `model` is sent when a request
    names none. `session` is used and never closed. `headers` are sent with each request; `ssl` and `proxy` are passed
    to aiohttp; `trust_env` uses the proxies of the environment (HTTPS_PROXY, NO_PROXY, …).

    `validate` checks requests before they are sent: "warn" raises `RequestInvalidError` for what the API certainly
    rejects and logs doubtful values, "strict" raises for both, "off" for neither. `split` sends a large `n` as several
    concurrent requests under the same limits, each with as many images as one request may have (10; 1 in a stream);
    `split=False` sends `n` unchanged. With `show_prompts=False` outcomes show nothing of their prompts, otherwise their
    beginning. Raises `ConfigurationError`.
    """

    def __init__(  # noqa: PLR0913  each setting is a keyword
        self,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  frozen
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  frozen
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
        _endpoint: Endpoint | None = None,
    ) -> None:
        self._endpoint = _endpoint or endpoint_from(api_key, base_url, organization, project, headers or {})
        self._model = model
        self._limits = limits
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
        )
        self._assemble()

    def _assemble(self) -> None:
        settings = self._settings
        self._sessions = SessionPool(settings.session, trust_env=settings.trust_env)
        self._context = CallContext(
            Transport(self._sessions, settings.timing, ssl=settings.ssl, proxy=settings.proxy),
            Limiter(self._limits, settings.timing),
            settings.retry,
            settings.timeouts,
            settings.timing,
            self._limits.max_picture_bytes,
            reported=set(),
        )
        validator = RequestValidator(
            settings.validate,
            official=self._endpoint.is_openai,
            azure=self._endpoint.is_azure,
            split=settings.split,
            wall=settings.timing.wall,
        )
        self._calls = CallFactory(self._endpoint, self._context, self._model, validator)

    @classmethod
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

        `endpoint` is the resource's URL, or another URL that Azure shows for it (`…/openai/v1`, a deployment's target
        URI). With a dated `api_version` requests go to `/openai/deployments/NAME/…`, otherwise to `/openai/v1/…`; NAME
        is the `deployment`, or each request's `model`. `api_key` is sent in the header `api-key`; `token_provider`, a
        function or async function called before each attempt, returns a Microsoft Entra ID token. Defaults are taken
        from AZURE_OPENAI_ENDPOINT, OPENAI_API_VERSION (or AZURE_OPENAI_API_VERSION), AZURE_OPENAI_AD_TOKEN and
        AZURE_OPENAI_API_KEY; OPENAI_API_KEY and OPENAI_BASE_URL are ignored. The other settings are those of the
        constructor. Raises `ConfigurationError`.
        """
        # Imported when it is needed: other clients start faster without it.
        from openai_images.http.azure import AzureConfig, AzureEndpoint  # noqa: PLC0415

        config = AzureConfig(endpoint, deployment, api_version, api_key, token_provider)
        azure = AzureEndpoint.from_config(config, settings.get("headers") or {})
        settings.setdefault("model", azure.deployment)
        return cls(**settings, _endpoint=azure)

    @property
    def base_url(self) -> str:
        """The URL to which endpoint paths are added, without a trailing slash."""
        return self._endpoint.base_url

    async def generate(
        self,
        prompt: str | GenerateRequest,
        *,
        into: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        **params: Unpack[GenerateParams],
    ) -> ImageResult:
        """Generate images and wait for them.

        With `into`, the path of a file without its suffix, they are written there while they arrive. The suffix is that
        of the real format; several images get `-0`, `-1`, …; a name that exists gets `-2`, `-3`, … unless `overwrite`.
        The other keywords are the endpoint's parameters (see `GenerateRequest`). Raises `ImagesError`, and OSError if
        `into` cannot be written.
        """
        call = self._calls.new(GenerateRequest.of(prompt, params), Output.from_into(into, overwrite))
        return await call.result_or_raise()

    def stream(
        self,
        prompt: str | GenerateRequest,
        *,
        into: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        keep_partials: bool = True,
        **params: Unpack[GenerateParams],
    ) -> ImageStream:
        """Generate images as a stream of events, partial images included; iterate it inside `async with`.

        Keywords as in `generate`. With `into`, partial images are written to files too (`.partial-0`, …); with
        `keep_partials=False` they stay in memory, and only complete images are written. Nothing is sent before the
        stream is entered or iterated, and errors of the call are raised there. Raises `RequestInvalidError` immediately
        for an invalid request.
        """
        output = Output.from_into(into, overwrite, keep_partials=keep_partials)
        return ImageStream(self._calls.new(GenerateRequest.of(prompt, params), output, stream=True))

    async def edit(
        self,
        prompt: str | EditRequest,
        *,
        into: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        **params: Unpack[EditParams],
    ) -> ImageResult:
        """Generate images from `image=…`, one to 16 input images, and wait for them; keywords as in `generate`.

        An input image is a path, bytes, a binary file, an object with an async `read`, a Pillow image, an `Image`, a
        URL or an `ImageReference`; so are `mask` and `markup` (see `EditRequest`). Paths and files are read while they
        are sent, again for each attempt. Raises `ImagesError` (`RequestInvalidError` if an input image cannot be read),
        and OSError if `into` cannot be written.
        """
        call = self._calls.new(EditRequest.of(prompt, params), Output.from_into(into, overwrite))
        return await call.result_or_raise()

    def stream_edit(
        self,
        prompt: str | EditRequest,
        *,
        into: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        keep_partials: bool = True,
        **params: Unpack[EditParams],
    ) -> ImageStream:
        """Edit as a stream of events: keywords and input images as in `edit`, the stream as in `stream`."""
        output = Output.from_into(into, overwrite, keep_partials=keep_partials)
        return ImageStream(self._calls.new(EditRequest.of(prompt, params), output, stream=True))

    async def download(
        self, what: _What, *, into: str | os.PathLike[str] | None = None, overwrite: bool = False
    ) -> _What:
        """Download images that the server returned as URLs, into memory or into files named as in `generate`.

        `what` is an `ImageResult` or an `Image`; images that are already local stay unchanged. Downloads have their own
        retries, and send nothing to the API except a GET if the image is there. Raises `RequestInvalidError`,
        `DownloadError`, whose `response` can be passed to `download` again, and OSError if `into` cannot be written.
        """
        output = Output.from_into(into, overwrite)
        downloaded: Any = await self._calls.remote_images().download(what, output)
        result: _What = downloaded
        return result

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
        **params: Unpack[GenerateParams],
    ) -> Outcomes:
        """Generate images for many requests concurrently; iterate the outcomes inside `async with`.

        Each request is a prompt, a `GenerateRequest`, or a mapping of parameters with `prompt` and an optional `key`;
        the other keywords are defaults for requests that do not set them. Requests are read one by one as they can
        start, from any iterable or async iterable, also an endless one; a synchronous one is read on the event loop.

        Each yields a `Succeeded` or a `Failed` (an `ImagesError`, or the OSError of `into`), as they finish, or in the
        order of the requests if `ordered`. `concurrency` (default: that of `Limits`) limits how many are held: requests
        in flight and outcomes, including the one yielded last, so a slow consumer delays new requests. Rate limits are
        waited for as long as some requests succeed (`RetryPolicy.max_stall`).

        With `into`, a folder, files are named by the request's key, made safe, or by its number (`00000`), with `-0`,
        `-1`, … for several images; `overwrite` as in `generate`. A key whose file name an earlier request has is a
        `Failed`. `progress` is called with a `Progress` after each change; `prices` (default: `PUBLISHED_PRICES`) are
        used for its costs.

        An error that ends the whole run stops new requests and is raised after the outcomes of in-flight ones: an
        exception of the callback or of the iterable, the first `QuotaExhaustedError`, a `RateLimitError` after waiting
        too long, and the last of `max_identical_failures` without a success between them, counting only those that may
        have been billed or reject the account (None: no limit). Invalid keywords raise `RequestInvalidError`,
        `ConfigurationError` or TypeError immediately.
        """
        # Imported when it is needed: single calls start faster without it.
        from openai_images.client.many import ManyOptions, start_many  # noqa: PLC0415

        options = ManyOptions(
            concurrency=self._limits.concurrency if concurrency is None else concurrency,
            ordered=ordered,
            into=into,
            overwrite=overwrite,
            progress=progress,
            prices=prices,
            context=self._context,
            show_prompts=self._settings.show_prompts,
            max_identical_failures=max_identical_failures,
        )
        return start_many(self._calls, requests, {"model": self._model, **params}, options)

    async def aclose(self) -> None:
        """Close the connections of the running event loop. Idempotent; a later call opens new ones."""
        await self._sessions.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<ImagesClient {self.base_url}>"
