"""The settings of a client, its endpoint included: enough to build an equal client, also in another process.

Invariants: values only; nothing here is open, counts, or belongs to an event loop, except a session of the caller's.
What was given explicitly is checked when a client is built, what comes from the environment when it is used.
Must not: check other settings; the classes that use them do.
"""

from __future__ import annotations

import os
import pickle
import ssl as ssl_module
import sys
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypedDict

from attrs import evolve

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
from openai_images.http.sessions import Session
from openai_images.models.options import Limits, RetryPolicy, Timeouts, Timing
from openai_images.validation.validator import Mode, RequestValidator
from openai_images.wire.requests import merge_headers

if TYPE_CHECKING:
    from openai_images.http.azure import AzureConfig

_BY_VALUE = frozenset({"cloudpickle", "dill"})
"""If one of these is imported (Dask, Ray and joblib use them), functions that `pickle` rejects can be sent."""


_MADE = ("_sessions", "_context", "_calls")
"""The attributes that `_assemble` sets."""

_CANNOT = "a client {} cannot be pickled: build the client where it is used, or {}"


class Settings(NamedTuple):
    """The arguments of a client, except address, credentials, model and limits."""

    timeouts: Timeouts
    retry: RetryPolicy
    session: Session | None
    ssl: ssl_module.SSLContext | bool | None
    proxy: str | None
    trust_env: bool
    validate: Mode
    split: bool
    timing: Timing
    show_prompts: bool

    def __repr__(self) -> str:
        return "<Settings>"  # the proxy may have a password

    def new_validator(self) -> RequestValidator:
        """Return a validator of requests to OpenAI, from which those to other servers are made."""
        return RequestValidator(self.validate, official=True, split=self.split, wall=self.timing.wall)


class ClientSettings(TypedDict, total=False):
    """The settings of `ImagesClient` that `ImagesClient.azure` takes too; keep in sync with its constructor."""

    timeouts: Timeouts
    timeout: float | Timeouts | None
    retry: RetryPolicy
    max_retries: int | None
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
    show_prompts: bool


class Portable(ABC):
    """A client that is copied and pickled by its settings; all other state is built again."""

    _endpoint: EndpointSource
    _settings: Settings
    _limits: Limits

    @abstractmethod
    def _assemble(self) -> None:
        """Build everything that is not a setting."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings, the key included. Raises TypeError for what cannot be sent to another process."""
        _check(self._settings, self._endpoint)
        return self._state()

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._assemble()

    def __copy__(self) -> Self:
        copy = object.__new__(type(self))
        copy.__setstate__(self._state())
        return copy

    def __deepcopy__(self, memo: object) -> Self:
        return self.__copy__()

    @contextmanager
    def override(self, *, base_url: str, api_key: str) -> Generator[Self]:
        """Send the calls that are made in a `with` block to another server, directly: for tests.

        Calls in flight go on where they are. The other server's rate limits are its own. Raises `ConfigurationError`.
        """
        endpoint = self._endpoint.moved(base_url, api_key)
        settings = self._settings._replace(proxy=None, trust_env=False)
        other = object.__new__(type(self))
        limits = evolve(self._limits, shared=None)
        other.__setstate__({**self._state(), "_endpoint": endpoint, "_settings": settings, "_limits": limits})
        names = ("_endpoint", "_settings", "_limits", *_MADE)
        own = {name: vars(self)[name] for name in names}
        vars(self).update({name: vars(other)[name] for name in names})
        try:
            yield self
        finally:
            vars(self).update(own)

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _MADE}


def _check(settings: Settings, endpoint: EndpointSource) -> None:
    """Raise TypeError, with advice, for what cannot be pickled."""
    if settings.session is not None:
        raise TypeError(_CANNOT.format("with session=", "leave session= out"))
    if settings.ssl is not None and not isinstance(settings.ssl, bool):
        raise TypeError(_CANNOT.format("with an ssl= context", "set SSL_CERT_FILE there"))
    if _BY_VALUE.isdisjoint(name.rpartition(".")[2] for name in list(sys.modules)):
        try:
            pickle.dumps((endpoint, settings.timing))
        except Exception as error:  # noqa: BLE001  what a function refers to may raise anything
            problem = f"whose key comes from a function that cannot be pickled ({type(error).__name__})"
            raise TypeError(_CANNOT.format(problem, "use a function of a module, not a lambda")) from None


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
"""An environment with which an endpoint can only fail by what was given explicitly."""


class EndpointArguments(NamedTuple):
    """The arguments of a client about its endpoint; those of `ImagesClient.azure` are in `azure`."""

    headers: Mapping[str, str]
    api_key: ApiKey | None = None
    base_url: str | None = None
    organization: str | None = None
    project: str | None = None
    azure: AzureConfig | None = None

    def __repr__(self) -> str:
        return "<EndpointArguments>"  # the key

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of the environment that may matter."""
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
        """Make the endpoint, with defaults of the environment. Raises `ConfigurationError`."""
        headers, address = self.headers, self.base_url or env.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
        account = {"OpenAI-Organization": self.organization, "OpenAI-Project": self.project}
        if self.azure is not None or is_azure(address):
            # Imported when it is needed: other clients start faster without it.
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
    """The endpoint of a client, made again when the environment has changed; copies of a client share it."""

    def __init__(self, arguments: EndpointArguments) -> None:
        """Raises `ConfigurationError` for arguments with which no environment makes an endpoint."""
        self._arguments = arguments
        self._variables = arguments.variables
        self._made: tuple[list[str | None], Endpoint] | None = None
        arguments.endpoint(_COMPLETE)

    def current(self) -> Endpoint:
        """Return the endpoint of this moment; the same object while nothing changes. Raises `ConfigurationError`."""
        values = [os.environ.get(name) for name in self._variables]
        made = self._made
        if made is None or made[0] != values:
            # Set at once, as clients may be used by several threads.
            made = self._made = values, self._arguments.endpoint(self._environment(values))
        return made[1]

    @property
    def base_url(self) -> str:
        """The base URL of this moment, also without a key. Raises `ConfigurationError`."""
        with suppress(ConfigurationError):
            return self.current().base_url
        values = [os.environ.get(name) for name in self._variables]
        return self._arguments.endpoint(self._environment(values) | _ANY_KEY).base_url

    def with_headers(self, headers: Mapping[str, str]) -> EndpointSource:
        """Return a source of the same endpoint with these headers added, which win over its own."""
        return _EndpointWithHeaders(self, headers)

    def moved(self, base_url: str, api_key: str) -> EndpointSource:
        """Return one with the same headers for another server, credentials excepted. Raises `ConfigurationError`."""
        arguments = self._arguments
        headers = {name: value for name, value in arguments.headers.items() if not credentials({name: value})}
        return EndpointSource(
            arguments._replace(headers=headers, api_key=api_key, base_url=base_url, azure=None)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            return _FixedEndpoint, (self.current(),)
        except ConfigurationError:  # the other process may have what is missing
            return type(self), (self._arguments,)

    def _environment(self, values: list[str | None]) -> dict[str, str]:
        return {name: value for name, value in zip(self._variables, values, strict=True) if value is not None}


class _FixedEndpoint(EndpointSource):
    """The endpoint of a client that was pickled: its process may have another environment."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._arguments = EndpointArguments({})
        self._endpoint = endpoint

    def current(self) -> Endpoint:
        return self._endpoint


class _EndpointWithHeaders(EndpointSource):
    """The endpoint of a client derived from another, with more headers."""

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

    @property
    def base_url(self) -> str:
        return self._source.base_url

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._source, self._headers)
