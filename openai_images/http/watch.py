"""What a call tells whoever counts or keeps a journal: when it waits, when it is about to be sent, when it was refused.

Rules: a watcher is called in the task of the call; what it raises ends the call, and before the first byte that means
that nothing was sent. It refuses to decide anything: whether a call is sent again is `retry.decide`'s alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai_images.errors import ImagesError

__all__ = ["Watcher"]


class Watcher:
    """Does nothing; override what you need."""

    def waiting(self) -> None:
        """The call waits: for a slot, for a limit, or for its next attempt."""

    async def sending(self, attempt: int) -> None:
        """Attempt number `attempt` is ready: its first byte goes out when this returns."""

    async def refused(self, error: ImagesError) -> None:
        """The attempt provably did not run; the call may be sent again."""
