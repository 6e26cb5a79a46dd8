"""One batch: its state, the input file with its requests, and the files of lines that it writes.

Invariants: the states and their order are those of the API; the time of an event that has not happened is null; a batch
that has ended does not change any more. The input file is read in a thread, one line in memory at a time; with an error
it has no requests. Of an output file at most `HELD_BYTES` and one line are in memory; the base64 of an image is written
without passing through `json`.
Must not: run anything, or check the parameters of requests: they are checked when a request is run.
"""

import asyncio
import uuid
from array import array
from collections import Counter
from collections.abc import Container, Iterator
from typing import Any, BinaryIO, Final, cast

import attrs

from openai_images.server.faults.calls import BatchFaultPlan, batch_error
from openai_images.server.faults.plan import ReleaseGate
from openai_images.server.protocol.error_replies import compact_json
from openai_images.server.requests.files import FileStore, ServerFile
from openai_images.server.requests.records import RecordedBatch
from openai_images.server.requests.request_body import parse

ENDED: Final = {"completed", "failed", "expired", "cancelled"}
_EVENTS: Final = [
    "in_progress",
    "expires",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
]


@attrs.define(kw_only=True, eq=False)
class ServerBatch:
    """One batch; times are Unix times in seconds, `output_seconds` is how long its files are kept."""

    endpoint: str
    input_file_id: str
    metadata: dict[str, str] | None
    output_seconds: int
    plan: BatchFaultPlan
    created_at: int
    expires_at: float
    gate: ReleaseGate
    id: str = attrs.field(factory=lambda: f"batch_{uuid.uuid4().hex}")
    status: str = "validating"
    model: str | None = None
    errors: list[dict[str, Any]] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    tokens: Counter[str] = attrs.field(factory=Counter[str])
    is_listed: bool = True
    interrupted: asyncio.Event = attrs.field(factory=asyncio.Event)
    released: asyncio.Event = attrs.field(
        default=attrs.Factory(lambda self: self.gate.event, takes_self=True)
    )
    """Set by the first `release()` since the present state was entered."""
    _times: dict[str, int] = attrs.field(factory=dict[str, int])

    def enter(self, status: str, now: float) -> None:
        """Change the state."""
        self.status, self.released = status, self.gate.event
        self._times[status] = int(now)

    def check_time(self, now: float) -> None:
        """Interrupt the batch if its completion window is over."""
        if now >= self.expires_at and self.status not in ENDED:
            self.interrupted.set()

    def as_dict(self) -> dict[str, Any]:
        """Return the object of the API."""
        times = {f"{event}_at": self._times.get(event) for event in _EVENTS}
        tokens = self.tokens
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": None if self.errors is None else {"object": "list", "data": self.errors},
            "input_file_id": self.input_file_id,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            **(times | {"expires_at": int(self.expires_at)}),
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "usage": {
                "input_tokens": tokens["input_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": tokens["output_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": tokens["total_tokens"],
            },
            "metadata": self.metadata,
        }

    def record(self) -> RecordedBatch:
        """Return the batch's present state for `server.batches`."""
        return RecordedBatch(**{f.name: getattr(self, f.name) for f in attrs.fields(RecordedBatch)})


MAX_REQUESTS: Final = 50_000
MAX_INPUT_BYTES: Final = 200 * 1024 * 1024
MAX_LINE_BYTES: Final = 64 * 1024 * 1024
MAX_ERRORS: Final = 100
"""Maximum number of listed errors of a file."""


@attrs.define
class ParsedInput:
    """The requests of a file, as the byte offsets of their lines; none if there are `errors`."""

    endpoint: str
    models: Container[object]
    """The AI models that exist."""
    offsets: "array[int]" = attrs.field(init=False, factory=lambda: array("Q"))
    model: str | None = attrs.field(init=False, default=None)
    errors: list[dict[str, Any]] = attrs.field(init=False, factory=list[dict[str, Any]])
    _custom_ids: set[str] = attrs.field(init=False, factory=set[str])

    def read(self, file: BinaryIO) -> None:
        """Read the whole file."""
        for number, (offset, line) in enumerate(_lines(file), 1):
            if not line.strip():
                continue
            if len(self.offsets) == MAX_REQUESTS:
                self._add_error("too_many_tasks", f"The batch has more than {MAX_REQUESTS:,} requests.")
                break
            self._check_line(line, number)
            self.offsets.append(offset)
            if len(self.errors) >= MAX_ERRORS:
                break
        if not self.offsets:
            message = "The input file is empty. Please ensure that the batch contains at least one request."
            self._add_error("empty_file", message)

    def _add_error(self, code: str, message: str, **place: Any) -> None:
        self.errors.append(batch_error(code, message, **place))

    def _check_line(self, line: bytes, number: int) -> None:
        try:
            request = parse(line)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            message = "This line is not parseable as valid JSON."
            self._add_error("invalid_json_line", message, line=number)
            return
        values = cast("dict[str, Any]", request)
        body = values.get("body")
        self._check_custom_id(values.get("custom_id"), number)
        if values.get("method") != "POST":
            self._add_error("invalid_method", "The HTTP method must be POST.", param="method", line=number)
        if values.get("url") != self.endpoint:
            message = (
                f"The URL provided for this request does not match the batch endpoint '{self.endpoint}'."
            )
            self._add_error("invalid_url", message, param="url", line=number)
        if isinstance(body, dict):
            self._check_model(cast("dict[str, Any]", body).get("model"), number)
        else:
            self._add_missing("body", number)

    def _add_missing(self, name: str, number: int) -> None:
        message = f"Missing required parameter: '{name}'."
        self._add_error("missing_required_parameter", message, param=name, line=number)

    def _check_custom_id(self, custom_id: object, number: int) -> None:
        if not isinstance(custom_id, str) or not custom_id:
            self._add_missing("custom_id", number)
        elif custom_id in self._custom_ids:
            message = (
                f"The custom_id '{custom_id[:200]}' for this request is a duplicate of another request. The custom_id "
                "parameter must be unique for each request in a batch."
            )
            self._add_error("duplicate_custom_id", message, param="custom_id", line=number)
        else:
            self._custom_ids.add(custom_id)

    def _check_model(self, model: object, number: int) -> None:
        if model is not None and (not isinstance(model, str) or model not in self.models):
            message = f"The provided model '{str(model)[:200]}' is not supported by the Batch API."
            self._add_error("model_not_found", message, param="body.model", line=number)
        elif not self.offsets:
            self.model = model
        elif model != self.model:
            message = (
                f"The model '{model}' for this request does not match the rest of the batch. Each batch must contain "
                "requests for a single model."
            )
            self._add_error("mismatched_model", message, param="body.model", line=number)


def read_request(file: BinaryIO, offset: int) -> dict[str, Any]:
    """Return the request in the line that begins at `offset`."""
    file.seek(offset)
    return cast("dict[str, Any]", parse(file.readline(MAX_LINE_BYTES)))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while line := file.readline(MAX_LINE_BYTES):
        yield offset, line
        offset += len(line)


HELD_BYTES: Final = 1024 * 1024


GARBAGE: Final = b'{"id": "batch_req_garbage", "custom_id": "\n'
"""A line that is not JSON."""


def response_line(custom_id: str, status: int, request_id: str, body: bytes) -> tuple[bytes, ...]:
    """Return the pieces of the line of a request that was run; `body` is JSON."""
    response = compact_json({"status_code": status, "request_id": request_id})[:-1]
    return (_start(custom_id), b',"response":', response, b',"body":', body, b'},"error":null}\n')


def error_line(custom_id: str, code: str, message: str) -> tuple[bytes, ...]:
    """Return the pieces of the line of a request that was not run."""
    error = compact_json({"code": code, "message": message})
    return (_start(custom_id), b',"response":null,"error":', error, b"}\n")


def _start(custom_id: str) -> bytes:
    return compact_json({"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": custom_id})[:-1]


class LineFile:
    """A file of lines that is being written; `nbytes` is its size so far."""

    def __init__(self, files: FileStore) -> None:
        self._files = files
        self._file: BinaryIO | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.nbytes = 0

    async def write(self, *pieces: bytes) -> None:
        """Add a line."""
        size = sum(map(len, pieces))
        self._held += pieces
        self._held_bytes += size
        self.nbytes += size
        if self._held_bytes >= HELD_BYTES:
            await self._flush()

    async def publish(self, filename: str, seconds: float) -> ServerFile | None:
        """Add the file to the store and return it; None if it has no line."""
        if not self.nbytes:
            return None
        await self._flush()
        file, self._file = self._file, None
        assert file is not None  # noqa: S101  # there were lines
        await asyncio.to_thread(file.close)
        return self._files.add(file, purpose="batch_output", filename=filename, seconds=seconds)

    def discard(self) -> None:
        """Remove the file if it was not published."""
        file, self._file = self._file, None
        if file is not None:
            self._files.discard(file)

    async def _flush(self) -> None:
        if self._file is None:
            self._file = self._files.open_new()
        held, self._held, self._held_bytes = self._held, [], 0
        await asyncio.to_thread(self._file.writelines, held)
