"""The options of one call, and of a client derived from another (`with_options`).

Invariants: a derived client shares its parent's connections and limiter, and keeps all other settings; a call with
options is made by a client derived for it.
Must not: send, or change the client it derives from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

from attrs import evolve

from openai_images._util.attrs import Hinted
from openai_images._util.json import is_mapping
from openai_images.client.call_factory import CallFactory
from openai_images.client.settings import ClientSettings, Portable, Settings
from openai_images.errors import ConfigurationError
from openai_images.models.options import RetryPolicy, Timeouts
from openai_images.models.parameters import OPTION_NAMES, CallOptions, shows
from openai_images.validation.validator import Mode

_OF_CLIENTS = ("timeout", "headers", "retry", "max_retries", "model", "validate", "split")
_HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # RFC 9110
_LINE_ENDS = frozenset("\r\n\0")
_BOTH = "{0}= and {1}= were both given; pass one of them, such as {1}={2}"


class ClientOptions(CallOptions, total=False):
    """The options of `with_options`; one that is missing or None keeps the client's setting."""

    model: str | None
    validate: Mode | None
    split: bool | None


class NoSettings(TypedDict):
    """No keywords: for type checkers; at run time the function raises an error with a hint."""


class Adjustable(Portable, Hinted):
    """A client from which others are derived by `with_options`."""

    @shows(ClientOptions)
    def with_options(self, **options: Unpack[ClientOptions]) -> Self:
        """Return a client with other settings and the same connections and limits.

        A setting that is missing or None is kept. Closing either client closes the connections of both; a later call
        opens new ones. Raises `ConfigurationError`, and TypeError for a setting that cannot be changed.
        """
        reject_unknown(options, _OF_CLIENTS, "with_options")
        return self._derive(options)

    def _calls_for(self, params: Any) -> CallFactory:
        """Remove a call's options from its keywords, and return what makes calls with these options."""
        if OPTION_NAMES.isdisjoint(params):
            return self._calls
        # Removed, so that no stack frame of the call holds the headers.
        options = {name: params.pop(name) for name in OPTION_NAMES & params.keys()}
        if all(value is None for value in options.values()):
            return self._calls
        return self._derive(options)._calls  # noqa: SLF001  same class

    def _derive(self, options: Mapping[str, Any]) -> Self:
        given = {name: value for name, value in options.items() if value is not None}
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        settings = other._settings = _changed(self._settings, given)
        if "headers" in given:
            other._endpoint = self._endpoint.with_headers(checked_headers(given["headers"]))
        model = other._model = given.get("model", self._model)
        validator = settings.new_validator() if "validate" in given or "split" in given else None
        other._calls = self._calls.derive(
            other._endpoint, model, settings.retry, settings.timeouts, validator
        )
        return other

    async def aclose(self) -> None:
        """Close the connections of the running event loop, also those of clients that share them.

        Idempotent; a later call opens new ones.
        """
        await self._sessions.aclose()
        await self._calls.context.limiter.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _changed(settings: Settings, given: Mapping[str, Any]) -> Settings:
    if "retry" in given and "max_retries" in given:
        raise ConfigurationError(_BOTH.format("max_retries", "retry", "RetryPolicy(max_retries=…)"))
    return settings._replace(
        timeouts=timeouts_from(settings.timeouts, given.get("timeout")),
        retry=retry_from(given.get("retry", settings.retry), given.get("max_retries")),
        validate=given.get("validate", settings.validate),
        split=given.get("split", settings.split),
    )


def timeouts_from(timeouts: object, timeout: object) -> Timeouts:
    """Return the timeouts changed by `timeout`: a number of seconds, `Timeouts`, or None for no change.

    Raises `ConfigurationError`.
    """
    if isinstance(timeout, Timeouts):
        return timeout
    if not isinstance(timeouts, Timeouts):
        raise ConfigurationError(
            f"timeouts must be Timeouts(…), not {type(timeouts).__name__}; timeout= takes a number of seconds"
        )
    if timeout is None:
        return timeouts
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        shown = repr(timeout) if isinstance(timeout, int | float) else type(timeout).__name__
        raise ConfigurationError(
            "timeout must be a number of seconds above 0 (math.inf: no limit), or "
            f"Timeouts(connect=…, first_byte=…, idle=…, total=…), not {shown}"
        )
    if timeout == math.inf:
        return evolve(timeouts, total=None)
    connect = timeout if timeouts.connect is None else min(timeouts.connect, timeout)
    return evolve(timeouts, connect=connect, total=timeout)


def retry_from(retry: object, max_retries: Any) -> RetryPolicy:
    """Return the policy changed by `max_retries`, or None for no change. Raises `ConfigurationError`."""
    if not isinstance(retry, RetryPolicy):
        raise ConfigurationError(
            f"retry must be a RetryPolicy(…), not {type(retry).__name__}; max_retries= takes a number"
        )
    return retry if max_retries is None else evolve(retry, max_retries=max_retries)


def checked_headers(headers: object) -> dict[str, str]:
    """Return a copy of the headers. Raises `ConfigurationError` for invalid ones, without showing a value."""
    if not is_mapping(headers):
        raise ConfigurationError(
            f"headers must be a mapping of names to values, not {type(headers).__name__}"
        )
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigurationError(
                f"the header {str(name)[:40]!r} must be text, not {type(value).__name__}"
            )
        if not re.fullmatch(_HEADER_NAME, name):
            raise ConfigurationError(f"the header {name[:40]!r} has a name that cannot be sent")
        if not _LINE_ENDS.isdisjoint(value):
            raise ConfigurationError(
                f"the header {name[:40]!r} has a value with a line break, or a zero byte"
            )
    return dict(headers)


def reject_unknown(names: Collection[str], known: Collection[str], function: str) -> None:
    """Raise TypeError with a hint if one of `names` is not a `known` setting of `function`."""
    unknown = [name for name in names if name not in known]
    if unknown:
        # Imported here: valid settings never load it.
        from openai_images._util.keyword_hints import unknown_setting  # noqa: PLC0415

        raise TypeError(unknown_setting(unknown[0], known, function))


def start_settings(
    timeouts: Timeouts,
    timeout: float | Timeouts | None,
    retry: RetryPolicy,
    max_retries: int | None,
    unknown: Collection[str],
) -> tuple[Timeouts, RetryPolicy]:
    """Return the timeouts and the policy of a new client.

    Raises TypeError for `unknown` settings, and `ConfigurationError` if two arguments contradict each other.
    """
    own = ("api_key", "base_url", "organization", "project", *ClientSettings.__annotations__)
    reject_unknown(unknown, own, "ImagesClient")
    if timeout is not None and timeouts != Timeouts():
        raise ConfigurationError(_BOTH.format("timeout", "timeouts", "Timeouts(total=…)"))
    if max_retries is not None and retry != RetryPolicy():
        raise ConfigurationError(_BOTH.format("max_retries", "retry", "RetryPolicy(max_retries=…)"))
    return timeouts_from(timeouts, timeout), retry_from(retry, max_retries)
