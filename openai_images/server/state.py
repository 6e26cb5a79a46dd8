"""The state of one local server: its settings, its records and counts, and the requests in progress.

Invariants: an invalid setting is a `ValueError` that names the valid values; counters change only on the event loop.
Must not: count connections that the server itself closed as disconnects, send or decide anything.
"""

import asyncio
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from openai_images.server.batches.batch import BatchPace
from openai_images.server.catalog import ALL_FORMATS
from openai_images.server.error_replies import common_headers, new_request_id
from openai_images.server.faults import OK
from openai_images.server.faults.plan import Fault, FaultPlan, ReleaseGate
from openai_images.server.rate_limits import RetryAfter
from openai_images.server.records import (
    AnsweredRequest,
    RecentRequests,
    RecordedBatch,
    RecordedBatchRequest,
    RecordedDownload,
    RecordedRequest,
)

Links: TypeAlias = Literal["absolute", "relative"]
"""The form of image URLs: with this server's address, or only the path."""
PictureMode: TypeAlias = Literal["small", "full"]
Pictures: TypeAlias = PictureMode | bytes | Mapping[str, bytes] | None

MAX_BODY_BYTES: Final = 25 * 1024 * 1024
# 16 images, a mask and a markup may have just under 50 MiB each.
MAX_UPLOAD_BYTES: Final = 1024 * 1024 * 1024
# aiohttp.web does not report a malformed chunk to a handler that waits for its body: it would wait forever.
BODY_TIMEOUT: Final = 2.5
"""Seconds without a byte after which a body is considered stopped."""

_Attribute: TypeAlias = "attrs.Attribute[Any]"


def is_loopback(host: str) -> bool:
    """Whether an address is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _key_or_new(key: str | None) -> str:
    return f"sk-local-{secrets.token_hex(16)}" if key is None else key


def _rule(accepts: Callable[[Any], bool], message: str) -> Callable[[object, _Attribute, Any], None]:
    """Return a validator that raises `message` for a value that is not accepted."""

    def check(_: object, attribute: _Attribute, value: Any) -> None:
        if not accepts(value):
            raise ValueError(message.format(name=attribute.name, value=value))

    return check


_PACE_MESSAGE: Final = "pace must not be negative and keepalive_comments must be above 0"
_RETRY_AFTER_MESSAGE: Final = "retry_after must be one of 'exact', 'seconds', 'none', not {value!r}"
_LINKS_MESSAGE: Final = "picture_links must be None or one of 'absolute', 'relative', not {value!r}"
_check_host = _rule(is_loopback, "host must be a loopback address such as 127.0.0.1 or ::1, not {value!r}")
_check_port = _rule(
    lambda port: 0 <= port <= 65_535, "port must be from 0 (any that is free) to 65535, not {value}"
)
_check_count = _rule(lambda count: count is None or count >= 1, "{name} must be at least 1, not {value}")
check_keep = _rule(
    lambda count: count is None or count >= 0,
    "keep_requests must not be negative (None keeps all), not {value}",
)


def _check_burst(settings: Any, attribute: _Attribute, burst: int | None) -> None:
    _check_count(settings, attribute, burst)
    if burst is not None and settings.images_per_minute is None and settings.requests_per_minute is None:
        raise ValueError("rate_limit_burst needs images_per_minute or requests_per_minute")


def _check_pictures(_: object, __: _Attribute, pictures: Pictures) -> None:
    if pictures is None or pictures in get_args(PictureMode):
        return
    by_format: Mapping[str, object] = pictures if isinstance(pictures, Mapping) else {"png": pictures}
    values: list[object] = [*by_format.values()]
    if not all(isinstance(data, bytes) and data for data in values or [None]):
        raise ValueError(
            "pictures must be 'small', 'full' (drawn for each prompt, as with None), an image's bytes, or a mapping "
            "with such bytes"
        )
    if unknown := sorted(set(by_format) - set(ALL_FORMATS)):
        raise ValueError(
            f"pictures has the format {unknown[0]!r}; it must be one of {', '.join(ALL_FORMATS)}"
        )


@attrs.define(kw_only=True, eq=False, repr=False)
class ServerSettings:
    """The options of a server except faults and records; `LocalImagesServer` describes them."""

    host: str = attrs.field(default="127.0.0.1", converter=_address, validator=_check_host)
    """A loopback address to listen on."""
    port: int = attrs.field(default=0, validator=_check_port)
    """The port to listen on; 0 for any free port."""
    api_key: str = attrs.field(default=None, converter=_key_or_new)
    images_per_minute: int | None = attrs.field(default=None, validator=_check_count)
    """Images per minute that are accepted; more get a 429. None: no limit."""
    requests_per_minute: int | None = attrs.field(default=None, validator=_check_count)
    """Requests per minute that are accepted; more get a 429. None: no limit."""
    rate_limit_burst: int | None = attrs.field(default=None, validator=_check_burst)
    rate_limit_headers: bool = True
    retry_after: RetryAfter = attrs.field(
        default="exact", validator=_rule(set(get_args(RetryAfter)).__contains__, _RETRY_AFTER_MESSAGE)
    )
    pace: float = attrs.field(default=0.0, validator=_rule(lambda pace: pace >= 0, _PACE_MESSAGE))
    pictures: Pictures = attrs.field(default=None, validator=_check_pictures)
    batch_pace: BatchPace = attrs.field(
        default=BatchPace(), validator=attrs.validators.instance_of(BatchPace)
    )
    legacy: bool = False
    picture_links: Links | None = attrs.field(
        default=None, validator=_rule({None, *get_args(Links)}.__contains__, _LINKS_MESSAGE)
    )
    max_body_bytes: int = attrs.field(default=MAX_BODY_BYTES, validator=_check_count)
    max_upload_bytes: int = attrs.field(default=MAX_UPLOAD_BYTES, validator=_check_count)
    body_timeout: float = attrs.field(
        default=BODY_TIMEOUT,
        validator=_rule(lambda s: s > 0, "body_timeout must be above 0 seconds, not {value}"),
    )
    keepalive_comments: float | None = attrs.field(
        default=None, validator=_rule(lambda s: s is None or s > 0, _PACE_MESSAGE)
    )
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    on_answer: Callable[[AnsweredRequest], object] | None = None


@attrs.define(kw_only=True, eq=False)
class ActiveRequest:
    """One request being answered."""

    clock: Callable[[], float]
    fault: Fault[FaultPlan] = OK
    connection: asyncio.Transport | None
    hung_up: bool = False
    request_id: str = attrs.field(factory=new_request_id)
    started: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.started = self.clock()

    def abort(self) -> None:
        """Drop the connection."""
        if self.connection is not None:
            self.connection.abort()

    def headers(self) -> dict[str, str]:
        """Return the common headers of the response."""
        return common_headers(self.request_id, self.clock() - self.started)


class ServerState:
    """The counters and records of one server."""

    def __init__(self) -> None:
        self.requests: list[RecordedRequest] = []
        self.downloads: list[RecordedDownload] = []
        self.batch_requests: list[RecordedBatchRequest] = []
        self.batches: list[Callable[[], RecordedBatch]] = []
        self.keep_requests: int | None = None
        self.recent = RecentRequests()
        self.faults_by_request: dict[int, str] = {}  # of active requests, by identity
        self.posts = 0
        self.refused = 0
        self.disconnects = 0
        self.gate = ReleaseGate()
        self._closing = False
        self._active: set[ActiveRequest] = set()
        self._changed = ReleaseGate()

    def record(self, arrived: RecordedRequest | RecordedDownload | RecordedBatchRequest) -> None:
        """Keep a record, and drop the oldest if there are too many."""
        kept: list[Any] = self.requests
        if not isinstance(arrived, RecordedRequest):
            kept = self.downloads if isinstance(arrived, RecordedDownload) else self.batch_requests
        kept.append(arrived)
        if self.keep_requests is not None:
            del kept[: max(0, len(kept) - self.keep_requests)]

    @contextmanager
    def track(self, active: ActiveRequest) -> Generator[None]:
        """Count a disconnect if the client leaves during the block."""
        self._active.add(active)
        try:
            yield
        except (asyncio.CancelledError, ConnectionError):
            if not active.hung_up and not self._closing:
                self.disconnects += 1
                self._changed.open()
            raise
        finally:
            self._active.discard(active)

    async def wait_disconnected(self, n: int) -> None:
        """Wait until `n` clients in total have disconnected early."""
        while self.disconnects < n:
            await self._changed.event.wait()

    def open_gate(self) -> None:
        """Release every stalled response."""
        self.gate.open()

    def reset(self, keep_requests: int | None) -> None:
        """Drop every response in progress (not counted as disconnects), and forget records and counts."""
        for active in tuple(self._active):
            active.hung_up = True
            active.abort()
        self.keep_requests = keep_requests
        self.requests, self.downloads, self.batch_requests, self.batches = [], [], [], []
        self.posts = self.refused = self.disconnects = 0

    def reopen(self) -> None:
        """Prepare for another start, perhaps in another loop."""
        self._closing = False
        self.gate, self._changed = ReleaseGate(), ReleaseGate()

    def close(self) -> None:
        """Drop every response in progress."""
        self._closing = True
        for active in tuple(self._active):
            active.abort()


@attrs.define(kw_only=True, eq=False, repr=False)
class ObservedServer(ServerSettings):
    """The records and counts that tests read from a server."""

    _state: ServerState = attrs.field(init=False, factory=ServerState)

    @property
    def requests(self) -> list[RecordedRequest]:
        """The image requests whose body has arrived, in order."""
        return self._state.requests

    @property
    def downloads(self) -> list[RecordedDownload]:
        """The GETs of images by their URLs, in the order in which their headers arrived."""
        return self._state.downloads

    @property
    def batches(self) -> list[RecordedBatch]:
        """The batches that were created, in order, also if the response to the creation was an error."""
        return [snapshot() for snapshot in self._state.batches]

    @property
    def batch_requests(self) -> list[RecordedBatchRequest]:
        """The requests of batches that were run, in order."""
        return self._state.batch_requests

    @property
    def posts(self) -> int:
        """Number of POSTs to an images path whose headers have arrived."""
        return self._state.posts

    @property
    def refused(self) -> int:
        """Number of responses that were a 429, for any reason."""
        return self._state.refused

    @property
    def disconnects(self) -> int:
        """Number of clients that disconnected before the end of their response."""
        return self._state.disconnects
