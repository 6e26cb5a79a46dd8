"""Azure: an endpoint as people copied it, its URLs, its key or token, and the header for it.

Invariants: the environment is read once, when a client is built, and AZURE_OPENAI_* only by `ImagesClient.azure`: a
base URL goes with OPENAI_API_KEY. An endpoint is understood or refused, and what it and the settings say must agree.
Must not: send a key of OpenAI's to Azure, or any key to OpenAI's own address or to Azure's over plain http.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import parse_qsl, quote, unquote

from attrs import evolve, field, frozen

from openai_images.errors import ConfigurationError, RequestInvalidError
from openai_images.http.endpoint import (
    ApiKey,
    Endpoint,
    TokenProvider,
    credentials,
    is_azure,
    is_openai,
    redact_url,
    resolve_api_key,
    split_url,
    strip_api_key,
)
from openai_images.models.requests import GenerateRequest
from openai_images.wire.requests import merge_headers

NO_DEPLOYMENT: Final = (
    "the request was not sent: it names no Azure deployment; pass model=… with the deployment's name, "
    "or deployment=… to ImagesClient.azure()"
)

_LIKE: Final = (
    "it should look like https://NAME.openai.azure.com, https://NAME.openai.azure.com/openai/v1, "
    "or the target URI of an image deployment, and its only query may be api-version"
)

# From left to right: what a front puts before it, Azure's own part (fronts may leave it out), and the kind of address.
_PATH: Final = re.compile(
    r"(?P<prefix>.*?)(?P<openai>/openai)?(?:(?P<v1>/v1)|/deployments/(?P<deployment>[^/]+))?"
)
_OPERATION: Final = re.compile(r"(?:/images/(?:generations|edits))?/*$")
_PROJECT: Final = re.compile(r"/api/projects/[^/]+")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_VERSION: Final = re.compile(rf"(?:{_DATE.pattern}|[A-Za-z])[A-Za-z0-9._-]*")


@frozen
class AzureConfig:
    """What somebody said of an Azure resource; None is for the environment to say."""

    endpoint: str | None = None
    deployment: str | None = None
    api_version: str | None = None
    api_key: ApiKey | None = field(default=None, repr=False)
    token_provider: TokenProvider | None = field(default=None, repr=False)


@frozen
class AzureURLs:
    """Where one resource's requests go: below `root`, by `deployment` if `classic`, else by the body's model."""

    root: str
    classic: bool
    deployment: str | None
    api_version: str | None

    @property
    def base_url(self) -> str:
        """What all its requests have in common."""
        if not self.classic:
            return f"{self.root}/v1"
        name = self.deployment
        return self.root if name is None else f"{self.root}/deployments/{_quote_segment(name)}"

    def url(self, path: str, model: str | None) -> str:
        """Where a request for this model goes. Raises `RequestInvalidError`."""
        query = f"?api-version={self.api_version}" if self.api_version else ""
        if not self.classic:
            return f"{self.root}/v1{path}{query}"
        name = self.deployment or model
        if not name:
            raise RequestInvalidError(NO_DEPLOYMENT)
        return f"{self.root}/deployments/{_quote_segment(name)}{path}{query}"


def parse_endpoint(endpoint: str, name: str, options: AzureConfig, version: str | None) -> AzureURLs:
    """The URLs of an endpoint; `version` is used where neither names one. Raises `ConfigurationError`."""
    said = _parse(endpoint, name)
    deployment = _reconcile("deployment", said.deployment, options.deployment)
    stated = _reconcile("api_version", said.api_version, options.api_version)
    if stated is None and version is not None and (said.kind != "v1" or not _DATE.match(version)):
        stated = version
    if stated is not None and not _VERSION.fullmatch(stated):
        raise ConfigurationError("the api-version can only be a date such as 2025-04-01-preview, or preview")
    dated = stated is not None and _DATE.match(stated) is not None
    if said.kind == "deployment" and not dated:
        raise ConfigurationError(
            "an endpoint with /deployments/ needs an api-version that is a date: "
            "pass api_version='2025-04-01-preview' or the like, or set OPENAI_API_VERSION"
        )
    if said.kind == "v1" and dated:
        raise ConfigurationError(
            f"the endpoint's /openai/v1 takes no dated api-version; leave {stated!r} out, or leave /v1 out"
        )
    if deployment is not None:
        _quote_segment(deployment, ConfigurationError)
    return AzureURLs(said.root, dated, deployment, stated)


@frozen
class _ParsedEndpoint:
    """What an address says: `kind` is "v1", "deployment", or empty where both are possible."""

    root: str
    kind: str
    deployment: str | None
    api_version: str | None


def _parse(given: str, name: str) -> _ParsedEndpoint:
    """What an address says that people copied from wherever. Raises `ConfigurationError`."""
    clean = given.strip()
    parts = split_url(clean)
    if parts is None:
        raise _unusable(clean, name, _LIKE)
    if is_openai(clean):
        raise _unusable(clean, name, "it is OpenAI's own address, not Azure's")
    if parts.scheme == "http" and is_azure(clean):
        raise _unusable(clean, name, "it must begin with https, lest the key travels in the clear")
    path = _PATH.fullmatch(_OPERATION.sub("", re.sub("/{2,}", "/", parts.path)))
    if path is None or not _prefix_is_valid(path, own=is_azure(clean)):
        raise _unusable(clean, name, f"its path is not one for images; {_LIKE}")
    query = parse_qsl(parts.query, keep_blank_values=True)
    if any(key != "api-version" for key, _ in query) or len(query) > 1:
        raise _unusable(clean, name, _LIKE)
    explicit = path["v1"] or path["deployment"]
    below = path["openai"] or ("" if explicit else "/openai")
    return _ParsedEndpoint(
        f"{parts.scheme}://{parts.netloc}{path['prefix']}{below}",
        "v1" if path["v1"] else "deployment" if path["deployment"] else "",
        unquote(path["deployment"]) if path["deployment"] else None,
        query[0][1] if query else None,
    )


def _prefix_is_valid(path: re.Match[str], *, own: bool) -> bool:
    """Whether what stands before Azure's own part can stand there."""
    prefix = path["prefix"]
    if own and not path["openai"]:
        explicit = path["v1"] or path["deployment"]
        return bool(prefix) if explicit else not prefix or _PROJECT.fullmatch(prefix) is not None
    return not {"openai", "deployments"} & set(prefix.split("/"))


def _reconcile(name: str, in_endpoint: str | None, given: str | None) -> str | None:
    """What one or both of them say; blank is nothing. Raises `ConfigurationError`."""
    first, second = (in_endpoint or "").strip(), (given or "").strip()
    if first and second and first != second:
        raise ConfigurationError(
            f"the endpoint says {first!r} and {name}= says {second!r}; leave one of them out"
        )
    return first or second or None


def _quote_segment(
    deployment: str, error: type[ConfigurationError | RequestInvalidError] = RequestInvalidError
) -> str:
    """A deployment's name as one segment of a path, from which no dots lead up."""
    try:
        if deployment not in {".", ".."}:
            return quote(deployment, safe="")
    except (TypeError, UnicodeEncodeError):  # no text, or half of a surrogate pair: callers may be untyped
        pass
    raise error("the deployment's name cannot stand in a URL; see model= and deployment=")


def _unusable(url: str, name: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{name} {redact_url(url)!r} cannot be used: {why}")


_Request = TypeVar("_Request", bound=GenerateRequest)

_NO_ENDPOINT: Final = (
    "no Azure endpoint: pass endpoint='https://NAME.openai.azure.com' or set AZURE_OPENAI_ENDPOINT"
)
_NO_CREDENTIAL: Final = (
    "no Azure credential: pass api_key=… or token_provider=…, "
    "or set AZURE_OPENAI_API_KEY (or AZURE_OPENAI_AD_TOKEN)"
)
_NO_KEY: Final = (
    "no API key: pass api_key=… or set OPENAI_API_KEY to the Azure resource's key; "
    "AZURE_OPENAI_* are read by ImagesClient.azure()"
)
_FOREIGN_KEY: Final = (
    "the key begins with sk-, as OpenAI's own do, and was not sent to Azure: pass the Azure resource's key"
)
_TOKEN: Final = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*", re.ASCII)


@frozen(repr=False)
class AzureEndpoint(Endpoint):
    """Where requests to Azure go, and what authorizes them."""

    _urls: AzureURLs
    _header: str | None
    """What the key travels in; None where it must be told from a token by its looks."""

    def __attrs_post_init__(self) -> None:
        if isinstance(self._api_key, str):
            self._authorization(self._api_key)

    @classmethod
    def from_config(cls, options: AzureConfig, headers: Mapping[str, str]) -> AzureEndpoint:
        """From what was said, and the environment for what was not. Raises `ConfigurationError`."""
        env = os.environ
        name = "endpoint" if options.endpoint else "AZURE_OPENAI_ENDPOINT"
        endpoint = options.endpoint or env.get(name, "")
        if not endpoint.strip():
            raise ConfigurationError(_NO_ENDPOINT)
        versions = (env.get(name, "").strip() for name in ("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"))
        urls = parse_endpoint(endpoint, name, options, next(filter(None, versions), None))
        key, header = _credential(options, env, headers)
        return cls(urls.base_url, dict(headers), key, urls, header)

    @classmethod
    def from_base_url(
        cls,
        base_url: str,
        api_key: ApiKey | None,
        organization: str | None,
        project: str | None,
        headers: Mapping[str, str],
    ) -> AzureEndpoint:
        """From the settings of a client whose base URL is Azure's. Raises `ConfigurationError`."""
        urls = parse_endpoint(base_url, "base_url", AzureConfig(), None)
        # The environment's are OpenAI's own.
        named = {"OpenAI-Organization": organization, "OpenAI-Project": project}
        sent = merge_headers({name: value.strip() for name, value in named.items() if value}, headers)
        key = resolve_api_key(api_key, os.environ.get("OPENAI_API_KEY"), sent, _NO_KEY)
        return cls(urls.base_url, sent, key, urls, None)

    is_azure = True

    @property
    def deployment(self) -> str | None:
        """The one deployment that all requests go to, None where their models name it."""
        return self._urls.deployment

    def url(self, path: str, model: str | None) -> str:
        """Where a request goes. Raises `RequestInvalidError` where it names no deployment."""
        return self._urls.url(path, model)

    def adapt(self, request: _Request) -> _Request:
        """The request with the deployment as its model, or with none where the path says it.

        On the classic path a model beside the deployment is needless, and newer models were seen to fail with it.
        Raises `RequestInvalidError` where it names no deployment.
        """
        urls = self._urls
        model = None if urls.classic else urls.deployment or request.model
        if not model and not urls.classic and "model" not in (request.extra_body or {}):
            raise RequestInvalidError(NO_DEPLOYMENT)
        return request if model == request.model else evolve(request, model=model)

    def _authorization(self, key: str) -> dict[str, str]:
        if key.startswith("sk-") and is_azure(self.base_url):
            raise ConfigurationError(_FOREIGN_KEY)
        as_token = self._header == "Authorization" or (self._header is None and _TOKEN.fullmatch(key))
        return {"Authorization": f"Bearer {key}"} if as_token else {"api-key": key}


def _credential(
    options: AzureConfig, env: Mapping[str, str], headers: Mapping[str, str]
) -> tuple[ApiKey | TokenProvider | None, str]:
    """The key or token and its header; the token comes first in the environment, as in the official client."""
    provider = options.token_provider
    if provider is not None:
        if options.api_key is not None:
            raise ConfigurationError("api_key and token_provider exclude each other; pass one of them")
        if not callable(provider):  # pyright: ignore[reportUnnecessaryComparison]  callers may be untyped
            raise ConfigurationError(
                f"token_provider must be a function that returns the token, not {type(provider).__name__}; "
                "azure-identity's get_bearer_token_provider makes one of a credential"
            )
        return provider, "Authorization"
    token = env.get("AZURE_OPENAI_AD_TOKEN", "").strip()
    if token and options.api_key is None and not credentials(headers):
        return strip_api_key(token), "Authorization"
    return resolve_api_key(
        options.api_key, env.get("AZURE_OPENAI_API_KEY"), headers, _NO_CREDENTIAL
    ), "api-key"
