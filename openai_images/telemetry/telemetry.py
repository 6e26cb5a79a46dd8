"""`Telemetry`: the OpenTelemetry providers to which a client reports, the instruments, and the attributes.

Names, units and bucket boundaries are those of the GenAI semantic conventions v0.1.0 (`client-inference.md` in
github.com/open-telemetry/semantic-conventions-genai); names that they do not define begin with `openai_images.`.

Invariants: OpenTelemetry is imported only when a client with a `Telemetry` is built; an exception of a span processor
or an exporter never ends a call. No text of a server, except a redacted request id and known names; no prompt unless
captured; never an image. Numbers fit in 64 bits and texts have a maximum length: both may come from a server.
Must not: change the global providers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeGuard
from urllib.parse import urlsplit

from attrs import field, frozen

from openai_images._util.attrs import must_be, short_repr
from openai_images._version import __version__
from openai_images.catalog.models import find_model
from openai_images.errors import APIStatusError, ConfigurationError, ModerationBlockedError
from openai_images.models.requests import EditRequest, GenerateRequest
from openai_images.models.results import ImageResult, PartialImage
from openai_images.models.usage import TokenDetails, Usage

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import TracerProvider

    from openai_images.catalog.prices import Prices

_log = logging.getLogger("openai_images")

_NAME: Final = "openai_images"
_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
"""Bucket boundaries of times: 10 ms to 82 s."""
_TOKENS: Final = tuple(4**power for power in range(14))
"""Bucket boundaries of token counts: 1 to 67 million."""


_COUNTERS: Final = (
    ("images", "{image}", "Number of complete images received."),
    ("cost", "{USD}", "Cost in US dollars, as far as token counts and prices are known."),
    ("refusals", "{request}", "Number of requests blocked by the safety system."),
    ("unknown_outcomes", "{call}", "Number of calls without a result that may have been billed."),
)


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


class Instruments:
    """The tracer and the instruments that record the calls of a client."""

    def __init__(self, telemetry: Telemetry) -> None:
        """Raises `ConfigurationError` if OpenTelemetry is not installed."""
        try:
            # Imported here: OpenTelemetry is optional.
            from opentelemetry import metrics, trace  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                "telemetry= needs opentelemetry-api, which is not installed: pip install 'openai-images[otel]'"
            ) from error
        self.capture_prompts, self.prices = telemetry.capture_prompts, telemetry.prices
        self.tracer = trace.get_tracer(_NAME, __version__, telemetry.tracer_provider)
        meter = metrics.get_meter(_NAME, __version__, telemetry.meter_provider)
        self._has_failed = False

        def histogram(name: str, unit: str, text: str, bounds: tuple[float, ...]) -> Histogram:
            name = f"gen_ai.client.inference.{name}"
            return meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=bounds)

        self.duration = histogram(
            "duration", "s", "Duration of a call, with all its attempts and waits.", _SECONDS
        )
        self.time_to_first_chunk = histogram(
            "time_to_first_chunk",
            "s",
            "Time from sending the request of a stream to its first image, partial or complete.",
            _SECONDS,
        )
        self.tokens_of_call = {
            kind: histogram(
                f"operation.{kind}_tokens", "{token}", f"Number of {kind} tokens of a call.", _TOKENS
            )
            for kind in ("input", "output")
        }
        self.tokens = {
            kind: meter.create_counter(
                f"gen_ai.client.inference.usage.{kind}_tokens", "{token}", f"Number of {kind} tokens used."
            )
            for kind in ("input", "output")
        }
        self.images, self.cost, self.refusals, self.unknown_outcomes = (
            meter.create_counter(f"openai_images.client.{name}", unit, text) for name, unit, text in _COUNTERS
        )

    @contextmanager
    def guard(self) -> Generator[None]:
        """Log an exception of OpenTelemetry (the first one as a warning) instead of raising it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  a processor or an exporter may raise anything
            level = logging.DEBUG if self._has_failed else logging.WARNING
            self._has_failed = True
            _log.log(level, "telemetry failed with %s; calls continue without it", type(error).__name__)


Attributes: TypeAlias = dict[str, str | bool | int | float]

CLOSED_EARLY: Final = "closed_early"
"""The `error.type` of a stream that its caller closed before it had its images."""

_MAX_TEXT: Final = 200
"""Characters of a text that a caller or a server chooses."""
_STAGES: Final = ("input", "output")
_SHOWN: Final = ("size", "quality", "output_format", "background")
"""The parameters in a span in addition to those that the conventions name."""


class CallFacts(NamedTuple):
    """The facts of a call that are known before it is sent."""

    request: GenerateRequest
    image_count: int
    stream: bool
    base_url: str
    is_azure: bool

    def parameter(self, name: str) -> str | None:
        """Return a text parameter as it is sent; None if it is not sent."""
        value: Any = (self.request.extra_body or {}).get(name, getattr(self.request, name))
        return value if isinstance(value, str) else None


def metric_attributes(facts: CallFacts) -> Attributes:
    """Return the attributes that spans and metrics share; each has few different values."""
    url = urlsplit(facts.base_url)
    attributes: Attributes = {
        "gen_ai.operation.name": "generate_content",
        # The protocol is OpenAI's on every server; the conventions have another value only for Azure.
        "gen_ai.provider.name": "azure.ai.openai" if facts.is_azure else "openai",
        "server.address": url.hostname or "",
        "server.port": url.port or (80 if url.scheme == "http" else 443),
    }
    model = facts.parameter("model")
    if model is not None:
        attributes["gen_ai.request.model"] = model[:_MAX_TEXT]
    return attributes


def request_attributes(facts: CallFacts, *, capture_prompts: bool) -> Attributes:
    """Return the other attributes of a new span."""
    attributes: Attributes = {
        "gen_ai.output.type": "image",
        "openai_images.edited": isinstance(facts.request, EditRequest),
    }
    if facts.stream:
        attributes["gen_ai.request.stream"] = True
    if facts.image_count != 1:
        attributes["gen_ai.request.choice.count"] = facts.image_count
    for name in _SHOWN:
        value = facts.parameter(name)
        if value is not None:
            attributes[f"openai_images.request.{name}"] = value[:_MAX_TEXT]
    if capture_prompts:
        part = {"type": "text", "content": facts.parameter("prompt") or ""}
        attributes["gen_ai.input.messages"] = json.dumps([{"role": "user", "parts": [part]}])
    return attributes


def response_model(result: ImageResult | None) -> Attributes:
    """Return the model that the response names, if it is in the catalog: a server may write anything."""
    model = None if result is None else result.extra.get("model")
    if not isinstance(model, str) or find_model(model)[0] is None:
        return {}
    return {"gen_ai.response.model": model[:_MAX_TEXT]}


def usage_attributes(usage: Usage | None) -> Attributes:
    """Return the token counts that the server reported."""
    if usage is None:
        return {}
    details, outputs = usage.input_tokens_details, usage.output_tokens_details
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "text.input_tokens": details and details.text_tokens,
        "image.input_tokens": details and details.image_tokens,
        "cache_read.input_tokens": (details and details.extra.get("cached_tokens"))
        or usage.extra.get("cached_tokens"),
        "text.output_tokens": outputs and outputs.text_tokens,
        "image.output_tokens": outputs and outputs.image_tokens,
    }
    return {f"gen_ai.usage.{name}": value for name, value in counts.items() if is_count(value)}


def error_attributes(error: BaseException | None) -> Attributes:
    """Return the type and the status of an error (None: a stream that was closed early), but not its message."""
    attributes: Attributes = {"error.type": CLOSED_EARLY if error is None else error_type(error)}
    if isinstance(error, APIStatusError) and error.status_code:
        attributes["http.response.status_code"] = error.status_code
    if isinstance(error, ModerationBlockedError):
        attributes.update(moderation_stage(error))
    return attributes


def moderation_stage(error: ModerationBlockedError) -> Attributes:
    """Return the stage that blocked: the prompt ("input") or the image ("output")."""
    return {"openai_images.moderation.stage": error.stage if error.stage in _STAGES else "unknown"}


def error_type(error: BaseException) -> str:
    """Return the name of the exception's class; for a private class the conventions' fallback."""
    name = type(error).__name__
    return "_OTHER" if name.startswith("_") else name


def partial_attributes(event: PartialImage) -> Attributes:
    """Return the attributes of the event of a partial image."""
    values = {
        "image_index": event.image_index,
        "partial_image_index": event.partial_image_index,
        "bytes": event.image.nbytes,
    }
    return {f"openai_images.{name}": value for name, value in values.items() if is_count(value)}


def by_modality(total: object, details: TokenDetails | None) -> Iterator[tuple[str, int]]:
    """Yield the number of tokens of each modality; all are of an unknown one if the server sends no details."""
    count = total if is_count(total) else 0
    text, image = (None, None) if details is None else (details.text_tokens, details.image_tokens)
    if is_count(text) and is_count(image) and text + image == count:
        yield from ((name, tokens) for name, tokens in (("text", text), ("image", image)) if tokens)
    else:
        yield "unknown", count


def is_count(value: object) -> TypeGuard[int]:
    """Whether this is a count that can be exported."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
