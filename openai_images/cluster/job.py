"""The data of workers: the job that all items share, one item, and the row that comes back; all can be pickled.

Invariants: they contain no key, no header with a name such as "token", and no password of a Redis server; workers take
these from their own environment. If one is missing there, an error names the variable to set, and nothing is sent.
"""

# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from openai_images.batch.items.models import BatchOptions
from openai_images.batch.journal.journal import error_fields
from openai_images.batch.journal.journal_reader import JournalRow
from openai_images.batch.run.run_state import WorkItem
from openai_images.client.client import ImagesClient
from openai_images.client.endpoint_source import EndpointArguments
from openai_images.client.settings import Settings
from openai_images.errors import ConfigurationError
from openai_images.http.endpoint import credentials
from openai_images.models.options import Limits, Timing, display_redis_url

_RATES = ("images_per_minute", "requests_per_minute", "tokens_per_minute")

Row: TypeAlias = dict[str, Any]
"""The outcome of one item: small, without images, JSON values only.

`key` and `id` of the item, its last `attempt`, and its `state`: "done", "away" (remote), "failed", "unknown", or
"pending" (not sent, or not executed). `rows` are the rows that this worker wrote for it, in the journal's form, each
with its `record`. With `taken`, another worker has claimed the item and wrote the rows. `error` and `message` describe
the error; with `stops` it concerns all items: send no more. `saved` names paid images outside of the storage.
"""

_SECRET: Final = re.compile("auth|cookie|credential|key|passw|secret|session|signature|token", re.IGNORECASE)
_SHARED_LIMIT: Final = "OPENAI_IMAGES_SHARED_LIMIT"


@frozen(kw_only=True)
class ClientSpec:
    """Builds a copy of a client in another process, with the secrets of that process's environment."""

    endpoint: EndpointArguments = field(repr=False)
    secret_headers: tuple[str, ...] = ()
    has_secret_limit: bool = False
    model: str | None
    limits: Limits
    settings: Settings

    @classmethod
    def from_client(cls, client: ImagesClient) -> ClientSpec:
        """Return a client's settings without its key. Raises `ConfigurationError` for settings that cannot be sent."""
        settings, arguments = client._settings, client._endpoint._arguments
        held = {"session": settings.session, "ssl": settings.ssl, "proxy": settings.proxy}
        unsendable = [name for name, value in held.items() if value is not None]
        if unsendable:
            raise ConfigurationError(
                f"a client with {unsendable[0]}= cannot be built in other processes: leave it out and set "
                "SSL_CERT_FILE or HTTPS_PROXY there, or pass the job a function of a module that builds the client"
            )
        headers = {name: value for name, value in arguments.headers.items() if not is_secret(name)}
        limits = without_password(client._limits)
        held_back = tuple(name for name in arguments.headers if name not in headers)
        arguments = arguments._replace(headers=headers, api_key=None)
        if arguments.azure is None:
            arguments = arguments._replace(base_url=client.base_url)
        else:
            arguments = arguments._replace(azure=evolve(arguments.azure, api_key=None, token_provider=None))
        return cls(
            endpoint=arguments,
            secret_headers=held_back,
            has_secret_limit=limits != client._limits,
            model=client._model,
            limits=limits,
            settings=settings._replace(timing=Timing(), telemetry=None),
        )

    def __call__(self) -> ImagesClient:
        """Return a new client. Raises `ConfigurationError`."""
        return ImagesClient(
            base_url=self.endpoint.base_url,
            organization=self.endpoint.organization,
            project=self.endpoint.project,
            headers={**self.endpoint.headers, **read_headers(self.secret_headers)},
            model=self.model,
            limits=with_password(self.limits) if self.has_secret_limit else self.limits,
            _azure=self.endpoint.azure,
            **self.settings._asdict(),
        )


def divide_limits(limits: Limits, parts: int) -> Limits:
    """Return the limits of one of `parts` processes; shared limits stay as they are."""
    if limits.shared is not None:
        return limits
    rates = {name: getattr(limits, name) for name in _RATES}
    return evolve(limits, **{name: rate / parts for name, rate in rates.items() if rate is not None})


def new_run_id() -> str:
    """Return a unique name for a run."""
    return secrets.token_hex(8)


@frozen(kw_only=True)
class Job:
    """The data that all items of a run share.

    `out` is the folder or URL of claims, records and images; `client` builds a worker's client: a `ClientSpec`, or a
    function of a module. `in_flight` is the most requests in flight in each worker process; None means the client's
    concurrency. A worker uses `prices`, `max_image_cost`, `max_outage` and `record_prompts` of the `options`; the
    driver decides what is sent again, and the budget.
    """

    out: str
    client: Callable[[], ImagesClient]
    options: BatchOptions = field(factory=BatchOptions, repr=False)
    in_flight: int | None = None
    run: str = field(factory=new_run_id)

    @classmethod
    def from_client(
        cls,
        client: ImagesClient,
        out: str,
        options: BatchOptions,
        *,
        in_flight: int | None = None,
        processes: int = 1,
    ) -> Job:
        """Return the job of a run with the settings of this client. Raises `ConfigurationError`.

        Each of the `processes` gets its part of the configured limits, unless they are shared. With a budget, which
        only the driver knows, workers repeat no request that may have been billed.
        """
        spec = ClientSpec.from_client(client)
        retry = spec.settings.retry
        retry = evolve(retry, retry_unknown=retry.retry_unknown and options.budget is None)
        return cls(
            out=out,
            client=evolve(
                spec,
                settings=spec.settings._replace(retry=retry),
                limits=divide_limits(spec.limits, processes),
            ),
            options=evolve(options, budget=None, thumbnail=None, note=""),
            in_flight=in_flight,
        )


@frozen
class ItemSpec:
    """One item for a worker: its `id`, the number of its last `attempt` at the time of the plan, and its `work`."""

    id: str
    attempt: int
    work: WorkItem

    @property
    def key(self) -> str:
        """The item's key."""
        return self.work.item.key


class RunReport(NamedTuple):
    """The items of a run that a process has started and not ended, by id, and why their requests wait."""

    items: tuple[str, ...] = ()
    wait_reason: str | None = None


def make_row(  # noqa: PLR0913  all but one have defaults
    item: ItemSpec,
    rows: Sequence[JournalRow] = (),
    error: Exception | None = None,
    *,
    is_taken: bool = False,
    stops: bool = False,
    message: str = "",
    saved: Sequence[str] = (),
) -> Row:
    """Return the row of an item for which `rows` were written; without an `error`, the last row's is used.

    `saved` are the paths of its images on this machine that could not be stored.
    """
    last = rows[-1] if rows else {"state": "pending"}
    state = {"sent": "unknown", "refused": "pending"}.get(last["state"], last["state"])
    about = {} if error is None else error_fields(error)
    row = {"key": item.key, "id": item.id, "attempt": item.attempt, "state": state, "rows": list(rows)}
    if "record" in last:
        row["attempt"] = int(last["record"].rpartition(".")[2])
    kept = {name: value for name, value in {**last, **about}.items() if name in ("error", "message")}
    row |= {"message": message} if message else kept
    row |= {"taken": True} if is_taken else {}
    if saved:
        places = [f"{path} on {socket.gethostname()}" for path in saved]
        row |= {"saved": places, "message": f"{row.get('message', '')}; saved as {', '.join(places)}"}
    return row | ({"stops": True} if stops else {})


def is_secret(header: str) -> bool:
    """Return whether a header is probably secret, by its name."""
    return _SECRET.search(header) is not None


def header_variable(header: str) -> str:
    """Return the environment variable for a secret header, such as OPENAI_IMAGES_HEADER_X_TOKEN for X-Token."""
    return f"OPENAI_IMAGES_HEADER_{re.sub('[^A-Z0-9]', '_', header.upper())}"


def read_headers(names: Iterable[str]) -> Mapping[str, str]:
    """Read these headers from the environment. Raises `ConfigurationError` for a missing one.

    Headers that contain the API key may be missing: it has its own variables.
    """
    headers: dict[str, str] = {}
    for name in names:
        value = os.environ.get(header_variable(name))
        if value:
            headers[name] = value
        elif not credentials({name: "key"}):
            raise ConfigurationError(
                f"the header {name!r} is not sent to workers, because it may be secret: set {header_variable(name)} in "
                "their environment"
            )
    return headers


def without_password(limits: Limits) -> Limits:
    """Return the limits without the password of their Redis server."""
    if limits.shared is None or not _has_password(limits.shared):
        return limits
    return evolve(limits, shared=display_redis_url(limits.shared))


def with_password(limits: Limits) -> Limits:
    """Return the limits with the URL of their Redis server from the environment. Raises `ConfigurationError`."""
    if url := os.environ.get(_SHARED_LIMIT):
        return evolve(limits, shared=url)
    raise ConfigurationError(
        f"the Redis server {display_redis_url(limits.shared)} has a password, which is not sent to workers: set "
        f"{_SHARED_LIMIT} in their environment to its complete URL"
    )


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return "@" in parts.netloc or "password" in parts.query
