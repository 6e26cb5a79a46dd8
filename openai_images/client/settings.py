"""The settings of a client: enough to build an equal client, also in another process.

Invariants: settings are values: none has open resources, counts anything or belongs to an event loop, except the
caller's session.
Must not: check settings (the classes that use them do).
"""

from __future__ import annotations

import pickle
import ssl as ssl_module
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypedDict

from attrs import evolve

from openai_images._util.waits import LongWaits
from openai_images.client.attempts import CallContext
from openai_images.client.call_factory import CallFactory
from openai_images.client.endpoint_source import EndpointSource
from openai_images.errors import ConfigurationError
from openai_images.http.sessions import Session, SessionPool
from openai_images.http.transport import Transport
from openai_images.models.options import Limits, RetryPolicy, Timeouts, Timing
from openai_images.ratelimit.new_limiter import new_limiter
from openai_images.validation.validator import Mode, RequestValidator

if TYPE_CHECKING:
    from openai_images.telemetry.telemetry import Instruments, Telemetry

_BY_VALUE = frozenset({"cloudpickle", "dill"})
"""If one of these is imported (Dask, Ray and joblib use them), functions that `pickle` rejects can be pickled."""


_MADE = ("_sessions", "_context", "_calls")
"""The attributes that `_assemble` sets."""

_CANNOT = "a client {} cannot be pickled: build the client where it is used, or {}"


class Settings(NamedTuple):
    """The arguments of a client except address, credentials, model and limits."""

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
    telemetry: Telemetry | None

    def __repr__(self) -> str:
        return "<Settings>"  # the proxy may have a password

    def new_validator(self) -> RequestValidator:
        """Return a validator of requests to OpenAI; those of other servers are derived from it."""
        return RequestValidator(self.validate, official=True, split=self.split, wall=self.timing.wall)


class ClientSettings(TypedDict, total=False):
    """The settings that `ImagesClient` and `ImagesClient.azure` have in common; keep in sync with the constructor."""

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
    telemetry: Telemetry | None


class Portable:
    """A client that is copied and pickled as its settings; all other state is built again."""

    _endpoint: EndpointSource
    _model: str | None
    _limits: Limits
    _settings: Settings

    def _assemble(self) -> None:
        settings = self._settings
        self._sessions = SessionPool(settings.session, trust_env=settings.trust_env)
        self._context = CallContext(
            Transport(self._sessions, settings.timing, ssl=settings.ssl, proxy=settings.proxy),
            new_limiter(self._limits, settings.timing),
            settings.retry,
            settings.timeouts,
            settings.timing,
            self._limits.max_picture_bytes,
            waits=LongWaits(),
            reported=set(),
            telemetry=_instruments(settings.telemetry),
        )
        validator = settings.new_validator()
        self._calls = CallFactory(self._endpoint, self._context, self._model, validator, self._limits)

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings, the key included. Raises TypeError for settings that cannot be pickled."""
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
        """Send the calls made in a `with` block to another server, without a proxy; for tests.

        `base_url` and `api_key` are those of the other server, such as a `LocalImagesServer`. Calls in flight are not
        affected; the other server has separate rate limits. Raises `ConfigurationError`.
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


def _instruments(telemetry: Telemetry | None) -> Instruments | None:
    """Return the telemetry instruments of a client; None without telemetry. Raises `ConfigurationError`."""
    if telemetry is None:
        return None
    # Imported here: other clients start faster without it.
    from openai_images.telemetry import telemetry as module  # noqa: PLC0415

    value: Any = telemetry  # callers may be untyped
    if not isinstance(value, module.Telemetry):
        raise ConfigurationError(f"telemetry must be Telemetry(…) or None, not {type(value).__name__}")
    return module.Instruments(telemetry)


def _check(settings: Settings, endpoint: EndpointSource) -> None:
    """Raise TypeError, with advice, for settings that cannot be pickled."""
    if settings.session is not None:
        raise TypeError(_CANNOT.format("with session=", "leave session= out"))
    if settings.ssl is not None and not isinstance(settings.ssl, bool):
        raise TypeError(_CANNOT.format("with an ssl= context", "set SSL_CERT_FILE there"))
    telemetry = settings.telemetry
    if telemetry is not None and (telemetry.tracer_provider or telemetry.meter_provider) is not None:
        advice = "use Telemetry() with the global providers of each process"
        raise TypeError(_CANNOT.format("whose telemetry= has providers", advice))
    if _BY_VALUE.isdisjoint(name.rpartition(".")[2] for name in list(sys.modules)):
        try:
            pickle.dumps((endpoint, settings.timing))
        except Exception as error:  # noqa: BLE001  objects that a function refers to may raise anything
            problem = f"whose key comes from a function that cannot be pickled ({type(error).__name__})"
            raise TypeError(_CANNOT.format(problem, "use a function of a module, not a lambda")) from None
