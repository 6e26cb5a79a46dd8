"""What comes back: results and their usage.

Rules: frozen values; everything but the pictures may be missing (None); fields of the answer that are not known here
are kept in `extra`, and so are known ones with a value of a strange type. A missing usage is None, never zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from openai_images.models.shown import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.models.image import Image

__all__ = ["ImageResult", "SvgUsage", "TokenDetails", "Usage"]


@frozen
class TokenDetails:
    """Tokens by kind."""

    image_tokens: int | None = None
    text_tokens: int | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=names)


@frozen
class Usage:
    """Tokens as the server counted them; streams come without `output_tokens_details` (seen on the wire in 2026)."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: TokenDetails | None = None
    output_tokens_details: TokenDetails | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=names)


@frozen
class SvgUsage:
    """Tokens of the model that wrote an SVG, counted apart."""

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=names)


@frozen
class ImageResult:
    """A finished call: at least one picture, and what the server said about them.

    `created` is in Unix seconds; `size` and `quality` are what the server resolved `auto` to; `request_id` is the
    server's name for the request; `attempts` counts the requests made, `elapsed` the seconds, waits included.
    """

    images: tuple[Image, ...]
    created: int | None = None
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None
    usage: Usage | None = None
    svg_usage: SvgUsage | None = None
    safety_identifier: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=names)
    request_id: str | None = None
    attempts: int = 1
    elapsed: float = 0.0

    @property
    def image(self) -> Image:
        """The first picture; there always is one."""
        return self.images[0]
