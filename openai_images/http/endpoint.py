"""`Endpoint`: the base URL and the key of a client's requests, validated.

Invariants: an unusable URL or key is rejected when the endpoint is made.
Must not: show a key or a password in an error.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, Self, TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit

from attrs import evolve, field, frozen

from openai_images.errors import APITimeoutError, ConfigurationError, annotate
from openai_images.models.requests import EditRequest, GenerateRequest
from openai_images.wire.requests import merge_headers

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"

ApiKey: TypeAlias = str | Callable[[], Awaitable[str]]
"""An API key, or an async function without parameters that returns one and is called before each attempt."""
TokenProvider: TypeAlias = Callable[[], str | Awaitable[str]]
"""A function or async function without parameters that returns a Microsoft Entra ID token before each attempt."""

_Request = TypeVar("_Request", bound=GenerateRequest)

_NO_KEY: Final = (
    "no API key: pass api_key=… or set OPENAI_API_KEY (for a server that needs none, any text will do, "
    "such as api_key='none')"
)
_QUOTED: Final = (
    "the API key (or token) is in quotation marks, which would be sent as part of it; remove them in its source "
    "(Docker's env files and %set_env in notebooks keep them)"
)
_QUOTATION_MARKS: Final = (
    "\"'`\u00b4\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e\u2039\u203a\u300c\u300d\uff02\uff07"
)
_LONGEST_KEY: Final = 600.0  # seconds, without a limit for the function that returns it
_AUTHORIZING: Final = ("authorization", "api-key", "ocp-apim-subscription-key")
_AZURE: Final = (
    *(f".openai.azure.{cloud}" for cloud in ("com", "us", "cn")),
    *(f".cognitiveservices.azure.{cloud}" for cloud in ("com", "us", "cn")),
    *(f".services.ai.azure.{cloud}" for cloud in ("com", "us", "cn")),
    *(".api.cognitive.microsoft.com", ".api.cognitive.microsoft.us", ".api.cognitive.azure.cn"),
)


@frozen(repr=False)
class Endpoint:
    """The URLs and credentials of a client's requests; `headers` is called for each attempt."""

    base_url: str
    _headers: Mapping[str, str]
    _api_key: ApiKey | TokenProvider | None
    default_model: str | None = field(default=None, kw_only=True)
    """The model of requests for which neither the request nor the client names one."""

    is_azure: ClassVar[bool] = False
    """Whether this is Azure's service, which retires models on its own dates."""

    @property
    def is_openai(self) -> bool:
        """Whether this is OpenAI's own service, in any region; other servers may accept other values."""
        return is_openai(self.base_url)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no error may contain, even if a server echoes them: a key, and the values of the caller's headers.

        A key from a function is not included.
        """
        key = (self._api_key,) if isinstance(self._api_key, str) else ()
        return (*key, *self._headers.values(), *credentials(self._headers))

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """Return the same endpoint with these headers added, which win over its own."""
        return evolve(self, headers=merge_headers(self._headers, headers))

    def url(self, path: str, model: str | None) -> str:  # noqa: ARG002  Azure's URL names it
        """Return the URL of a request for this model; `path` is such as `/images/generations`."""
        return f"{self.base_url}{path}"

    def adapt(self, request: _Request) -> _Request:
        """Change the request as this server needs it. Raises `RequestInvalidError`."""
        return request

    async def headers(self, longest: float | None) -> tuple[dict[str, str], str | None]:
        """Return the headers, authorization included, and the secret in it.

        `longest` limits the seconds of a function that returns the key. Raises `ConfigurationError` and
        `APITimeoutError`.
        """
        key = self._api_key
        if callable(key):
            key = await _key_from(key, longest or _LONGEST_KEY)
        return merge_headers(self._authorization(key) if key else {}, self._headers), key

    def _authorization(self, key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}


async def _key_from(function: Callable[[], Any], longest: float) -> str:
    deadline = asyncio.timeout(longest)
    try:
        async with deadline:
            key = function()
            if inspect.isawaitable(key):
                key = await key
    except ConfigurationError:
        raise
    except Exception as error:
        if deadline.expired():
            text = f"the function for the key or token did not return within {longest:g} s; nothing was sent"
            timed_out = APITimeoutError(text, timer="total", seconds=longest)
            raise annotate(timed_out, {"safe_to_resend": True}) from None
        name = type(error).__name__
        raise ConfigurationError(
            f"the function for the key or token raised {name}; nothing was sent"
        ) from error
    if not isinstance(key, str):
        raise ConfigurationError(
            f"the function for the key or token returned {type(key).__name__}; it should return text"
        )
    return strip_api_key(key)


def is_openai(url: str) -> bool:
    """Whether this is OpenAI's own service, in any region."""
    return f".{_host(url)}".endswith(".api.openai.com")


def is_azure(url: str) -> bool:
    """Whether this is one of Azure's own hosts, in any of its clouds; a gateway to Azure is not recognized."""
    return _host(url).endswith(_AZURE)


def _host(url: str) -> str:
    try:
        return (urlsplit(url.strip()).hostname or "").rstrip(".")
    except ValueError:
        return ""


def split_url(url: str) -> SplitResult | None:
    """Split a URL; None if requests cannot be sent to it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable and not any(mark in url for mark in "#@ \r\n\t") else None


def redact_url(url: str) -> str:
    """Return a URL for a message: without query and password."""
    return url.partition("?")[0].rpartition("@")[2]


def parse_base_url(url: str) -> str:
    """Validate a base URL and remove its trailing slash. Raises `ConfigurationError`."""
    clean = url.strip().rstrip("/")
    if split_url(clean) is None or "?" in clean:
        raise ConfigurationError(
            f"base_url {redact_url(clean)!r} cannot be used: it should look like {DEFAULT_BASE_URL}, "
            f"without query, fragment or credentials (headers= takes those){_suggestion(clean)}"
        )
    base = clean.removesuffix(GenerateRequest.path).removesuffix(EditRequest.path)
    if base != clean:
        raise ConfigurationError(
            f"base_url {clean!r} is the address of an endpoint, whose path is added to it; did you mean {base}?"
        )
    return clean


def _suggestion(url: str) -> str:
    """Return the advice for an address without a scheme: the complete address that was probably meant."""
    if "://" in url or url in ("http:", "https:") or any(mark in url for mark in "?#@"):
        return ""
    host = url.lstrip("/").partition("/")[0]
    is_own = ":" in host or "." not in host or host.replace(".", "").isdigit()
    complete = f"{'http' if is_own else 'https'}://{url.lstrip('/')}"
    parts = split_url(complete)
    return "" if parts is None else f"; did you mean {complete}{'' if parts.path else '/v1'}?"


def resolve_api_key(
    argument: ApiKey | None, from_env: str | None, headers: Mapping[str, str], missing: str = _NO_KEY
) -> ApiKey | None:
    """Return the key; None only if the caller's headers contain credentials and no key was passed.

    Raises `ConfigurationError`, with the text `missing` if there is no key.
    """
    if credentials(headers) and (argument is None or (isinstance(argument, str) and not argument.strip())):
        return None  # the environment's key may be for another server
    key = from_env if argument is None else argument
    if isinstance(key, str):
        if key.strip():
            return strip_api_key(key)
    elif callable(key):
        return key
    elif key is not None:
        raise ConfigurationError(
            f"api_key must be text or an async function that returns it, not {type(key).__name__}"
        )
    raise ConfigurationError(missing)


def strip_api_key(key: str) -> str:
    """Remove the white space that files and environments add around a key. Raises `ConfigurationError`."""
    clean = key.strip()
    if clean and (clean[0] in _QUOTATION_MARKS or clean[-1] in _QUOTATION_MARKS):
        raise ConfigurationError(_QUOTED)
    if not clean or not clean.isascii() or not clean.isprintable() or " " in clean:
        raise ConfigurationError(
            "the API key (or token) has characters that no key has (spaces, line breaks, non-ASCII); "
            "check its source"
        )
    return clean


def credentials(headers: Mapping[str, str]) -> list[str]:
    """Return the credentials in these headers, without the scheme's name."""
    return [
        value.strip().rpartition(" ")[2]
        for name, value in headers.items()
        if name.lower() in _AUTHORIZING and value.strip()
    ]
