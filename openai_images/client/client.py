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
from openai_images.http.proxy import parse_proxy
from openai_images.http.sessions import Session, SessionPool
from openai_images.http.transport import Transport
from openai_images.models.image import Image
from openai_images.models.options import Limits, RetryPolicy, Timeouts, Timing
from openai_images.models.requests import EditParams, EditRequest, GenerateParams, GenerateRequest
from openai_images.models.results import ImageResult
from openai_images.ratelimit.limiter import LocalLimiter
from openai_images.validation.validator import Mode, RequestValidator

if TYPE_CHECKING:
    from openai_images.catalog.prices import Prices
    from openai_images.many.outcomes import Outcomes
    from openai_images.models.outcomes import Progress

_What = TypeVar("_What", "ImageResult", "Image")


@safe_repr
class ImagesClient(Portable):
    """Generates pictures over `POST /images/generations` of the OpenAI API, or of any server that speaks it.

    `api_key` (a text, or an async function asked before each request), `base_url`, `organization` and `project` default
    to OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_ORG_ID and OPENAI_PROJECT_ID. `model` is sent where a call names
    none. `session` is used and never closed. `headers` are sent with each request; `ssl` and `proxy` are aiohttp's;
    `trust_env` heeds HTTPS_PROXY and the like. `validate` checks requests before they are sent: "warn" raises
    `RequestInvalidError` for what the API certainly refuses and logs what is doubtful, "strict" raises for both, "off"
    for neither. `split` shares a large `n` out over requests of as many pictures as one may carry (10; of a stream
    one), run at once under the same limits; `split=False` sends `n` as it is. Raises `ConfigurationError`.
    """

    def __init__(  # noqa: PLR0913  each is a setting people look for by name
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
        )
        self._assemble()

    def _assemble(self) -> None:
        settings = self._settings
        self._sessions = SessionPool(settings.session, trust_env=settings.trust_env)
        self._context = CallContext(
            Transport(self._sessions, settings.timing, ssl=settings.ssl, proxy=settings.proxy),
            LocalLimiter(self._limits, settings.timing),
            settings.retry,
            settings.timeouts,
            settings.timing,
            self._limits.max_picture_bytes,
        )
        checker = RequestValidator(
            settings.validate,
            official=self._endpoint.is_openai,
            azure=self._endpoint.is_azure,
            split=settings.split,
            wall=settings.timing.wall,
        )
        self._calls = CallFactory(self._endpoint, self._context, self._model, checker)

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
        """A client of Azure OpenAI, or of a front that speaks as it does.

        `endpoint` is the resource's, or what else Azure shows of it (`…/openai/v1`, a deployment's target URI). With an
        `api_version` that is a date requests go to `/openai/deployments/NAME/…`, else to `/openai/v1/…`; NAME is the
        `deployment`, or each request's `model`. `api_key` travels as `api-key`; `token_provider`, a function or async
        function asked before each attempt, gives a token of Microsoft Entra ID. What is not given is taken from
        AZURE_OPENAI_ENDPOINT, OPENAI_API_VERSION (or AZURE_OPENAI_API_VERSION), AZURE_OPENAI_AD_TOKEN and
        AZURE_OPENAI_API_KEY; OPENAI_API_KEY and OPENAI_BASE_URL are not looked at. The other settings are those of the
        constructor. Raises `ConfigurationError`.
        """
        # Here, so that those who send elsewhere need not wait for its import.
        from openai_images.http.azure import AzureConfig, AzureEndpoint  # noqa: PLC0415

        config = AzureConfig(endpoint, deployment, api_version, api_key, token_provider)
        azure = AzureEndpoint.from_config(config, settings.get("headers") or {})
        settings.setdefault("model", azure.deployment)
        return cls(**settings, _endpoint=azure)

    @property
    def base_url(self) -> str:
        """Where requests go, without a slash at the end."""
        return self._endpoint.base_url

    async def generate(
        self,
        prompt: str | GenerateRequest,
        *,
        into: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
        **params: Unpack[GenerateParams],
    ) -> ImageResult:
        """Generate pictures and wait for them.

        With `into` they are written there while they arrive: a stem whose suffix is the real format's, `-0`, `-1`, …
        added for several, and `-2` and so on rather than overwriting, unless `overwrite`. The other keywords are the
        endpoint's parameters (see `GenerateRequest`). Raises `ImagesError`, and OSError where `into` cannot be written.
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
        """A stream of the pictures while they are painted; `async with` it and iterate. Keywords as in `generate`.

        With `into`, partial images are files as well (`.partial-0`, …) unless `keep_partials` is False: then they are
        in memory, and only the finished picture is written.
        Nothing is sent before it is entered or iterated, and errors are raised there.
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
        """Make pictures from `image=…`, one or up to 16 of them, and wait for them; keywords as in `generate`.

        A picture is a path, bytes, a binary file, something whose `read` is awaited, a Pillow image, an `Image`, a URL
        or an `ImageReference`. `mask` and `markup` are such pictures too (see `EditRequest`). Paths and files are read
        while they are sent, and once more when the request is sent once more. Raises `ImagesError`; a picture that
        cannot be read is a `RequestInvalidError`.
        """
        call = self._calls.new(_edit_of(prompt, params), Output.from_into(into, overwrite))
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
        """A stream of the pictures of an edit while they are painted: `edit` as `stream` is for `generate`."""
        output = Output.from_into(into, overwrite, keep_partials=keep_partials)
        return ImageStream(self._calls.new(_edit_of(prompt, params), output, stream=True))

    async def download(
        self, what: _What, *, into: str | os.PathLike[str] | None = None, overwrite: bool = False
    ) -> _What:
        """Fetch pictures that the server gave a URL for, into memory or `into` files named as in `generate`.

        Pictures that are here are left as they are. It has retries of its own, and sends nothing to the API but, where
        the picture is there, a GET. Raises `DownloadError`, whose `response` can be given to this again, and OSError
        where `into` cannot be written.
        """
        output = Output.from_into(into, overwrite)
        fetched: Any = await self._calls.remote_images().download(what, output)
        same: _What = fetched
        return same

    def generate_many(  # noqa: PLR0913  each is a choice people make by name
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
        """Generate for many requests at once; `async with` it and iterate the outcomes.

        Each request is a prompt, a `GenerateRequest`, or a mapping of parameters with `prompt` and perhaps `key`; the
        other keywords hold for those that do not set them. They are read one by one when there is room, from any
        iterable or async iterable, endless ones too; a sync one is read on the event loop.

        Each gives a `Succeeded` or a `Failed` (an `ImagesError`, or the OSError of `into`), as they finish, or in their
        order if `ordered`. `concurrency` (default: that of `Limits`) bounds what is held: requests under way and
        outcomes up to the one in your hands, so a slow consumer holds back new requests. Rate limits are waited
        for as long as some requests succeed (`RetryPolicy.max_stall`).

        With `into`, a folder, pictures are files named by their key made safe, or by the request's number (`00000`),
        with `-0`, `-1`, … added for several; `overwrite` as in `generate`. A key that names an earlier request's file
        is a `Failed`.

        `progress` is called with a `Progress` after each change; `prices` (default: `PUBLISHED_PRICES`) are for what it
        says of money. What ends all of it is raised after the outcomes of in-flight requests; nothing new is started:
        what the callback or the source raises, the first `QuotaExhaustedError`, the `RateLimitError` of a limit that
        lasts too long, and the last of `max_identical_failures` with no success between that may have cost money or
        refuse the account (None: they end nothing). Keywords that make no sense raise `RequestInvalidError`,
        `ConfigurationError` or TypeError at once.
        """
        # Here, so that those who make single calls need not wait for its import.
        from openai_images.client.many import ManyOptions, start_many  # noqa: PLC0415

        manner = ManyOptions(
            concurrency=self._limits.concurrency if concurrency is None else concurrency,
            ordered=ordered,
            into=into,
            overwrite=overwrite,
            progress=progress,
            prices=prices,
            context=self._context,
            max_identical_failures=max_identical_failures,
        )
        return start_many(self._calls, requests, {"model": self._model, **params}, manner)

    async def aclose(self) -> None:
        """Close the running event loop's connections; harmless when called twice. A later call opens new ones."""
        await self._sessions.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<ImagesClient {self.base_url}>"


def _edit_of(prompt: str | EditRequest, params: EditParams) -> EditRequest:
    # Here, so that those who edit nothing need not wait for its import.
    from openai_images.models.requests import EditRequest  # noqa: PLC0415

    return EditRequest.of(prompt, params)
