"""The keywords of the client's methods: the options of one call, and a one-line description of every keyword.

Invariants: every keyword of a method, a request or a client is described here, with units and values, for editors,
`help()` and the reference (`tests/client/test_signatures.py` checks that). A function that `shows` keywords is read by
type checkers as written, and calling it costs nothing more; this runs at import, in less than a millisecond.
Must not: check values, or evaluate annotations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from inspect import Parameter, Signature
from typing import Any, Final, TypedDict, TypeVar

from openai_images.models.options import RetryPolicy, Timeouts
from openai_images.models.requests import EditParams, GenerateParams

_Function = TypeVar("_Function", bound=Callable[..., Any])

_DEFAULTS: Mapping[str, object] = {"as_json": False}
"""Defaults other than None of keywords in a `TypedDict`."""


class CallOptions(TypedDict, total=False):
    """The options of one call; one that is missing or None is taken from the client.

    A number as `timeout` replaces `total` of the client's `Timeouts`, in seconds, and limits `connect`; `headers` are
    added to the client's and replace those of the same name; `max_retries` replaces that of the `RetryPolicy`.
    """

    timeout: float | Timeouts | None
    headers: Mapping[str, str] | None
    retry: RetryPolicy | None
    max_retries: int | None


class GenerateKeywords(GenerateParams, CallOptions, total=False):
    """The keywords of `generate`, `stream` and `generate_many`: the endpoint's parameters and the call's options."""


class EditKeywords(EditParams, CallOptions, total=False):
    """The keywords of `edit` and `stream_edit`: the endpoint's parameters and the call's options."""


OPTION_NAMES: Final = frozenset(CallOptions.__annotations__)
"""The names of `CallOptions`."""

DESCRIPTIONS: Final[Mapping[str, str]] = {
    # the endpoint's parameters
    "prompt": "the description of the image, or a request object, whose fields the other keywords replace",
    "model": 'the model, such as "gpt-image-2"; by default the model of the client',
    "n": "the number of images, 1 or more; a large n is split into requests of at most 10 (streams: 1)",
    "size": '"auto" or "WIDTHxHEIGHT" in pixels, such as "1024x1024"',
    "quality": '"auto", "low", "medium" or "high"; some models also "xhigh" and "max"',
    "background": '"auto", "opaque" or "transparent" (png and webp only)',
    "output_format": '"png", "jpeg" or "webp"; some models also "gif" and "svg"',
    "output_compression": "0 to 100 (100 if not set), for jpeg and webp only",
    "moderation": '"auto" or "low" (less strict)',
    "partial_images": "0 to 3 partial images before the complete one, in streams only",
    "complexity": '"low", "medium" or "high", independent of quality; gpt-image-2.6 only',
    "frame_count": "2 to 16 frames (9 if not set), for gif only",
    "frame_duration_ms": "milliseconds for which each frame is shown, in tens (200 if not set), for gif only",
    "svg": 'for svg only: {"model": …, "reasoning": {…}}',
    "safety_identifier": "a stable id of your end user, such as a hash, of at most 128 characters",
    "user": "an id of your end user, for older models and compatible servers",
    "response_format": '"url" or "b64_json", for older models and compatible servers',
    "style": '"vivid" or "natural", for older models and compatible servers',
    "extra_body": "more parameters of any JSON, merged unchanged into the request's body, over the others",
    "image": (
        "one image to edit, or a list of up to 16: paths, URLs, bytes, binary files, objects with an async read, "
        "Pillow images, Image or ImageReference; required unless the prompt is an EditRequest"
    ),
    "mask": "a PNG of the first image's size; its transparent parts are edited",
    "markup": "a PNG that is drawn over the first image; not together with a mask",
    "input_fidelity": '"high" or "low", for older models only',
    "as_json": "send JSON with data: URLs instead of a form, for servers that need it",
    # where images go
    "into": "the file to write, as a path without its suffix; for many requests, the folder to write to",
    "overwrite": "replace existing files; otherwise a new file gets -2, -3, … after its name",
    "keep_partials": "with into: write partial images to files, too",
    "what": "an ImageResult or an Image, such as error.response",
    # many requests
    "requests": (
        "prompts, GenerateRequests, EditRequests, or mappings of parameters with prompt and an optional key; "
        "any iterable or async iterable"
    ),
    "concurrency": "the most requests in flight, unread outcomes included; default: that of the client's limits",
    "ordered": "yield outcomes in the order of the requests; otherwise in the order in which they finish",
    "progress": "a function called with a Progress after each change",
    "prices": "prices for `Progress.spent`; default: PUBLISHED_PRICES",
    "max_identical_failures": "stop after this many identical failures without a success between them; None: never",
    # how it is sent
    "timeout": "seconds for each attempt from the start of its request (math.inf: no limit), or Timeouts",
    "headers": "HTTP headers to send with each request; those of a call replace the client's of the same name",
    "retry": "a RetryPolicy: how often and how long to retry",
    "max_retries": "the most further attempts for a request that was certainly not executed; replaces that of retry",
    # the client
    "api_key": "the key, or an async function called before each attempt; default: OPENAI_API_KEY",
    "base_url": "the URL before /images/…, such as https://host/v1; default: OPENAI_BASE_URL, then OpenAI's",
    "organization": "sent as OpenAI-Organization; default: OPENAI_ORG_ID",
    "project": "sent as OpenAI-Project; default: OPENAI_PROJECT_ID",
    "timeouts": "the timers of each attempt, in seconds",
    "limits": "concurrent requests, and the account's limits per minute",
    "session": "your own aiohttp.ClientSession; the client never closes it",
    "ssl": "an ssl.SSLContext, or False to skip verification, as in aiohttp",
    "proxy": "an HTTP proxy, such as http://user:password@host:port",
    "trust_env": "use the proxies of the environment (HTTPS_PROXY, NO_PROXY, …)",
    "validate": (
        'check requests before they are sent: "warn" raises for what the API rejects with certainty and logs doubtful '
        'values, "strict" raises for both, "off" for neither'
    ),
    "show_prompts": "show the beginning of prompts in outcomes, in the output of commands, and in logs",
    "telemetry": "a Telemetry, which reports calls to OpenTelemetry as spans and metrics; default: none",
    "split": "send a large n as several concurrent requests; False sends it unchanged",
    "timing": "clock, sleep and random numbers, for tests",
    # Azure
    "endpoint": "the resource's URL, or another URL that Azure shows for it; default: AZURE_OPENAI_ENDPOINT",
    "deployment": "the deployment of all requests; default: the model of each request",
    "api_version": "a date, such as 2025-04-01-preview, for the classic paths; default: OPENAI_API_VERSION",
    "token_provider": "a function or async function that returns an Entra ID token; called before each attempt",
}


def shows(
    keywords: Any = None, defaults: Mapping[str, object] | None = None
) -> Callable[[_Function], _Function]:
    """Return a decorator that shows and documents these `keywords` in place of the function's `**` parameter.

    Without `keywords`, the `**` parameter, which only serves hints for unknown names, is left out. The default of a
    keyword that is not in `defaults` is None (not set).
    """

    def decorate(function: _Function) -> _Function:
        written = inspect.signature(function)
        named = [each for each in written.parameters.values() if _is_public(each)]
        own = {each.name for each in named}
        hints: Mapping[str, Any] = {} if keywords is None else keywords.__annotations__
        more = [
            _keyword(name, getattr(hint, "__forward_arg__", hint), (defaults or _DEFAULTS).get(name))
            for name, hint in hints.items()
            if name not in own
        ]
        parameters = [*named, *more]
        described: Any = function
        described.__signature__ = Signature(parameters, return_annotation=written.return_annotation)
        if function.__doc__ is not None:  # it is None under -OO
            lines = [line for each in parameters for line in _described(each)]
            function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__), "", "Parameters:", *lines])
        return function

    return decorate


def _is_public(parameter: Parameter) -> bool:
    return parameter.kind is not Parameter.VAR_KEYWORD and not parameter.name.startswith("_")


@cache  # most keywords belong to several functions
def _keyword(name: str, annotation: str, default: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _described(parameter: Parameter) -> Iterator[str]:
    text = DESCRIPTIONS.get(parameter.name)
    if text is not None:
        yield f"    {parameter.name} ({parameter.annotation}): {text}"
