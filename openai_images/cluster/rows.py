"""`make_row`: the small row with the outcome of an item."""

from __future__ import annotations

from collections.abc import Sequence

from openai_images.batch.journal.journal import error_fields
from openai_images.batch.journal.journal_reader import JournalRow
from openai_images.cluster.job import ItemSpec, Row


def make_row(  # noqa: PLR0913  all but one have defaults
    item: ItemSpec,
    rows: Sequence[JournalRow] = (),
    error: Exception | None = None,
    *,
    is_taken: bool = False,
    stops: bool = False,
    message: str = "",
) -> Row:
    """Return the row of an item for which `rows` were written; without an `error`, the last row's is used."""
    last = rows[-1] if rows else {"state": "pending"}
    state = {"sent": "unknown", "refused": "pending"}.get(last["state"], last["state"])
    about = {} if error is None else error_fields(error)
    row = {"key": item.key, "id": item.id, "attempt": item.attempt, "state": state, "rows": list(rows)}
    if "record" in last:
        row["attempt"] = int(last["record"].rpartition(".")[2])
    kept = {name: value for name, value in {**last, **about}.items() if name in ("error", "message")}
    row |= {"message": message} if message else kept
    row |= {"taken": True} if is_taken else {}
    return row | ({"stops": True} if stops else {})
