"""A client's access to Azure: its route, its key or token, and the header that travels in.

Rules: the environment is read once, when a client is built, and AZURE_OPENAI_* only where Azure was asked for by name:
a base URL goes with OPENAI_API_KEY. It refuses to send a key of OpenAI's to a host of Azure's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypedDict, TypeVar

from attrs import evolve, frozen

from openai_images.errors import ConfigurationError, RequestInvalidError
from openai_images.http.azure_routes import NO_DEPLOYMENT, AzureOptions, AzureRoute, route_of
from openai_images.http.endpoint import (
    Access,
    ApiKey,
    TokenProvider,
    checked_key,
    clean_key,
    credentials,
    is_azure,
)
from openai_images.models.requests import GenerateRequest
from openai_images.wire.requests import joined

if TYPE_CHECKING:
    import ssl as ssl_module

    from openai_images.http.sessions import Session
    from openai_images.models.options import Limits, RetryPolicy, Timeouts, Timing
    from openai_images.validation.validator import Mode

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


class AzureSettings(TypedDict, total=False):
    """The settings of `ImagesClient` that `ImagesClient.azure` takes besides its own; keep in step with them."""

    timeouts: Timeouts
    retry: RetryPolicy
    limits: Limits
    model: str | None
    session: Session | None
    headers: Mapping[str, str] | None
    ssl: ssl_module.SSLContext | bool | None
    proxy: str | None
    trust_env: bool
    validate: Mode
    split: bool
    timing: Timing


@frozen(repr=False)
class AzureAccess(Access):
    """Where requests to Azure go, and what authorizes them."""

    _route: AzureRoute
    _header: str | None
    """What the key travels in; None where it must be told from a token by its looks."""

    def __attrs_post_init__(self) -> None:
        """Refuse a key that cannot be sent, where it is a text. Raises `ConfigurationError`."""
        if isinstance(self._api_key, str):
            self._authorization(self._api_key)

    @classmethod
    def of_options(cls, options: AzureOptions, headers: Mapping[str, str]) -> AzureAccess:
        """From what was said, and the environment for what was not. Raises `ConfigurationError`."""
        env = os.environ
        name = "endpoint" if options.endpoint else "AZURE_OPENAI_ENDPOINT"
        endpoint = options.endpoint or env.get(name, "")
        if not endpoint.strip():
            raise ConfigurationError(_NO_ENDPOINT)
        versions = (env.get(name, "").strip() for name in ("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"))
        route = route_of(endpoint, name, options, next(filter(None, versions), None))
        key, header = _credential(options, env, headers)
        return cls(route.base_url, dict(headers), key, route, header)

    @classmethod
    def of_base_url(
        cls,
        base_url: str,
        api_key: ApiKey | None,
        organization: str | None,
        project: str | None,
        headers: Mapping[str, str],
    ) -> AzureAccess:
        """From the settings of a client whose base URL is Azure's. Raises `ConfigurationError`."""
        route = route_of(base_url, "base_url", AzureOptions(), None)
        # The environment's are OpenAI's own.
        named = {"OpenAI-Organization": organization, "OpenAI-Project": project}
        sent = joined({name: value.strip() for name, value in named.items() if value}, headers)
        key = checked_key(api_key, os.environ.get("OPENAI_API_KEY"), sent, _NO_KEY)
        return cls(route.base_url, sent, key, route, None)

    @property
    def is_azure(self) -> bool:
        """Always."""
        return True

    @property
    def deployment(self) -> str | None:
        """The one deployment that all requests go to, None where their models name it."""
        return self._route.deployment

    def url(self, path: str, model: str | None) -> str:
        """Where a request goes. Raises `RequestInvalidError` where it names no deployment."""
        return self._route.url(path, model)

    def addressed(self, request: _Request) -> _Request:
        """The request with the deployment as its model, or with none where the path says it.

        On the classic path a model beside the deployment is needless, and newer models were seen to fail with it.
        Raises `RequestInvalidError` where it names no deployment.
        """
        route = self._route
        model = None if route.classic else route.deployment or request.model
        if not model and not route.classic and "model" not in (request.extra_body or {}):
            raise RequestInvalidError(NO_DEPLOYMENT)
        return request if model == request.model else evolve(request, model=model)

    def _authorization(self, key: str) -> dict[str, str]:
        if key.startswith("sk-") and is_azure(self.base_url):
            raise ConfigurationError(_FOREIGN_KEY)
        as_token = self._header == "Authorization" or (self._header is None and _TOKEN.fullmatch(key))
        return {"Authorization": f"Bearer {key}"} if as_token else {"api-key": key}


def _credential(
    options: AzureOptions, env: Mapping[str, str], headers: Mapping[str, str]
) -> tuple[ApiKey | TokenProvider | None, str]:
    """The key or token and its header; the token comes first in the environment, as in the official client."""
    provider = options.token_provider
    if provider is not None:
        if options.api_key is not None:
            msg = "api_key and token_provider exclude each other; pass one of them"
            raise ConfigurationError(msg)
        if not callable(provider):  # pyright: ignore[reportUnnecessaryComparison]  callers may be untyped
            msg = (
                f"token_provider must be a function that returns the token, not {type(provider).__name__}; "
                "azure-identity's get_bearer_token_provider makes one of a credential"
            )
            raise ConfigurationError(msg)
        return provider, "Authorization"
    token = env.get("AZURE_OPENAI_AD_TOKEN", "").strip()
    if token and options.api_key is None and not credentials(headers):
        return clean_key(token), "Authorization"
    return checked_key(options.api_key, env.get("AZURE_OPENAI_API_KEY"), headers, _NO_CREDENTIAL), "api-key"
