"""Where a client sends to, and with what right: the base URL and the key, checked.

Rules: pure; what cannot be used is refused when the client is built, and no text of a refusal holds a key or a
password.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from openai_images.errors import ConfigurationError

__all__ = [
    "DEFAULT_BASE_URL",
    "ApiKey",
    "checked_base_url",
    "checked_key",
    "clean_key",
    "credentials",
    "is_openai",
]

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"

ApiKey: TypeAlias = str | Callable[[], Awaitable[str]]


def checked_base_url(url: str) -> str:
    """The URL without its last slash, if requests can be sent there. Raises `ConfigurationError`."""
    clean = url.strip().rstrip("/")
    try:
        parts = urlsplit(clean)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(mark in clean for mark in "?#@ \r\n\t"):
        shown = clean.partition("?")[0].rpartition("@")[2]
        msg = (
            f"base_url {shown!r} cannot be used: it should look like {DEFAULT_BASE_URL}, without query, fragment or "
            "credentials (headers= takes those)"
        )
        raise ConfigurationError(msg)
    return clean


def is_openai(base_url: str) -> bool:
    """Whether this is OpenAI's own service, in whatever region; what others accept is their own affair."""
    host = urlsplit(base_url).hostname or ""
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def checked_key(given: ApiKey | None, from_env: str | None, headers: Mapping[str, str]) -> ApiKey | None:
    """The key; None only where the user's headers authorize by themselves, and no key was given.

    Raises `ConfigurationError`.
    """
    if credentials(headers) and (given is None or (isinstance(given, str) and not given.strip())):
        return None  # the environment's key may be for another server
    key = from_env if given is None else given
    if isinstance(key, str):
        if key.strip():
            return clean_key(key)
    elif callable(key):
        return key
    elif key is not None:
        msg = f"api_key must be text or an async function that returns it, not {type(key).__name__}"
        raise ConfigurationError(msg)
    msg = (
        "no API key: pass api_key=… or set OPENAI_API_KEY (for a server that needs none, any text will do, "
        "such as api_key='none')"
    )
    raise ConfigurationError(msg)


def clean_key(key: str) -> str:
    """The key without the white space that files and environments add. Raises `ConfigurationError`."""
    clean = key.strip()
    if not clean or not clean.isascii() or not clean.isprintable() or " " in clean:
        msg = "the API key holds characters no key has (spaces, line breaks, beyond ASCII); see where it comes from"
        raise ConfigurationError(msg)
    return clean


def credentials(headers: Mapping[str, str]) -> list[str]:
    """What in these headers authorizes, without the name of its scheme."""
    return [
        value.strip().rpartition(" ")[2]
        for name, value in headers.items()
        if name.lower() in ("authorization", "api-key") and value.strip()
    ]
