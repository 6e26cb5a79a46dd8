"""The contact sheet of a batch, `index.html`: one HTML file that can show ten thousand images.

Invariants: the page's own policy forbids loading anything from a network; texts of entries are JSON that cannot end its
script element, and are never parsed as HTML; the file is written completely or not at all; without scripts the page is
a plain list.
Must not: present placeholder images as a model's (the caller passes a `note`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import quote

from openai_images._util.atomic_file import remove_parts, replace_file
from openai_images.batch.items.models import BatchOptions, BatchSummary, Thumbnail
from openai_images.batch.items.plan import BatchStatus
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.sheet.sheet_entries import (
    STATES,
    STOPPED,
    SheetEntry,
    SheetHeader,
    ThumbnailListing,
    make_thumbnails,
    sheet_entries,
)

_MAX_PROMPT: Final = 32_000
_MAX_PROMPT_OF_MANY: Final = 4_000
_MAX_PROMPTS: Final = 8_000_000
"""Characters of all prompts; with more, each prompt is truncated, so that a page can hold ten thousand."""

_MAX_REASON: Final = 1_000
_MAX_IN_LIST: Final = 200

_log = logging.getLogger("openai_images")


def write_page(
    root: Path,
    items: Collection[ResolvedItem],
    status: BatchStatus,
    summary: BatchSummary,
    options: BatchOptions,
) -> None:
    """Write `index.html`; log a page that cannot be written."""
    entries = sheet_entries(items, status, prompts=options.record_prompts)
    header = SheetHeader(
        title=root.name or "Batch",
        spent=summary.spent,
        unpriced=summary.unpriced,
        elapsed=summary.elapsed,
        stopped=summary.reason if summary.reason in STOPPED else "",
        note=options.note,
    )
    try:
        write_sheet(root, entries, header, thumbnail=options.thumbnail)
    except OSError as error:
        _log.warning("index.html could not be written to %s (%s)", root, error.strerror)


def write_sheet(
    folder: Path,
    entries: Iterable[SheetEntry],
    header: SheetHeader | None = None,
    *,
    thumbnail: Thumbnail | None = None,
) -> Path:
    """Write or replace `index.html` in `folder`, and return its path. Raises OSError.

    `thumbnail` makes missing thumbnails; existing ones are always used. Blocks.
    """
    entries = list(entries)
    if thumbnail is not None:
        make_thumbnails(folder, [file for entry in entries for file in entry.files], thumbnail)
    remove_parts(folder, "index.html")
    return replace_file(folder, "index.html", _render(folder, entries, header or SheetHeader()))


def _render(folder: Path, entries: Sequence[SheetEntry], header: SheetHeader) -> Iterator[str]:
    script = "".join(map(_resource, _SCRIPTS))
    rows = _Rows(folder, entries)
    slots: dict[str, Iterable[str]] = {
        "policy": [_policy(script)],
        "title": [escape(_valid_unicode(header.title))],
        "lead": [_lead(entries, header)],
        "notes": [
            f'<p class="note">{escape(note)}</p>'
            for note in (header.note, STOPPED.get(header.stopped))
            if note
        ],
        "states": _states(entries),
        "list": map(_list_item, entries),
        "axes": [escape(" ".join(rows.axes))],
        "cards": _join("[\n", map(rows.encode, entries), "\n]"),
        "script": [script],
    }
    for number, text in enumerate(re.split(r"<!--(\w+)-->", _resource("contact_sheet.html"))):
        if number % 2:
            yield from slots[text]
        else:
            yield text


_SCRIPTS = ("sheet_rows.js", "sheet_layout.js", "contact_sheet.js")


@cache
def _resource(name: str) -> str:
    return files("openai_images.batch.sheet").joinpath(name).read_text("utf-8")


def _policy(script: str) -> str:
    """Return the policy: the page may load its own script, and images from its folder."""
    digest = base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode()
    return (
        "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _lead(entries: Sequence[SheetEntry], header: SheetHeader) -> str:
    images = sum(len(entry.files) for entry in entries)
    groups = {entry.group for entry in entries if entry.group}
    prompts = len(groups) + sum(not entry.group for entry in entries)
    of = _plural(prompts, "prompt") + (f" ({_plural(len(entries), 'request')})" if groups else "")
    facts = [f"<b>{_plural(images, 'image')}</b> of {of}"]
    if header.spent is not None:
        facts.append(f"<b>{_usd(header.spent)}</b> spent")
    if header.unpriced:
        facts.append(f"{_plural(header.unpriced, 'result')} of unknown cost")
    if header.elapsed is not None:
        facts.append(_duration(header.elapsed))
    for name in ("model", "quality", "image_format"):  # values that all entries share
        values = {getattr(entry, name) for entry in entries} - {""}
        facts += [escape(_valid_unicode(value)) for value in values if len(values) == 1]
    return ", ".join(facts)


def _states(entries: Sequence[SheetEntry]) -> Iterator[str]:
    counts = Counter(entry.state for entry in entries)
    yield f'<a href="#">All <b>{len(entries):,}</b></a>'
    for state, name in STATES.items():
        if counts[state]:
            yield (
                f'<a href="#state={state}" data-state="{state}" class="{state}"><span class="dot"></span>'
                f"{name} <b>{counts[state]:,}</b></a>"
            )


class _Rows:
    """The rows that the script reads; `axes` are the parameters in which items of one prompt differ."""

    def __init__(self, folder: Path, entries: Sequence[SheetEntry]) -> None:
        self.axes = _axes(entries)
        self._thumbnails = ThumbnailListing(folder)
        characters = sum(len(entry.prompt) for entry in entries)
        self._longest = _MAX_PROMPT if characters <= _MAX_PROMPTS else _MAX_PROMPT_OF_MANY
        self._groups: set[int] = set()

    def encode(self, entry: SheetEntry) -> str:
        """Return a row without empty fields at its end; only the first row of a group has the prompt."""
        thumbs = sum(1 << index for index, file in enumerate(entry.files) if self._thumbnails.has(file))
        values = [_valid_unicode(str(entry.parameters.get(axis, ""))) for axis in self.axes]
        row = [
            _valid_unicode(entry.key),
            None if entry.group in self._groups else self._prompt(entry.prompt),
            _STATE_NUMBERS[entry.state],
            [_valid_unicode(file) for file in entry.files] or None,
            thumbs or None,
            entry.width or None,
            entry.height or None,
            _truncate(entry.reason, _MAX_REASON) or None,
            None if entry.cost is None else round(float(entry.cost), 8),
            None if entry.seconds is None else round(entry.seconds, 1),
            _valid_unicode(entry.model) or None,
            _valid_unicode(entry.quality) or None,
            _valid_unicode(entry.image_format) or None,
            entry.recorded_at[:19] or None,
            entry.group or None,
            values if entry.group and values else None,
            entry.sources or None,
        ]
        if entry.group:
            self._groups.add(entry.group)
        while row[-1] is None:
            row.pop()
        return _json(row)

    def _prompt(self, prompt: str) -> str | list[str | int]:
        """Return a prompt, or its beginning and the number of missing characters."""
        text = _valid_unicode(prompt)
        missing = len(text) - self._longest
        return [text[: self._longest], missing] if missing > 0 else text


def _axes(entries: Iterable[SheetEntry]) -> tuple[str, ...]:
    first: dict[int, SheetEntry] = {}
    axes: dict[str, None] = {}
    for entry in entries:
        other = first.setdefault(entry.group, entry) if entry.group else entry
        for name in (*other.parameters, *entry.parameters) if other is not entry else ():
            if other.parameters.get(name) != entry.parameters.get(name):
                axes[name] = None
    return tuple(axes)


_STATE_NUMBERS = {state: number for number, state in enumerate(STATES)}
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _json(value: object) -> str:
    """Encode JSON for a script element: `<` could end it, U+2028 and U+2029 break lines in old browsers."""
    text = _encode(value)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _list_item(entry: SheetEntry) -> str:
    """Return the list item of an entry, for browsers without scripts."""
    links = " ".join(
        f'<a href="{quote(_valid_unicode(file))}">{escape(_valid_unicode(file))}</a>' for file in entry.files
    )
    state = ""
    if entry.state != "done":
        state = f"<b>{STATES[entry.state]}</b> {escape(_truncate(entry.reason, _MAX_IN_LIST))} "
    return f"<li>{links} {state}<bdi>{escape(_truncate(entry.prompt, _MAX_IN_LIST))}</bdi></li>\n"


def _join(before: str, pieces: Iterable[str], after: str) -> Iterator[str]:
    yield before
    for number, piece in enumerate(pieces):
        yield f",\n{piece}" if number else piece
    yield after


def _truncate(text: str, length: int) -> str:
    text = _valid_unicode(text)
    if len(text) <= length:
        return text
    return f"{text[:length]}\N{HORIZONTAL ELLIPSIS} ({len(text) - length:,} more characters)"


def _valid_unicode(text: str) -> str:
    """Replace lone surrogates, which cannot be encoded."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _usd(amount: Decimal) -> str:
    """Format dollars with two decimals, below a dollar with four."""
    return f"${amount.quantize(Decimal('0.01' if amount >= 1 else '0.0001'), ROUND_HALF_UP):,}"


def _duration(seconds: float) -> str:
    """Format a duration in seconds, in minutes from two minutes, or in hours and minutes."""
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
