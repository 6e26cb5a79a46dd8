"""The state of one batch at the provider, and the delay before the next status request.

Invariants: pure; fields that are missing, null or of another type are None; a request without a line counts as not
executed only if the provider's count proves it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from attrs import field, frozen

from openai_images._util.json import is_list, is_object
from openai_images.errors import DecodeError, annotate

TAG: Final = "openai_images_batch"
"""The key in a batch's metadata; its value identifies the batch in the journal."""

_ENDED: Final = frozenset({"completed", "failed", "expired", "cancelled", "canceled"})
_QUEUE_FULL: Final = "token_limit_exceeded"
_CODE: Final = re.compile(r"[a-z][a-z_]{0,63}")
_MAX_COUNT: Final = 2**53
_MAX_REASONS = 5
_MAX_REASON_LENGTH = 200
_MAX_ID_LENGTH = 512

WINDOW: Final = 24 * 3600.0
"""Seconds after which a batch that has not ended expires."""

_FIRST_DELAY, _LONGEST_DELAY, _SHARE = 1.0, 300.0, 0.1


class BatchError(NamedTuple):
    """One error of a batch: its code ("" if it is none), its words, which may repeat a prompt, and its line or None."""

    code: str
    reason: str
    line: int | None

    @property
    def where(self) -> str:
        """The line in messages, if there is one."""
        return "" if self.line is None else f"line {self.line}"


@frozen(kw_only=True)
class ProviderBatch:
    """The state of one batch; times are in Unix seconds; `tag` is this package's metadata.

    `reasons` are the texts of its errors, which may contain a prompt; `codes` are the codes and lines of these errors;
    `rejected` are the errors that name a line of the input file, by its number from 1.
    """

    id: str
    status: str
    created_at: int | None = None
    total: int | None = None
    completed: int | None = None
    failed: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    input_file_id: str | None = None
    tag: str = ""
    reasons: tuple[str, ...] = field(default=(), repr=False)
    codes: tuple[str, ...] = ()
    rejected: Mapping[int, BatchError] = field(factory=dict[int, BatchError], repr=False)
    is_queue_full: bool = False
    """Whether it failed because the tokens of enqueued batches exceed the limit."""

    def is_of(self, tag: str, input_file_id: str = "") -> bool:
        """Return whether it was created for this tag or, as some servers drop metadata, from this file."""
        return self.tag == tag or (input_file_id != "" and self.input_file_id == input_file_id)

    @property
    def is_ended(self) -> bool:
        """Whether the provider no longer works on it."""
        return self.status in _ENDED

    @property
    def has_failed(self) -> bool:
        """Whether it will not be executed completely."""
        return self.status != "completed" and (self.is_ended or self.status == "cancelling")

    @property
    def files(self) -> tuple[str, ...]:
        """The ids of the files to download, output before errors; either may be missing."""
        return tuple(name for name in (self.output_file_id, self.error_file_id) if name)

    def proves_not_run(self, succeeded: int) -> bool:
        """Return whether requests without a line were certainly not executed.

        `succeeded` is the number of lines with status 200 in all files. Counts that do not add up, or are missing,
        prove nothing.
        """
        if not self.is_ended or self.completed is None or succeeded != self.completed:
            return False
        if self.total == 0 and succeeded:
            return False
        return self.status != "completed" or 0 < (self.total or 0) <= self.completed + (self.failed or 0)


def read_provider_batch(doc: object) -> ProviderBatch | None:
    """Return the batch that a JSON value describes; None if it is not one."""
    if not is_object(doc) or not (name := _text(doc, "id")) or not (status := _text(doc, "status")):
        return None
    counts, metadata, errors = doc.get("request_counts"), doc.get("metadata"), _errors(doc.get("errors"))
    counts = counts if is_object(counts) else {}
    return ProviderBatch(
        id=name,
        status=status,
        created_at=_count(doc, "created_at"),
        total=_count(counts, "total"),
        completed=_count(counts, "completed"),
        failed=_count(counts, "failed"),
        input_file_id=_text(doc, "input_file_id"),
        output_file_id=_text(doc, "output_file_id"),
        error_file_id=_text(doc, "error_file_id"),
        tag=(_text(metadata, TAG) if is_object(metadata) else None) or "",
        reasons=tuple(
            f"{error.where}: {error.reason}" if error.where else error.reason
            for error in [error for error in errors if error.reason][:_MAX_REASONS]
        ),
        codes=tuple(
            f"{error.code or 'no code'}{f' ({error.where})' if error.where else ''}"
            for error in errors[:_MAX_REASONS]
        ),
        rejected={error.line: error for error in errors if error.line},
        is_queue_full=any(error.code == _QUEUE_FULL for error in errors),
    )


def expect_batch(doc: object) -> ProviderBatch:
    """Return the batch that a JSON response describes. Raises `DecodeError`."""
    batch = read_provider_batch(doc)
    if batch is None:
        raise DecodeError("the server's response is not a batch; check base_url")
    return batch


def read_page(doc: object) -> tuple[list[ProviderBatch], bool | None]:
    """Return the batches of a page of the list, and whether there are more (None: unknown). Raises `DecodeError`."""
    items = doc.get("data") if is_object(doc) else None
    batches = [batch for item in items if (batch := read_provider_batch(item))] if is_list(items) else []
    if not is_object(doc) or (not batches and items != []):
        error = DecodeError("the server's response is not a list of batches; check base_url")
        raise annotate(error, {"maybe_billed": False})
    has_more = doc.get("has_more")
    return batches, has_more if isinstance(has_more, bool) else None


def are_older(page: Sequence[ProviderBatch], since: float) -> bool:
    """Return whether the rest of the list is older than `since`: the page must be sorted with the newest first."""
    times = [batch.created_at for batch in page if batch.created_at is not None]
    return len(times) == len(page) and times[0] > times[-1] and max(times) < since


def poll_delay(age: float) -> float:
    """Return the seconds until the next status request: a tenth of the batch's `age`, from 1 to 300."""
    return min(max(age * _SHARE, _FIRST_DELAY), _LONGEST_DELAY)


def _text(doc: dict[str, Any], name: str) -> str | None:
    value = doc.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_ID_LENGTH else None


def _count(doc: dict[str, Any], name: str) -> int | None:
    value = doc.get(name)
    return value if type(value) is int and 0 <= value <= _MAX_COUNT else None


def _errors(errors: object) -> list[BatchError]:
    items = errors.get("data") if is_object(errors) else None
    return [_error(item) for item in items if is_object(item)] if is_list(items) else []


def _error(item: dict[str, Any]) -> BatchError:
    code, message = item.get("code"), item.get("message")
    return BatchError(
        code if isinstance(code, str) and _CODE.fullmatch(code) else "",
        message[:_MAX_REASON_LENGTH] if isinstance(message, str) else "",
        _count(item, "line"),
    )
