"""What a client was built with, besides where it sends to: enough to build another one like it, elsewhere too.

Invariants: values only; nothing here is open, counts, or belongs to an event loop, except a session that was handed in.
Must not: check the settings, which those who use them do.
"""

from __future__ import annotations

import os
import pickle
import ssl as ssl_module
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self, TypedDict

from attrs import frozen

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
"""Where one of these is imported (Dask, Ray and joblib have them), functions may travel that `pickle` refuses."""


_MADE = ("_sessions", "_context", "_calls")
"""What `_assemble` makes."""

_CANNOT = "a client {} cannot be pickled: build the client where it is used, or {}"


@frozen(kw_only=True, repr=False)
class Settings:
    """The arguments of a client that are no address, credential, model or limit."""

    timeouts: Timeouts
    retry: RetryPolicy
    session: Session | None
    ssl: ssl_module.SSLContext | bool | None
    proxy: str | None
    trust_env: bool
    validate: Mode
    split: bool
    timing: Timing


class ClientSettings(TypedDict, total=False):
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


class Portable(ABC):
    """A client that is copied and pickled by its settings: what it holds besides is left behind and made anew."""

    _endpoint: Endpoint
    _settings: Settings

    @abstractmethod
    def _assemble(self) -> None:
        """Make what no setting is."""

    def __getstate__(self) -> dict[str, Any]:
        """The settings, the key among them. Raises TypeError for what cannot be taken to another process."""
        _check(self._settings, self._endpoint)
        return self._kept()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A client of these settings, as new."""
        for name, value in state.items():
            setattr(self, name, value)
        self._assemble()

    def __copy__(self) -> Self:
        """A client of the same settings, in this process."""
        copy = object.__new__(type(self))
        copy.__setstate__(self._kept())
        return copy

    def __deepcopy__(self, memo: object) -> Self:
        """The same: settings are values."""
        return self.__copy__()

    def _kept(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _MADE}


def _check(settings: Settings, endpoint: Endpoint) -> None:
    """Raise TypeError, which says what to do, for what cannot be pickled."""
    if settings.session is not None:
        raise TypeError(_CANNOT.format("with session=", "leave session= out"))
    if settings.ssl is not None and not isinstance(settings.ssl, bool):
        raise TypeError(_CANNOT.format("with an ssl= context", "set SSL_CERT_FILE there"))
    if _BY_VALUE.isdisjoint(name.rpartition(".")[2] for name in list(sys.modules)):
        try:
            pickle.dumps((endpoint, settings.timing))
        except Exception as error:  # noqa: BLE001  whatever a function holds may raise
            what = f"whose key comes from a function that cannot be pickled ({type(error).__name__})"
            raise TypeError(_CANNOT.format(what, "use a function of a module, not a lambda")) from None


def endpoint_from(
    api_key: ApiKey | None,
    base_url: str | None,
    organization: str | None,
    project: str | None,
    headers: Mapping[str, str],
) -> Endpoint:
    """From what a client was given, and the environment for what it was not. Raises `ConfigurationError`."""
    env = os.environ
    address = base_url or env.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
    if is_azure(address):
        # Here, so that those who send elsewhere need not wait for its import.
        from openai_images.http.azure import AzureEndpoint  # noqa: PLC0415

        return AzureEndpoint.from_base_url(address, api_key, organization, project, headers)
    named = {
        "OpenAI-Organization": (organization or env.get("OPENAI_ORG_ID") or "").strip(),
        "OpenAI-Project": (project or env.get("OPENAI_PROJECT_ID") or "").strip(),
    }
    sent = merge_headers({name: value for name, value in named.items() if value}, headers)
    return Endpoint(parse_base_url(address), sent, resolve_api_key(api_key, env.get("OPENAI_API_KEY"), sent))
