"""Where requests to Azure go: an endpoint as people copied it, understood.

Rules: pure. An address is understood or refused, never half understood, and what it and the settings say must agree; a
deployment travels as one segment of the path, whatever it is called. It refuses OpenAI's own address, and Azure's over
plain http, for a key goes there.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from attrs import field, frozen

from openai_images.errors import ConfigurationError, RequestInvalidError
from openai_images.http.endpoint import ApiKey, TokenProvider, is_azure, is_openai, without_secrets

NO_DEPLOYMENT: Final = (
    "the request was not sent: it names no Azure deployment; pass model=… with the deployment's name, "
    "or deployment=… to ImagesClient.azure()"
)

_LIKE: Final = (
    "it should look like https://NAME.openai.azure.com, https://NAME.openai.azure.com/openai/v1, "
    "or the target URI of an image deployment, and its only query may be api-version"
)

# From left to right: what a front puts before it, Azure's own part (fronts may leave it out), and the kind of address.
_PATH: Final = re.compile(
    r"(?P<prefix>.*?)(?P<openai>/openai)?(?:(?P<v1>/v1)|/deployments/(?P<deployment>[^/]+))?"
)
_OPERATION: Final = re.compile(r"(?:/images/(?:generations|edits))?/*$")
_PROJECT: Final = re.compile(r"/api/projects/[^/]+")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_VERSION: Final = re.compile(rf"(?:{_DATE.pattern}|[A-Za-z])[A-Za-z0-9._-]*")


@frozen
class AzureOptions:
    """What somebody said of an Azure resource; None is for the environment to say."""

    endpoint: str | None = None
    deployment: str | None = None
    api_version: str | None = None
    api_key: ApiKey | None = field(default=None, repr=False)
    token_provider: TokenProvider | None = field(default=None, repr=False)


@frozen
class AzureRoute:
    """Where one resource's requests go: below `root`, by `deployment` if `classic`, else by the body's model."""

    root: str
    classic: bool
    deployment: str | None
    api_version: str | None

    @property
    def base_url(self) -> str:
        """What all its requests have in common."""
        if not self.classic:
            return f"{self.root}/v1"
        return (
            self.root if self.deployment is None else f"{self.root}/deployments/{_segment(self.deployment)}"
        )

    def url(self, path: str, model: str | None) -> str:
        """Where a request for this model goes. Raises `RequestInvalidError`."""
        query = f"?api-version={self.api_version}" if self.api_version else ""
        if not self.classic:
            return f"{self.root}/v1{path}{query}"
        name = self.deployment or model
        if not name:
            raise RequestInvalidError(NO_DEPLOYMENT)
        return f"{self.root}/deployments/{_segment(name)}{path}{query}"


def route_of(endpoint: str, name: str, options: AzureOptions, version: str | None) -> AzureRoute:
    """The route of an endpoint, `name` being its setting's; `version` holds where nobody names one.

    Raises `ConfigurationError`.
    """
    said = _parse(endpoint, name)
    deployment = _agreed("deployment", said.deployment, options.deployment)
    stated = _agreed("api_version", said.api_version, options.api_version)
    if stated is None and version is not None and (said.kind != "v1" or not _DATE.match(version)):
        stated = version
    if stated is not None and not _VERSION.fullmatch(stated):
        msg = "the api-version can only be a date such as 2025-04-01-preview, or preview"
        raise ConfigurationError(msg)
    dated = stated is not None and _DATE.match(stated) is not None
    if said.kind == "deployment" and not dated:
        msg = (
            "an endpoint with /deployments/ needs an api-version that is a date: "
            "pass api_version='2025-04-01-preview' or the like, or set OPENAI_API_VERSION"
        )
        raise ConfigurationError(msg)
    if said.kind == "v1" and dated:
        msg = f"the endpoint's /openai/v1 takes no dated api-version; leave {stated!r} out, or leave /v1 out"
        raise ConfigurationError(msg)
    if deployment is not None:
        _segment(deployment, ConfigurationError)
    return AzureRoute(said.root, dated, deployment, stated)


@frozen
class _Endpoint:
    """What an address says: `kind` is "v1", "deployment", or empty where both are possible."""

    root: str
    kind: str
    deployment: str | None
    api_version: str | None


def _parse(given: str, name: str) -> _Endpoint:
    """What an address says that people copied from wherever. Raises `ConfigurationError`."""
    clean = given.strip()
    parts = _split(clean)
    if parts is None:
        raise _unusable(clean, name, _LIKE)
    if is_openai(clean):
        raise _unusable(clean, name, "it is OpenAI's own address, not Azure's")
    if parts.scheme == "http" and is_azure(clean):
        raise _unusable(clean, name, "it must begin with https, lest the key travels in the clear")
    path = _PATH.fullmatch(_OPERATION.sub("", re.sub("/{2,}", "/", parts.path)))
    if path is None or not _fits(path, own=is_azure(clean)):
        raise _unusable(clean, name, f"its path is not one for images; {_LIKE}")
    query = parse_qsl(parts.query, keep_blank_values=True)
    if any(key != "api-version" for key, _ in query) or len(query) > 1:
        raise _unusable(clean, name, _LIKE)
    explicit = path["v1"] or path["deployment"]
    below = path["openai"] or ("" if explicit else "/openai")
    return _Endpoint(
        f"{parts.scheme}://{parts.netloc}{path['prefix']}{below}",
        "v1" if path["v1"] else "deployment" if path["deployment"] else "",
        unquote(path["deployment"]) if path["deployment"] else None,
        query[0][1] if query else None,
    )


def _split(url: str) -> SplitResult | None:
    """The parts of a URL that requests can be sent to."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable and not any(mark in url for mark in "#@ \r\n\t") else None


def _fits(path: re.Match[str], *, own: bool) -> bool:
    """Whether what stands before Azure's own part can stand there."""
    prefix = path["prefix"]
    if own and not path["openai"]:
        explicit = path["v1"] or path["deployment"]
        return bool(prefix) if explicit else not prefix or _PROJECT.fullmatch(prefix) is not None
    return not {"openai", "deployments"} & set(prefix.split("/"))


def _agreed(name: str, in_endpoint: str | None, given: str | None) -> str | None:
    """What one or both of them say; blank is nothing. Raises `ConfigurationError`."""
    first, second = (in_endpoint or "").strip(), (given or "").strip()
    if first and second and first != second:
        msg = f"the endpoint says {first!r} and {name}= says {second!r}; leave one of them out"
        raise ConfigurationError(msg)
    return first or second or None


def _segment(
    deployment: str, error: type[ConfigurationError | RequestInvalidError] = RequestInvalidError
) -> str:
    """A deployment's name as one segment of a path, from which no dots lead up."""
    try:
        if deployment not in {".", ".."}:
            return quote(deployment, safe="")
    except (TypeError, UnicodeEncodeError):  # no text, or half of a surrogate pair: callers may be untyped
        pass
    msg = "the deployment's name cannot stand in a URL; see model= and deployment="
    raise error(msg)


def _unusable(url: str, name: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"{name} {without_secrets(url)!r} cannot be used: {why}")
