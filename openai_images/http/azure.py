"""Azure: parses an endpoint's URL, builds request URLs, and chooses the key or token and its header.

Invariants: the environment is a parameter, and only `ImagesClient.azure` reads AZURE_OPENAI_* in it; a client with a
base URL reads OPENAI_API_KEY. An unknown form of endpoint is rejected; its URL and the settings must agree.
Must not: send an OpenAI key to Azure, or any key to OpenAI's own host or over http to Azure.
"""

from __future__ import annotations

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

# From left to right: a gateway's prefix, Azure's own part (which gateways may omit), and the kind of URL.
_PATH: Final = re.compile(
    r"(?P<prefix>.*?)(?P<openai>/openai)?(?:(?P<v1>/v1)|/deployments/(?P<deployment>[^/]+))?"
)
_OPERATION: Final = re.compile(r"(?:/images/(?:generations|edits))?/*$")
_PROJECT: Final = re.compile(r"/api/projects/[^/]+")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_VERSION: Final = re.compile(rf"(?:{_DATE.pattern}|[A-Za-z])[A-Za-z0-9._-]*")


@frozen
class AzureConfig:
    """The Azure arguments of `ImagesClient.azure`; the environment's value replaces None."""

    endpoint: str | None = None
    deployment: str | None = None
    api_version: str | None = None
    api_key: ApiKey | None = field(default=None, repr=False)
    token_provider: TokenProvider | None = field(default=None, repr=False)


@frozen
class AzureURLs:
    """The URLs of one resource: below `root`, by `deployment` if `classic`, otherwise by the model in the body."""

    root: str
    classic: bool
    deployment: str | None
    api_version: str | None

    @property
    def base_url(self) -> str:
        """The common prefix of its request URLs."""
        if not self.classic:
            return f"{self.root}/v1"
        name = self.deployment
        return self.root if name is None else f"{self.root}/deployments/{_quote_segment(name)}"

    def url(self, path: str, model: str | None) -> str:
        """Return the URL of a request for this model. Raises `RequestInvalidError`."""
        query = f"?api-version={self.api_version}" if self.api_version else ""
        if not self.classic:
            return f"{self.root}/v1{path}{query}"
        name = self.deployment or model
        if not name:
            raise RequestInvalidError(NO_DEPLOYMENT)
        return f"{self.root}/deployments/{_quote_segment(name)}{path}{query}"


def parse_endpoint(endpoint: str, name: str, config: AzureConfig, fallback: str | None) -> AzureURLs:
    """Return the URLs of an endpoint; `name` is for messages. Raises `ConfigurationError`."""
    root, kind, deployment, version = _parse(endpoint, name)
    deployment = _reconcile("deployment", deployment, config.deployment)
    version = _reconcile("api_version", version, config.api_version)
    if version is None and fallback is not None and (kind != "v1" or not _DATE.match(fallback)):
        version = fallback
    if version is not None and not _VERSION.fullmatch(version):
        raise ConfigurationError("the api-version can only be a date such as 2025-04-01-preview, or preview")
    dated = version is not None and _DATE.match(version) is not None
    if kind == "deployment" and not dated:
        raise ConfigurationError(
            "an endpoint with /deployments/ needs an api-version that is a date: "
            "pass api_version='2025-04-01-preview' or the like, or set OPENAI_API_VERSION"
        )
    if kind == "v1" and dated:
        raise ConfigurationError(
            f"the endpoint's /openai/v1 takes no dated api-version; leave {version!r} out, or leave /v1 out"
        )
    if deployment is not None:
        _quote_segment(deployment, ConfigurationError)
    return AzureURLs(root, dated, deployment, version)


def _parse(endpoint: str, name: str) -> tuple[str, str, str | None, str | None]:
    """Return root, kind ("v1", "deployment" or "" if both are possible), deployment and api-version of an endpoint.

    It may be any URL that Azure shows for a resource. Raises `ConfigurationError`.
    """
    clean = endpoint.strip()
    parts = split_url(clean)
    if parts is None:
        raise _unusable(clean, name, _LIKE)
    if is_openai(clean):
        raise _unusable(clean, name, "it is OpenAI's own address, not Azure's")
    if parts.scheme == "http" and is_azure(clean):
        raise _unusable(clean, name, "it must begin with https, so that the key is never sent unencrypted")
    path = _PATH.fullmatch(_OPERATION.sub("", re.sub("/{2,}", "/", parts.path)))
    if path is None or not _prefix_is_valid(path, own=is_azure(clean)):
        raise _unusable(clean, name, f"its path is not one for images; {_LIKE}")
    query = parse_qsl(parts.query, keep_blank_values=True)
    if any(key != "api-version" for key, _ in query) or len(query) > 1:
        raise _unusable(clean, name, _LIKE)
    explicit = path["v1"] or path["deployment"]
    below = path["openai"] or ("" if explicit else "/openai")
    return (
        f"{parts.scheme}://{parts.netloc}{path['prefix']}{below}",
        "v1" if path["v1"] else "deployment" if path["deployment"] else "",
        unquote(path["deployment"]) if path["deployment"] else None,
        query[0][1] if query else None,
    )


def _prefix_is_valid(path: re.Match[str], *, own: bool) -> bool:
    prefix = path["prefix"]
    if own and not path["openai"]:
        explicit = path["v1"] or path["deployment"]
        return bool(prefix) if explicit else not prefix or _PROJECT.fullmatch(prefix) is not None
    return not {"openai", "deployments"} & set(prefix.split("/"))


def _reconcile(name: str, in_endpoint: str | None, argument: str | None) -> str | None:
    """Return the value that is set; a blank one counts as missing. Raises `ConfigurationError` if they differ."""
    first, second = (in_endpoint or "").strip(), (argument or "").strip()
    if first and second and first != second:
        raise ConfigurationError(
            f"the endpoint says {first!r} and {name}= says {second!r}; leave one of them out"
        )
    return first or second or None


def _quote_segment(
    deployment: str, error: type[ConfigurationError | RequestInvalidError] = RequestInvalidError
) -> str:
    """Quote a deployment's name as one path segment, which may not be `.` or `..`."""
    try:
        if deployment not in {".", ".."}:
            return quote(deployment, safe="")
    except (
        TypeError,
        UnicodeEncodeError,
    ):  # not a string (callers may be untyped), or half of a surrogate pair
        pass
    raise error("the deployment's name cannot be part of a URL; check model= and deployment=")


def _unusable(url: str, name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{name} {redact_url(url)!r} cannot be used: {reason}")


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
    """The URLs and credentials of requests to Azure."""

    _urls: AzureURLs
    _header: str | None
    """The header for the key or token; None if the credential's format decides."""

    def __attrs_post_init__(self) -> None:
        if isinstance(self._api_key, str):
            self._authorization(self._api_key)

    @classmethod
    def from_config(
        cls, config: AzureConfig, headers: Mapping[str, str], env: Mapping[str, str]
    ) -> AzureEndpoint:
        """Make the endpoint from arguments, with defaults from the environment. Raises `ConfigurationError`."""
        name = "endpoint" if config.endpoint else "AZURE_OPENAI_ENDPOINT"
        endpoint = config.endpoint or env.get(name, "")
        if not endpoint.strip():
            raise ConfigurationError(_NO_ENDPOINT)
        versions = (env.get(name, "").strip() for name in ("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"))
        urls = parse_endpoint(endpoint, name, config, next(filter(None, versions), None))
        key, header = _credential(config, env, headers)
        return cls(urls.base_url, headers, key, urls, header, default_model=urls.deployment)

    @classmethod
    def from_base_url(
        cls,
        base_url: str,
        api_key: ApiKey | None,
        account: Mapping[str, str | None],
        headers: Mapping[str, str],
        env: Mapping[str, str],
    ) -> AzureEndpoint:
        """Make the endpoint from the settings of a client whose base URL is Azure's. Raises `ConfigurationError`."""
        urls = parse_endpoint(base_url, "base_url", AzureConfig(), None)
        merged = merge_headers({name: value.strip() for name, value in account.items() if value}, headers)
        key = resolve_api_key(api_key, env.get("OPENAI_API_KEY"), merged, _NO_KEY)
        return cls(urls.base_url, merged, key, urls, None)

    is_azure = True

    def url(self, path: str, model: str | None) -> str:
        """Return the URL of a request. Raises `RequestInvalidError` if it names no deployment."""
        return self._urls.url(path, model)

    def adapt(self, request: _Request) -> _Request:
        """Set the request's model to the deployment, or to None if the path names the deployment.

        The classic path needs no model in the body, and newer models were seen to fail with one.
        Raises `RequestInvalidError` if it names no deployment.
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
    config: AzureConfig, env: Mapping[str, str], headers: Mapping[str, str]
) -> tuple[ApiKey | TokenProvider | None, str]:
    """Return the key or token, and its header; the environment's token wins over its key, as in the official client."""
    provider = config.token_provider
    if provider is not None:
        if config.api_key is not None:
            raise ConfigurationError("api_key and token_provider exclude each other; pass one of them")
        if not callable(provider):  # pyright: ignore[reportUnnecessaryComparison]  callers may be untyped
            raise ConfigurationError(
                f"token_provider must be a function that returns the token, not {type(provider).__name__}; "
                "azure-identity's get_bearer_token_provider makes one from a credential"
            )
        return provider, "Authorization"
    token = env.get("AZURE_OPENAI_AD_TOKEN", "").strip()
    if token and config.api_key is None and not credentials(headers):
        return strip_api_key(token), "Authorization"
    return resolve_api_key(
        config.api_key, env.get("AZURE_OPENAI_API_KEY"), headers, _NO_CREDENTIAL
    ), "api-key"
