"""The entries of a batch's contact sheet, the parameters of requests as cells, and the thumbnails of images.

Invariants: an item whose images are missing is shown as failed; images in a fallback folder are only named, as the page
cannot show them; thumbnails in `thumbs/` are written completely or not at all, with the modification time of the image,
so that an outdated one is never shown; one that cannot be made is left out without an error. A cell has JSON text for
structured values, and paths, URLs or ids for images.
Must not: read or write outside the batch's folder; put the bytes of an image, the id of a user or, without `prompts`,
anything that may contain a prompt into cells.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

from attrs import field, frozen, validators

from openai_images._util.atomic_file import part_path, publish
from openai_images._util.attrs import repr_keys, repr_length
from openai_images._util.json import json_value
from openai_images.batch.items.models import Thumbnail
from openai_images.batch.items.plan import BatchStatus
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal_reader import StoredFile
from openai_images.batch.journal.ledger import ItemRecord
from openai_images.models.requests import (
    EditRequest,
    GenerateRequest,
    ImageReference,
    as_list,
    set_parameters,
)

STATES: Final = {
    "done": "Done",
    "failed": "Failed",
    "blocked": "Blocked by moderation",
    "unknown": "Unknown",
    "away": "Not downloaded",
    "pending": "Not yet",
    "submitted": "At the provider",
}

STOPPED: Final = {
    "budget": "It stopped because the next request might not have fitted into the budget.",
    "quota": "It stopped because the account's quota is used up.",
    "stopped": "It was stopped before its end.",
    "failures": "It stopped after too many identical failures.",
}


@frozen
class SheetEntry:
    """One item of a batch: its images or its failure.

    `state` is "done", "failed", "blocked" (by moderation), "unknown", "away" (not downloaded yet), "submitted" (in a
    batch at the provider) or "pending"; `files` are relative to the batch's folder, with slashes; `width` and `height`
    of the first image are in pixels, `cost` in US dollars; `seconds` include waits. Items with the same prompt have the
    same `group`, a number, and their `parameters`; `group` is 0 for other items. `sources` is the number of input
    images.
    """

    key: str
    prompt: str = field(repr=repr_length)
    state: str = field(validator=validators.in_(STATES))
    files: tuple[str, ...] = ()
    width: int | None = None
    height: int | None = None
    reason: str = field(default="", repr=repr_length)
    cost: Decimal | None = None
    seconds: float | None = None
    model: str = ""
    quality: str = ""
    image_format: str = ""
    recorded_at: str = ""
    group: int = 0
    parameters: Mapping[str, Any] = field(factory=dict[str, Any], repr=repr_keys)
    sources: int = 0


@frozen(kw_only=True)
class SheetHeader:
    """The header of the page.

    `title` names the batch; `spent` is in US dollars, None if no cost is known; `unpriced` results are not included;
    `elapsed` is in seconds; `stopped` is "" or one of `STOPPED`; `note` is shown first.
    """

    title: str = "Batch"
    spent: Decimal | None = None
    unpriced: int = 0
    elapsed: float | None = None
    stopped: str = ""
    note: str = ""


_LEFT_OUT: Final = frozenset({"user", "safety_identifier", "as_json"})
_PROMPTS: Final = frozenset({"prompt", "extra_body"})

encode_plain = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=float
).encode
"""Encodes compact JSON in which a Decimal is a number. Raises TypeError and ValueError."""
_NO_PARAMETERS: Final[Mapping[str, Any]] = {}
_NOT_FETCHED = "its image is paid for, but not downloaded yet; the journal has its URL"
_GONE = "it was done, but its images are missing; retry_missing sends it again"


def sheet_entries(
    items: Collection[ResolvedItem], status: BatchStatus, *, prompts: bool = True
) -> Iterator[SheetEntry]:
    """Yield an entry for each item, in order; without `prompts` entries have no prompt, but the same groups."""
    groups = _shared_prompts(items)
    for item in items:
        record, state = status.record(item.key), status.state(item.key)
        state, reason = _state_and_reason(record, state)
        files = [] if reason == _GONE else [file for file in record.files if not file.is_outside]
        request, group = item.request, groups.get(item.request.prompt, 0)
        yield SheetEntry(
            item.key,
            request.prompt if prompts else "",
            state,
            tuple(file.name for file in files),
            width=files[0].width if files else None,
            height=files[0].height if files else None,
            reason=reason,
            cost=record.cost,
            seconds=record.seconds,
            model=request.model or "",
            quality=record.facts.quality or request.quality or "",
            image_format=_format_of(files) or request.output_format or "",
            recorded_at=record.facts.at,
            group=group,
            parameters=plain_parameters(request, prompts=prompts) if group else _NO_PARAMETERS,
            sources=len(as_list(request.image)) if isinstance(request, EditRequest) else 0,
        )


def _shared_prompts(items: Iterable[ResolvedItem]) -> dict[str, int]:
    """Return a number above 0 for each prompt of more than one item."""
    counts = Counter(item.request.prompt for item in items)
    shared = (prompt for prompt, count in counts.items() if count > 1)
    return {prompt: number for number, prompt in enumerate(shared, 1)}


def _state_and_reason(record: ItemRecord, state: str) -> tuple[str, str]:
    """Return the state and the reason that the page shows."""
    reason = "" if state in ("done", "pending") else record.reason
    if state == "failed" and record.blocked:
        state = "blocked"
    elif state in ("failed", "unknown") and record.is_incomplete:
        reason = f"{len(record.kept_files)} of {record.image_count} images: {reason}"
    elif state == "away":
        reason = reason or _NOT_FETCHED
    elif state == "missing":
        state, reason = "failed", _GONE
    if outside := [file.name for file in record.files if file.is_outside]:
        reason = "; ".join(filter(None, [reason, f"saved as {', '.join(outside)}"]))
    return state, reason


def _format_of(files: Sequence[StoredFile]) -> str:
    """Return the format of the first image, detected from its bytes: png, jpeg, svg, …."""
    return files[0].media_type.rpartition("/")[2].removesuffix("+xml") if files else ""


def plain_parameters(request: GenerateRequest, *, prompts: bool) -> dict[str, Any]:
    """Return the parameters that are set; without `prompts`, neither the prompt nor `extra_body`."""
    left_out = _LEFT_OUT if prompts else _LEFT_OUT | _PROMPTS
    return {
        name: _plain(name, value) for name, value in set_parameters(request).items() if name not in left_out
    }


def plain_parameter_names(requests: Iterable[GenerateRequest], *, prompts: bool) -> dict[str, None]:
    """Return the names that `plain_parameters` returns for any of these requests, in order of appearance."""
    left_out = _LEFT_OUT if prompts else _LEFT_OUT | _PROMPTS
    names = dict.fromkeys(name for request in requests for name in set_parameters(request))
    return {name: None for name in names if name not in left_out}


def _plain(name: str, value: Any) -> Any:
    """Return a value as one cell: text, a number or a boolean; JSON text for structured values."""
    if name in ("image", "mask", "markup"):
        names = [_source_name(source) for source in as_list(value)]
        return names[0] if len(names) == 1 else encode_plain(names)
    if isinstance(value, str | int):
        return value
    try:
        return encode_plain(value)
    except (TypeError, ValueError, RecursionError):
        return encode_plain(json_value(value))


def _source_name(source: object) -> str:
    """Return an input image's path, URL or id; never its bytes."""
    if isinstance(source, ImageReference):
        source = source.image_url or source.file_id or ""
    if isinstance(source, os.PathLike):
        source = str(cast("os.PathLike[str]", source))
    is_name = isinstance(source, str) and not source.startswith("data:")
    return source if is_name and isinstance(source, str) else f"<{type(source).__name__}>"


def has_thumbnail(folder: Path, file: str) -> bool:
    """Return whether the image `file`, relative to `folder`, has an up-to-date thumbnail."""
    try:
        copy, image = _thumbnail_path(folder, file).stat(), (folder / file).stat()
    except (OSError, ValueError):
        return False
    return copy.st_mtime_ns == image.st_mtime_ns and copy.st_size > 0


def make_thumbnail(folder: Path, file: str, make: Thumbnail) -> bool:
    """Make the thumbnail of `file`, relative to `folder`, unless it exists; return whether it exists now."""
    if not _is_inside(file):
        return False
    if has_thumbnail(folder, file):
        return True
    part = None
    try:
        target = _thumbnail_path(folder, file)
        before = (folder / file).stat()
        target.parent.mkdir(parents=True, exist_ok=True)
        part = part_path(target.parent, target.name)
        make(folder / file, part)
        os.utime(part, ns=(before.st_atime_ns, before.st_mtime_ns))
        publish(part, target, overwrite=True)
    except Exception:  # noqa: BLE001  imaging libraries raise anything at a broken file; the original is shown then
        if part is not None:
            part.unlink(missing_ok=True)
    return has_thumbnail(folder, file)


def make_thumbnails(folder: Path, files: Iterable[str], make: Thumbnail) -> None:
    """Make the missing thumbnails one at a time, as each may need much memory. Blocks."""
    listing = ThumbnailListing(folder)
    for file in files:
        if not listing.has(file):
            make_thumbnail(folder, file, make)


class ThumbnailListing:
    """The thumbnails of a folder at the time of creation: checking each file is much slower."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thumbnails = _modification_times(folder / "thumbs" / "images")
        self._images = _modification_times(folder / "images") if self._thumbnails else {}

    def has(self, file: str) -> bool:
        """Return the result of `has_thumbnail` at that time."""
        parent, _, name = file.rpartition("/")
        if parent != "images":
            return has_thumbnail(self._folder, file)
        written = self._thumbnails.get(f"{name}.webp")
        return written is not None and written == self._images.get(name)


def _modification_times(folder: Path) -> dict[str, int]:
    """Return the modification times, in nanoseconds, of non-empty files; none if the folder cannot be listed."""
    try:
        with os.scandir(folder) as listing:
            stats = [(entry.name, entry.stat()) for entry in listing if entry.is_file()]
    except OSError:
        return {}
    return {name: stat.st_mtime_ns for name, stat in stats if stat.st_size}


def _thumbnail_path(folder: Path, file: str) -> Path:
    """Return the path of a thumbnail; keep in sync with contact_sheet.js."""
    return folder / "thumbs" / f"{file}.webp"


def _is_inside(file: str) -> bool:
    """Return whether this path is below its folder: a journal may have been edited manually."""
    path = PurePosixPath(file)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in file
