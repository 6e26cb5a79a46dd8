"""The keywords of the client's verbs: those of one call besides the endpoint's, and one line about each keyword.

Invariants: every keyword of a verb, a request or a client has its line here, with units and values; editors, `help()`
and the reference take it from here. `tests/client/test_signatures.py` keeps them in step.
Must not: check values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypedDict

from openai_images.models.options import RetryPolicy, Timeouts
from openai_images.models.requests import EditParams, GenerateParams


class CallOptions(TypedDict, total=False):
    """How one call is sent; None, or leaving one out, means as the client is set up.

    A number as `timeout` is the `total` of the client's `Timeouts` in seconds, and the most that connecting may take;
    `headers` are added to the client's and win over them; `max_retries` is short for that of the `RetryPolicy`.
    """

    timeout: float | Timeouts | None
    headers: Mapping[str, str] | None
    retry: RetryPolicy | None
    max_retries: int | None


class GenerateKeywords(GenerateParams, CallOptions, total=False):
    """The keywords of `generate`, `stream` and `generate_many`: the endpoint's parameters and the call's options."""


class EditKeywords(EditParams, CallOptions, total=False):
    """The keywords of `edit` and `stream_edit`: the endpoint's parameters and the call's options."""


OPTION_NAMES: Final = frozenset({"timeout", "headers", "retry", "max_retries"})
"""The names of `CallOptions`."""

DESCRIPTIONS: Final[Mapping[str, str]] = {
    # the endpoint's parameters
    "prompt": "the description of the image, or a whole request, whose fields the other keywords replace",
    "model": 'the model, such as "gpt-image-2"; that of the client is for calls that name none',
    "n": "how many images, 1 or more; a large n is split into requests of at most 10 (streams: 1)",
    "size": '"auto" or "WIDTHxHEIGHT" in pixels, such as "1024x1024"',
    "quality": '"auto", "low", "medium" or "high"; some models also "xhigh" and "max"',
    "background": '"auto", "opaque" or "transparent" (png and webp only)',
    "output_format": '"png", "jpeg" or "webp"; some models also "gif" and "svg"',
    "output_compression": "0 to 100 (100 if not set), for jpeg and webp only",
    "moderation": '"auto" or "low" (less strict)',
    "partial_images": "0 to 3 partial images before the complete one, in streams only",
    "complexity": '"low", "medium" or "high", apart from quality; gpt-image-2.6 only',
    "frame_count": "2 to 16 frames (9 if not set), for gif only",
    "frame_duration_ms": "milliseconds for which each frame is shown, in tens (200 if not set), for gif only",
    "svg": 'for svg only: {"model": …, "reasoning": {…}}',
    "safety_identifier": "a stable id of your end user, such as a hash, of at most 128 characters",
    "user": "an id of your end user, for older models and compatible servers",
    "response_format": '"url" or "b64_json", for older models and compatible servers',
    "style": '"vivid" or "natural", for older models and compatible servers',
    "extra_body": "more parameters, merged into the request's body unchanged and over the others; any JSON",
    "image": (
        "one image to edit, or a list of up to 16: paths, URLs, bytes, binary files, objects with an async read, "
        "Pillow images, Image or ImageReference; required unless the prompt is an EditRequest"
    ),
    "mask": "a PNG of the first image's size; its transparent parts are edited",
    "markup": "a PNG drawn over the first image, not together with a mask",
    "input_fidelity": '"high" or "low", for older models only',
    "as_json": "send JSON with data: URLs instead of a form, for servers that need it",
    # where images go
    "into": "the file to write, as a path without its suffix; for many requests, the folder to write to",
    "overwrite": "replace files that exist; otherwise a name that exists gets -2, -3, …",
    "keep_partials": "with into: write partial images to files too",
    "what": "an ImageResult or an Image, such as error.response",
    # many requests
    "requests": (
        "prompts, GenerateRequests, EditRequests, or mappings of parameters with prompt and an optional key; "
        "any iterable or async iterable"
    ),
    "concurrency": "how many requests and unread outcomes are held at once; default: that of the client's limits",
    "ordered": "yield outcomes in the order of the requests, not as they finish",
    "progress": "a function called with a Progress after each change",
    "prices": "for the costs of the progress; default: PUBLISHED_PRICES",
    "max_identical_failures": "stop after so many identical failures without a success between them; None: never",
    # how it is sent
    "timeout": "seconds for each attempt, from when its request is sent (math.inf: no limit), or Timeouts",
    "headers": "HTTP headers to send with each request; those of a call win over the client's",
    "retry": "a RetryPolicy: how often and how long to retry",
    "max_retries": "how many more attempts if the request was certainly not executed; short for that of retry",
    # the client
    "api_key": "the key, or an async function called before each attempt; default: OPENAI_API_KEY",
    "base_url": "the URL before /images/…, such as https://host/v1; default: OPENAI_BASE_URL, then OpenAI's",
    "organization": "sent as OpenAI-Organization; default: OPENAI_ORG_ID",
    "project": "sent as OpenAI-Project; default: OPENAI_PROJECT_ID",
    "timeouts": "the timers of each attempt, in seconds",
    "limits": "requests in flight at once, and the account's limits per minute",
    "session": "your own aiohttp.ClientSession, which is used and never closed",
    "ssl": "an ssl.SSLContext, or False to skip verification, as in aiohttp",
    "proxy": "an HTTP proxy, such as http://user:password@host:port",
    "trust_env": "use the proxies of the environment (HTTPS_PROXY, NO_PROXY, …)",
    "validate": (
        'check requests before they are sent: "warn" raises for what the API certainly rejects and logs doubtful '
        'values, "strict" raises for both, "off" for neither'
    ),
    "show_prompts": "show the beginning of a prompt in outcomes, and in what a command or a log says of them",
    "telemetry": "a Telemetry: report calls to OpenTelemetry, as spans and metrics; default: none",
    "split": "send a large n as several concurrent requests; False sends it unchanged",
    "timing": "clock, sleep and random numbers, which tests replace",
    # Azure
    "endpoint": "the resource's URL, or another that Azure shows for it; default: AZURE_OPENAI_ENDPOINT",
    "deployment": "the deployment of all requests; default: each request's model names it",
    "api_version": "a date, such as 2025-04-01-preview, for the classic paths; default: OPENAI_API_VERSION",
    "token_provider": "a function or async function called before each attempt that returns an Entra ID token",
}
