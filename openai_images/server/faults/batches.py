"""Faults of `/v1/files` and `/v1/batches`: of one call, and of the next batch that is created.

Invariants: the fault of a call has the name of its step, a colon, and what happens; the faults of a batch begin with
`batch_`, and each is used by one new batch, with any response to its creation.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Literal

import attrs

from openai_images.server.faults.plan import STATUS, Fault, FaultType, Plan, fault

STEPS: Final[Mapping[str, str]] = {
    "file_upload": "an upload",
    "file_retrieve": "the GET of a file's object",
    "file_list": "the list of files",
    "file_content": "the GET of a file's content",
    "file_delete": "the deletion of a file",
    "batch_create": "the creation of a batch",
    "batch_retrieve": "the GET of a batch",
    "batch_list": "the list of batches",
    "batch_cancel": "the cancellation of a batch",
}
_CHANGES: Final = {"file_upload", "file_delete", "batch_create", "batch_cancel"}


@attrs.frozen(kw_only=True)
class CallPlan(Plan):
    """How the response to one call differs from a normal one, which is the default.

    `status`, `hang_up` or `hold` replaces the response; `is_after`: the requested action is done first; `middle` is
    what happens in the middle of the body.
    """

    status: int | None = None
    hang_up: Literal["close", "reset"] | None = None
    is_after: bool = False
    middle: Literal["cut", "stall"] | None = None


@attrs.frozen(kw_only=True)
class BatchFaultPlan(Plan):
    """How one batch differs from a normal one, which is the default; `hold` keeps it in `validating`."""

    error: Mapping[str, Any] | None = None
    expires: bool = False
    holds_cancel: bool = False
    is_unlisted: bool = False
    has_output: bool = True
    has_errors: bool = True
    lacks_line: bool = False
    garbage: bool = False
    duplicates: bool = False


def _plans(step: str) -> dict[str, CallPlan]:
    """Return the faults of a step other than statuses."""
    plans = {"reset": CallPlan(hang_up="reset"), "stall": CallPlan(hold=True)}
    if step in _CHANGES:
        lost = CallPlan(hang_up="close", is_after=True)
        plans |= {"lost": lost, "stall_after": CallPlan(hold=True, is_after=True)}
    if step in {"file_upload", "file_content"}:
        plans["cut"] = CallPlan(middle="cut")
    if step == "file_content":
        plans["stall_mid"] = CallPlan(middle="stall")
    return plans | {"ok": CallPlan()}


def _names(step: str) -> str:
    return ", ".join(["NNN", *(["NNN_after"] if step in _CHANGES else []), *_plans(step)])


def _call_plan(step: str, how: str) -> CallPlan:
    if (plan := _plans(step).get(how)) is not None:
        return plan
    status = how.removesuffix("_after") if step in _CHANGES else how
    try:
        return CallPlan(status=STATUS(status), is_after=status != how)
    except ValueError:
        raise ValueError(f"one of {_names(step)}, with a status from 400 to 599") from None


def _call_fault(step: str, what: str) -> FaultType[CallPlan]:
    about = f"{step}:HOW (500) {what} fails: {_names(step)}"
    return FaultType(about, partial(_call_plan, step), "500", takes_argument=True)


def _error(code: str, message: str, **more: Any) -> BatchFaultPlan:
    return BatchFaultPlan(error={"code": code, "message": message, "param": None, "line": None, **more})


_QUEUE_IS_FULL: Final = (
    "Enqueued token limit reached for gpt-image-2 in organization org-local. Limit: 90,000 enqueued tokens. Please try "
    "again once some in_progress batches have been completed."
)

CALL_FAULTS: Final[Mapping[str, FaultType[CallPlan]]] = {
    step: _call_fault(step, what) for step, what in STEPS.items()
}
BATCH_FAULTS: Final[Mapping[str, FaultType[BatchFaultPlan]]] = {
    "batch_ok": fault("no fault for this batch", BatchFaultPlan()),
    "batch_stuck": fault("a batch stays in validating until release()", BatchFaultPlan(hold=True)),
    "batch_invalid": fault(
        "a batch fails in validation: its first line is not JSON",
        _error("invalid_json_line", "This line is not parseable as valid JSON.", line=1),
    ),
    "batch_token_limit": fault(
        "a batch fails in validation: too many tokens are enqueued",
        _error("token_limit_exceeded", _QUEUE_IS_FULL),
    ),
    "batch_expired": fault("a batch expires before any of its requests is run", BatchFaultPlan(expires=True)),
    "batch_slow_cancel": fault(
        "a batch that is cancelled stays in cancelling until release()", BatchFaultPlan(holds_cancel=True)
    ),
    "batch_unlisted": fault("a batch is in no list until release()", BatchFaultPlan(is_unlisted=True)),
    "batch_no_output": fault(
        "a batch ends without an output file, although its requests were run",
        BatchFaultPlan(has_output=False),
    ),
    "batch_no_errors": fault(
        "a batch ends without an error file, although requests failed", BatchFaultPlan(has_errors=False)
    ),
    "batch_missing_line": fault(
        "the output lacks the line of one request that was run", BatchFaultPlan(lacks_line=True)
    ),
    "batch_garbage_line": fault(
        "a line that is not JSON is in the middle of the output", BatchFaultPlan(garbage=True)
    ),
    "batch_duplicate_lines": fault("every line of the output occurs twice", BatchFaultPlan(duplicates=True)),
}
BATCH_OK: Final = Fault("batch_ok", BatchFaultPlan())
CALL_OK: Final = Fault("ok", CallPlan())
