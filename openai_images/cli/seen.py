"""What a call has brought so far, as steps of its progress.

Rules: pure; one picture is told by its partial images, several by how many are finished. It refuses to guess how many
partial images will come: fewer than asked for is normal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from openai_images.cli.progress import Step

if TYPE_CHECKING:
    from openai_images import Image

__all__ = ["Seen"]

_MOST_DOTS = 40


@define
class Seen:
    """Of so many `pictures`, with up to `each` partial images each: how many of both have come, and their bytes."""

    pictures: int
    each: int
    partial: int = 0
    done: int = 0
    nbytes: int = 0

    @property
    def is_several(self) -> bool:
        """Whether pictures are counted."""
        return self.pictures > 1

    def step(self, stage: str) -> Step:
        """A step with the dots of what has come."""
        if not self.is_several:
            return Step(stage=stage, seen=self.partial, wanted=self.each, nbytes=self.nbytes)
        dots = self.pictures if self.pictures <= _MOST_DOTS else 0
        return Step(stage=stage, seen=min(self.done, dots), wanted=dots, nbytes=self.nbytes)

    def sending(self, stage: str, attempts: int) -> Step:
        """One more request goes out."""
        if attempts > 1:
            stage += f" ({attempts} requests sent)" if self.is_several else f" (attempt {attempts})"
        return self.step(stage)

    def partial_image(self, image: Image) -> Step:
        """A partial image has come."""
        self.partial += 1
        self.nbytes += image.nbytes
        return self.step(f"partial image {self.partial} of {self.each * self.pictures}")

    def completed(self, image: Image) -> Step | None:
        """A finished picture has come; of one alone that is the end, and told there."""
        self.done += 1
        self.nbytes += image.nbytes
        return self.step(f"picture {self.done} of {self.pictures}") if self.is_several else None

    def end(self, nbytes: int) -> Step:
        """All is here, so many bytes of finished pictures."""
        after = (
            f" after {self.partial} partial image{'s' if self.partial > 1 else ''}" if self.partial else ""
        )
        return Step(stage=f"done{after}", nbytes=nbytes, is_last=True)
