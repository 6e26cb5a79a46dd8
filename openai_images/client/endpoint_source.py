"""The endpoint of a client: its arguments, completed from the environment.

Invariants: arguments are checked when a client is built, environment variables when they are used.
Must not: show the key in any text.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from openai_images.errors import ConfigurationError
from openai_images.http.endpoint import (
    DEFAULT_BASE_URL,
    ApiKey,
    Endpoint,
    credentials,
    is_azure,
    parse_base_url,
    resolve_api_key,
)
from openai_images.wire.requests import merge_headers

if TYPE_CHECKING:
    from openai_images.http.azure import AzureConfig

_AZURE_VARIABLES: Final = (
    "AZURE_OPENAI_ENDPOINT",
    "AZURE_OPENAI_API_VERSION",
    "OPENAI_API_VERSION",
    "AZURE_OPENAI_AD_TOKEN",
    "AZURE_OPENAI_API_KEY",
)
_ANY_KEY: Final = {"OPENAI_API_KEY": "none", "AZURE_OPENAI_API_KEY": "none", "AZURE_OPENAI_AD_TOKEN": ""}
_COMPLETE: Final = {
    **_ANY_KEY,
    "AZURE_OPENAI_ENDPOINT": "https://name.openai.azure.com",
    "OPENAI_API_VERSION": "2025-04-01",
}
"""A complete environment: with it, only an invalid argument makes an endpoint fail."""


class EndpointArguments(NamedTuple):
    """The arguments of a client for its endpoint; those of `ImagesClient.azure` are in `azure`."""

    headers: Mapping[str, str]
    api_key: ApiKey | None = None
    base_url: str | None = None
    organization: str | None = None
    project: str | None = None
    azure: AzureConfig | None = None

    def __repr__(self) -> str:
        return "<EndpointArguments>"  # never the key

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that the endpoint may use."""
        if self.azure is not None:
            return _AZURE_VARIABLES
        given = {
            "OPENAI_API_KEY": self.api_key,
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_ORG_ID": self.organization,
            "OPENAI_PROJECT_ID": self.project,
        }
        return tuple(name for name, value in given.items() if not value)

    def endpoint(self, env: Mapping[str, str]) -> Endpoint:
        """Make the endpoint, with defaults from `env`. Raises `ConfigurationError`."""
        headers, address = self.headers, self.base_url or env.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
        account = {"OpenAI-Organization": self.organization, "OpenAI-Project": self.project}
        if self.azure is not None or is_azure(address):
            # Imported here: other clients start faster without it.
            from openai_images.http.azure import AzureEndpoint  # noqa: PLC0415

            if self.azure is not None:
                return AzureEndpoint.from_config(self.azure, headers, env)
            # OPENAI_ORG_ID and OPENAI_PROJECT_ID are for OpenAI's service.
            return AzureEndpoint.from_base_url(address, self.api_key, account, headers, env)
        for name, variable in zip(account, ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"), strict=True):
            account[name] = (account[name] or env.get(variable) or "").strip()
        merged = merge_headers({name: value for name, value in account.items() if value}, headers)
        key = resolve_api_key(self.api_key, env.get("OPENAI_API_KEY"), merged)
        return Endpoint(parse_base_url(address), merged, key)


class EndpointSource:
    """The endpoint of a client, rebuilt when the environment has changed; copies of a client share it."""

    def __init__(self, arguments: EndpointArguments) -> None:
        """Check the arguments. Raises `ConfigurationError`."""
        for name in ("base_url", "organization", "project"):
            value: object = getattr(arguments, name)
            if not isinstance(value, str | None):
                raise ConfigurationError(f"{name} must be text, not {type(value).__name__}; write str(…)")
        self._arguments = arguments
        self._variables = arguments.variables
        self._made: tuple[list[str | None], Endpoint] | None = None
        arguments.endpoint(_COMPLETE)

    def current(self) -> Endpoint:
        """Return the current endpoint; the same object while nothing changes. Raises `ConfigurationError`."""
        values = [os.environ.get(name) for name in self._variables]
        made = self._made
        if made is None or made[0] != values:
            # Set in one assignment: several threads may use a client.
            made = self._made = values, self._arguments.endpoint(self._environment(values))
        return made[1]

    @property
    def base_url(self) -> str:
        """The current base URL; needs no key. Raises `ConfigurationError`."""
        with suppress(ConfigurationError):
            return self.current().base_url
        values = [os.environ.get(name) for name in self._variables]
        return self._arguments.endpoint(self._environment(values) | _ANY_KEY).base_url

    def with_headers(self, headers: Mapping[str, str]) -> EndpointSource:
        """Return a source of the same endpoint with these headers, which replace its own of the same name."""
        if not credentials(headers):
            return _EndpointWithHeaders(self, headers)
        arguments = self._arguments  # these headers have credentials: no key is needed
        return EndpointSource(arguments._replace(headers=merge_headers(arguments.headers, headers)))

    def moved(self, base_url: str, api_key: str) -> EndpointSource:
        """Return a source for another server with the same headers except credentials. Raises `ConfigurationError`."""
        arguments = self._arguments._replace(api_key=api_key, base_url=base_url, azure=None)
        headers = {name: value for name, value in arguments.headers.items() if not credentials({name: value})}
        return EndpointSource(arguments._replace(headers=headers))

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            return _FixedEndpoint, (self.current(),)
        except ConfigurationError:  # the other process may have the missing variable
            return type(self), (self._arguments,)

    def _environment(self, values: list[str | None]) -> dict[str, str]:
        return {name: value for name, value in zip(self._variables, values, strict=True) if value is not None}


class _FixedEndpoint(EndpointSource):
    """The endpoint of a pickled client: the other process may have another environment."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._arguments = EndpointArguments({})
        self._endpoint = endpoint

    def current(self) -> Endpoint:
        return self._endpoint

    def with_headers(self, headers: Mapping[str, str]) -> EndpointSource:
        return _EndpointWithHeaders(self, headers)


class _EndpointWithHeaders(EndpointSource):
    """The endpoint of another source, with more headers."""

    def __init__(self, source: EndpointSource, headers: Mapping[str, str]) -> None:
        arguments = source._arguments  # noqa: SLF001  same class
        self._arguments = arguments._replace(headers=merge_headers(arguments.headers, headers))
        self._source = source
        self._headers = dict(headers)
        self._last: tuple[Endpoint, Endpoint] | None = None

    def current(self) -> Endpoint:
        base, last = self._source.current(), self._last
        if last is None or last[0] is not base:
            last = self._last = base, base.with_headers(self._headers)
        return last[1]

    def with_headers(self, headers: Mapping[str, str]) -> EndpointSource:
        return self._source.with_headers(merge_headers(self._headers, headers))

    @property
    def base_url(self) -> str:
        return self._source.base_url

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._source, self._headers)
