"""One batch: its state, and its object in the API's form.

Invariants: the states and their order are the API's; the time of an event that has not happened is null; a batch that
has ended does not change any more.
Must not: run anything.
"""

import asyncio
import uuid
from collections import Counter
from typing import Any, Final

import attrs

from openai_images.server.faults.batches import BatchFaultPlan
from openai_images.server.faults.plan import ReleaseGate
from openai_images.server.requests.records import RecordedBatch

ENDED: Final = {"completed", "failed", "expired", "cancelled"}
_TIMES: Final = (
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


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
        self._times[f"{status}_at"] = int(now)

    def check_time(self, now: float) -> None:
        """Interrupt the batch if its completion window is over."""
        if now >= self.expires_at and self.status not in ENDED:
            self.interrupted.set()

    def as_dict(self) -> dict[str, Any]:
        """Return the object of the API."""
        times = {name: self._times.get(name) for name in _TIMES} | {"expires_at": int(self.expires_at)}
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
            **times,
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
        return RecordedBatch(
            id=self.id,
            status=self.status,
            endpoint=self.endpoint,
            input_file_id=self.input_file_id,
            metadata=self.metadata,
            total=self.total,
            completed=self.completed,
            failed=self.failed,
        )
