"""Options of all commands that send requests: what to generate, which server to ask, `-` for stdin.

Invariants: an option that was not typed is not sent; without a key nothing is sent; with `--local` no key leaves the
environment and no proxy is used; OPENAI_* and AZURE_OPENAI_* never mix. A stdin that is absent or unreadable is a usage
error before anything is sent; its text is UTF-8, UTF-16 with its mark, or the locale's.
Must not: fall back to placeholder images.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import click
from attrs import evolve, field, frozen

from openai_images import ConfigurationError, ImagesClient, Limits, Timeouts
from openai_images.cli.console import DEFAULT_MODEL, Console, Streams
from openai_images.cli.output import output_format
from openai_images.cli.parameters import parse_parameters

_NO_KEY = (
    "no API key: set OPENAI_API_KEY (any text will do for a server that needs none), or AZURE_OPENAI_ENDPOINT and "
    "AZURE_OPENAI_API_KEY, or add --local to have a stand-in painted on this machine"
)
_NO_ENDPOINT = "no address for Azure: set AZURE_OPENAI_ENDPOINT, or add --base-url"
_NO_AZURE_KEY = (
    "no key for Azure: set AZURE_OPENAI_API_KEY (or AZURE_OPENAI_AD_TOKEN), or OPENAI_API_KEY to send to OpenAI, "
    "or add --local to have a stand-in painted on this machine"
)
_BOTH_SET = (
    "OPENAI_API_KEY is set, so this goes to OpenAI; --azure sends to AZURE_OPENAI_ENDPOINT, "
    "--no-azure leaves this note out"
)
_STAND_IN = "local stand-in: painted by a program on this machine, not by a model"
_PACE = 0.3
_LOOPBACK = "http://127.0.0.1/v1"


@frozen(kw_only=True)
class CallOptions:
    """Options of `generate`, `edit` and `batch`."""

    n: int | None = None
    size: str | None = None
    quality: str | None = None
    model: str | None = None
    output_format: str | None = None
    background: str | None = None
    compression: int | None = None
    moderation: str | None = None
    frames: int | None = None
    svg_model: str | None = None
    param: tuple[str, ...] = field(default=(), repr=False)
    local: bool = False
    azure: bool | None = None
    base_url: str | None = None
    timeout: float | None = None
    shared_limit: str | None = field(default=None, repr=False)
    limit_name: str | None = None
    as_json: bool = False
    verbose: bool = False
    quiet: bool = False

    @property
    def is_azure(self) -> bool:
        """Whether to send to Azure: as `--azure` says, or if only AZURE_OPENAI_ENDPOINT is set."""
        if self.local or self.azure is not None:
            return bool(self.azure) and not self.local
        named = self.base_url or _env("OPENAI_BASE_URL") or _env("OPENAI_API_KEY")
        return not named and bool(_env("AZURE_OPENAI_ENDPOINT"))

    def check(self) -> None:
        """Raise click.UsageError where two servers are named."""
        for option, value in (
            ("--base-url", self.base_url),
            ("--azure", self.azure),
            ("--shared-limit", self.shared_limit),
        ):
            if self.local and value:
                raise click.UsageError(f"--local starts a server of its own; leave {option} out.")
        if self.limit_name is not None and self.shared_url is None:
            raise click.UsageError("--limit-name needs --shared-limit URL, or OPENAI_IMAGES_SHARED_LIMIT.")

    @property
    def shared_url(self) -> str | None:
        """The Redis server with the shared limits; None for limits of this process, as of the local server."""
        return None if self.local else self.shared_limit or _env("OPENAI_IMAGES_SHARED_LIMIT") or None

    def share(self, limits: Limits) -> Limits:
        """Return the limits, shared if these options say so. Raises `ConfigurationError`."""
        return evolve(limits, shared=self.shared_url, name=self.limit_name or limits.name)

    def check_format(self, wanted: str | None, advice: str) -> None:
        """Raise click.UsageError where an option is for another format; `advice` has its name as {0}."""
        for option, value, name in (("--frames", self.frames, "gif"), ("--svg-model", self.svg_model, "svg")):
            if value is not None and wanted != name:
                raise click.UsageError(f"{option} is for {name}: {advice.format(name)}.")

    def make_console(self, streams: Streams) -> Console:
        """Make the console that these options ask for."""
        return Console(streams.out, streams.err, quiet=self.quiet, verbose=self.verbose, as_json=self.as_json)

    def request_params(self, output: str | None = None) -> dict[str, Any]:
        """Collect the parameters of a request; `output` is `-o`. Raises click.UsageError."""
        deployment = _env("AZURE_OPENAI_DEPLOYMENT") or _env("AZURE_OPENAI_DEPLOYMENT_NAME")
        default = deployment if self.is_azure and deployment else DEFAULT_MODEL
        params = {
            "model": default if self.model is None else self.model,
            "n": self.n,
            "size": self.size,
            "quality": self.quality,
            "background": self.background,
            "output_format": output_format(output, self.output_format),
            "output_compression": self.compression,
            "moderation": self.moderation,
            "frame_count": self.frames,
            "svg": None if self.svg_model is None else {"model": self.svg_model},
            **parse_parameters(self.param),
        }
        return {name: value for name, value in params.items() if value is not None}


def offline_client(options: CallOptions) -> ImagesClient:
    """Make a client that sends nothing and needs no key, and refuses what the real one would.

    Raises `ConfigurationError`.
    """
    if options.local:
        return ImagesClient(base_url=_LOOPBACK, api_key="none", trust_env=False)
    if options.is_azure:
        _check_azure_endpoint(options)
        key = _env("AZURE_OPENAI_AD_TOKEN") or _env("AZURE_OPENAI_API_KEY") or "none"
        return ImagesClient.azure(options.base_url, api_key=key)
    return ImagesClient(api_key=_env("OPENAI_API_KEY") or "none", base_url=options.base_url)


@asynccontextmanager
async def open_client(
    options: CallOptions,
    console: Console,
    on_attempt: Callable[[], None],
    *,
    limits: Limits | None = None,
    pace: float = _PACE,
) -> AsyncGenerator[ImagesClient]:
    """Open a client; `on_attempt` is called before each request. Raises `ConfigurationError`.

    `pace` is the seconds between partial images of the local server.
    """
    common: dict[str, Any] = {
        "timeouts": Timeouts() if options.timeout is None else Timeouts(total=options.timeout),
        "limits": options.share(limits or Limits()),
    }
    if options.local:
        from openai_images.server import LocalImagesServer

        console.print_note(_STAND_IN, "yellow")
        async with LocalImagesServer(pace=pace) as server:
            provider = _observed_key(server.api_key, on_attempt)
            async with ImagesClient(
                base_url=server.base_url, api_key=provider, trust_env=False, **common
            ) as client:
                yield client
    elif options.is_azure:
        async with _azure_client(options, on_attempt, common) as client:
            console.print_note(f"sending to Azure: {client.base_url}")
            yield client
    else:
        key = _env("OPENAI_API_KEY")
        if not key:
            raise ConfigurationError(_NO_KEY)
        _ = ImagesClient(
            base_url=options.base_url, api_key=key
        ).base_url  # raises for one that cannot be used
        provider = _observed_key(key, on_attempt)
        async with ImagesClient(base_url=options.base_url, api_key=provider, **common) as client:
            is_open = options.azure is None and not (options.base_url or _env("OPENAI_BASE_URL"))
            if is_open and _env("AZURE_OPENAI_ENDPOINT"):
                console.print_note(_BOTH_SET)
            yield client


def _azure_client(
    options: CallOptions, on_attempt: Callable[[], None], common: dict[str, Any]
) -> ImagesClient:
    _check_azure_endpoint(options)
    token, key = _env("AZURE_OPENAI_AD_TOKEN"), _env("AZURE_OPENAI_API_KEY")
    if not (token or key):
        raise ConfigurationError(_NO_AZURE_KEY)
    _ = ImagesClient.azure(options.base_url, api_key=token or key).base_url  # raises likewise
    provider = _observed_key(token or key, on_attempt)
    credential: dict[str, Any] = {"token_provider": provider} if token else {"api_key": provider}
    return ImagesClient.azure(options.base_url, **credential, **common)


def _check_azure_endpoint(options: CallOptions) -> None:
    if not (options.base_url or _env("AZURE_OPENAI_ENDPOINT")):
        raise ConfigurationError(_NO_ENDPOINT)


def _env(name: str) -> str:
    return os.environ.get(name, "").strip()


def _observed_key(key: str, on_attempt: Callable[[], None]) -> Callable[[], Awaitable[str]]:
    """The key as a provider, which the client calls before each attempt."""

    async def give() -> str:
        on_attempt()
        return key

    return give


def has_piped_stdin() -> bool:
    """Return whether stdin is a file or a pipe."""
    try:
        return sys.stdin is not None and not sys.stdin.isatty()
    except ValueError:  # closed
        return False


def read_stdin_bytes(what: str) -> bytes:
    """Read all of stdin; `what` names it in errors. Raises click.UsageError."""
    stdin: Any = sys.stdin
    if stdin is None:
        raise click.UsageError(f"- reads {what} from stdin, which is closed; use < FILE or a pipe.")
    try:
        data: Any = getattr(stdin, "buffer", stdin).read()  # one in memory may be text
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise click.UsageError(f"- reads {what} from stdin, which cannot be read: {why}.") from None
    return data.encode(errors="surrogatepass") if isinstance(data, str) else data or b""


def read_stdin_text(what: str) -> str:
    """Read all of stdin as text. Raises click.UsageError."""
    return decode_text(read_stdin_bytes(what), f"- reads {what} from stdin")


def decode_text(data: bytes, source: str) -> str:
    """Decode a file or stdin; `source` says in errors what was read. Raises click.UsageError."""
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encodings = ["utf-16"] if marked else ["utf-8-sig", getattr(sys.stdin, "encoding", None) or "utf-8"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    raise click.UsageError(f"{source}, and what is there is not UTF-8; convert it.")
