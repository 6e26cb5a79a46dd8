"""The settings of a client, except its endpoint: enough to build an equal client, also in another process.

Invariants: values only; nothing here is open, counts, or belongs to an event loop, except a session of the caller's.
Must not: check the settings; the classes that use them do.
"""

from __future__ import annotations

import os
import pickle
import ssl as ssl_module
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Self, TypedDict

from openai_images.http.endpoint import (
    DEFAULT_BASE_URL,
    ApiKey,
    Endpoint,
    is_azure,
    parse_base_url,
    resolve_api_key,
)
from openai_images.http.sessions import Session
from openai_images.models.options import Limits, RetryPolicy, Timeouts, Timing
from openai_images.validation.validator import Mode
from openai_images.wire.requests import merge_headers

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


class ClientSettings(TypedDict, total=False):
    """The settings of `ImagesClient` that `ImagesClient.azure` takes too; keep in sync with its constructor."""

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
    show_prompts: bool


class Portable(ABC):
    """A client that is copied and pickled by its settings; all other state is built again."""

    _endpoint: Endpoint
    _settings: Settings

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

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _MADE}


def _check(settings: Settings, endpoint: Endpoint) -> None:
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


def endpoint_from(
    api_key: ApiKey | None,
    base_url: str | None,
    organization: str | None,
    project: str | None,
    headers: Mapping[str, str],
) -> Endpoint:
    """Make the endpoint from a client's arguments, with defaults of the environment. Raises `ConfigurationError`."""
    env = os.environ
    address = base_url or env.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
    if is_azure(address):
        # Imported when it is needed: other clients start faster without it.
        from openai_images.http.azure import AzureEndpoint  # noqa: PLC0415

        return AzureEndpoint.from_base_url(address, api_key, organization, project, headers)
    defaults = {
        "OpenAI-Organization": (organization or env.get("OPENAI_ORG_ID") or "").strip(),
        "OpenAI-Project": (project or env.get("OPENAI_PROJECT_ID") or "").strip(),
    }
    merged = merge_headers({name: value for name, value in defaults.items() if value}, headers)
    return Endpoint(
        parse_base_url(address), merged, resolve_api_key(api_key, env.get("OPENAI_API_KEY"), merged)
    )
