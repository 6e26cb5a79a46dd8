"""`Hinted`: a value that has a hint for each attribute of the official package's values that it does not have.

Invariants: an attribute that exists costs nothing more; a private name gets no hint.
Must not: have fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING


class Hinted:
    """The base class of such a value."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers report unknown attributes themselves

        def __getattr__(self, name: str) -> object:
            from openai_images.models.keyword_hints import unknown_attribute  # noqa: PLC0415

            raise AttributeError(unknown_attribute(type(self).__name__, name), name=name, obj=self)
