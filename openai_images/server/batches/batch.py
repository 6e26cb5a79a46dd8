"""One batch: its state, and its object in the API's form; and how the batches of a server run (`BatchPace`).

Invariants: the states and their order are the API's; the time of an event that has not happened is null; a batch that
has ended does not change any more.
Must not: run anything.
"""

import asyncio
import uuid
from collections import Counter
from typing import Any, Final

import attrs

from openai_images.server.faults import find_fault
from openai_images.server.faults.batches import BatchFaultPlan
from openai_images.server.faults.plan import ReleaseGate
from openai_images.server.records import RecordedBatch

_Attribute = attrs.Attribute


def _check_not_negative(_: object, attribute: "_Attribute[Any]", value: float | None) -> None:
    if value is not None and not value >= 0:
        raise ValueError(f"{attribute.name} must not be negative, not {value}")


def _check_above_zero(_: object, attribute: "_Attribute[Any]", value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{attribute.name} must be above 0, not {value}")


def _check_share(_: object, attribute: "_Attribute[Any]", value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} must be a share from 0 to 1, not {value}")


def _check_failure(_: object, __: "_Attribute[Any]", name: str) -> None:
    if find_fault(name).plan.reply is None:
        raise ValueError(f"failure must be a fault with a status, such as status:500, not {name!r}")


@attrs.frozen(kw_only=True)
class BatchPace:
    """How the batches of a local server run.

    A batch stays `seconds_per_state` in each of validating, finalizing and cancelling; with `hold` it stays in each
    state until `release()`. It runs `requests_per_second`; None: as fast as the images are drawn. After `window`
    seconds it expires. `failed` is the share of its requests, from 0 to 1, that get the error of the fault `failure`;
    `expired` is the share that is not run in time: a batch with such requests ends as expired. Raises ValueError.
    """

    seconds_per_state: float = attrs.field(default=0.0, validator=_check_not_negative)
    hold: bool = False
    requests_per_second: float | None = attrs.field(default=None, validator=_check_above_zero)
    window: float = attrs.field(default=86_400.0, validator=_check_above_zero)
    failed: float = attrs.field(default=0.0, validator=_check_share)
    failure: str = attrs.field(default="moderation_400", validator=_check_failure)
    expired: float = attrs.field(default=0.0, validator=_check_share)


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
