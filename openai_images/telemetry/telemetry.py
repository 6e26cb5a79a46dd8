"""`Telemetry`: the OpenTelemetry providers to which a client reports, and the options.

Invariants: a value without state; OpenTelemetry is imported only when a client with a `Telemetry` is built.
Must not: change the global providers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from openai_images._util.attrs import must_be, short_repr

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from openai_images.catalog.prices import Prices


def _has(method: str) -> Any:
    """Make a validator that recognizes a provider by its method: OpenTelemetry may not be installed."""
    kind = "a TracerProvider" if method == "get_tracer" else "a MeterProvider"
    return must_be(
        f"{kind} of OpenTelemetry, or None for the global one",
        lambda value: value is None or callable(getattr(value, method, None)),
    )


@short_repr
@frozen(kw_only=True, repr=False)
class Telemetry:
    """Reports a client's calls to OpenTelemetry: `ImagesClient(telemetry=Telemetry())`.

    `tracer_provider` and `meter_provider` default to the global ones. With `capture_prompts`, spans have the prompts;
    images are never captured. `prices` are used for the costs, and default to `PUBLISHED_PRICES`. Needs the extra
    `otel`. A client with providers of its own cannot be pickled. Raises `ConfigurationError` for an invalid value.
    """

    tracer_provider: TracerProvider | None = field(default=None, validator=_has("get_tracer"))
    meter_provider: MeterProvider | None = field(default=None, validator=_has("get_meter"))
    capture_prompts: bool = field(
        default=False, validator=must_be("True or False", lambda value: isinstance(value, bool))
    )
    prices: Prices | None = None
