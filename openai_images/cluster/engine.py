"""What an engine does for a batch: it runs chunks of items on its workers, and gives the rows as they come.

Must not: carry correctness; whatever an engine runs twice, the claims in storage keep it from being paid for twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from openai_images.cluster.job import ItemSpec, Job, Row


class Engine(Protocol):
    """Runs `run_items` elsewhere; `slots` is how many items it takes at once."""

    @property
    def slots(self) -> int:
        """How many items may be handed out at once."""
        ...

    def run(self, job: Job, chunks: AsyncIterator[Sequence[ItemSpec]]) -> AsyncIterator[Row]:
        """A row for each item, in any order. Raises where the engine is lost."""
        ...
