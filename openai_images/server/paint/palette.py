"""Colours that go together, chosen by hand; the prompt's hash picks one set.

Rules: every set reads from the top of a sky to the ground and holds one light and one accent. It refuses to invent
colours: random ones rarely please.
"""

from collections.abc import Mapping
from random import Random
from typing import Final

import attrs

from openai_images.server.paint.drawing import Colour, mix


@attrs.frozen
class Palette:
    """Seven colours of one mood."""

    high: Colour
    middle: Colour
    low: Colour
    light: Colour
    far: Colour
    near: Colour
    accent: Colour

    @property
    def sky(self) -> tuple[Colour, ...]:
        """From the top of the sky to the horizon."""
        return self.high, self.middle, self.low

    @property
    def night(self) -> tuple[Colour, ...]:
        """The same sky after dark."""
        dark = (9, 11, 28)
        return mix(self.high, dark, 0.84), mix(self.high, dark, 0.66), mix(self.middle, dark, 0.52)

    @property
    def petals(self) -> tuple[Colour, ...]:
        """From the edge of a flower to its heart."""
        return self.high, self.middle, self.accent, self.low, self.light


def _colour(text: str) -> Colour:
    return int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16)


def _palette(colours: str) -> Palette:
    return Palette(*(_colour(text) for text in colours.split()))


PALETTES: Final[Mapping[str, Palette]] = {
    "dawn": _palette("34497f 9a74a8 f6ad8c ffe6b8 8a78a8 1f2747 f2705f"),
    "lagoon": _palette("1b6175 56a3a9 cdeadb fff6da 5ea7ab 0c3540 f98f5c"),
    "rose": _palette("6a3f74 cf7a94 fbcbb0 fff1dc a9688a 38203f ffc65c"),
    "meadow": _palette("2f6f8f 86b9a6 f1edc4 fff9dc 86ad8a 1f4034 e8973a"),
    "ember": _palette("4a2040 ab4350 f48f50 ffdf99 8e465f 260f22 ffe2a0"),
    "glacier": _palette("23406f 6f9cc7 dcecf1 ffffff 8fb0cf 14233f f0936b"),
    "lavender": _palette("463d94 9a8adb f6d2e6 fff5e1 8d7fc0 221c4f ffad5e"),
    "citrus": _palette("1c7a6c 7cc09a fde7a4 fffce8 79ba97 0d4034 ee6b4a"),
    "sand": _palette("4d6f86 b9b8a4 f3dfbb fff7e2 b79f86 4a342c d4643f"),
    "plum": _palette("2c2a5c 70508f d98ca6 ffdcc2 6d5590 171536 f7a072"),
}

_MOODS: Final[Mapping[str, str]] = {
    "sunset": "ember",
    "sunrise": "dawn",
    "autumn": "ember",
    "desert": "sand",
    "winter": "glacier",
    "snow": "glacier",
    "ice": "glacier",
    "forest": "meadow",
    "spring": "meadow",
    "lemon": "citrus",
    "pink": "rose",
    "purple": "lavender",
    "tropical": "lagoon",
}


def choose_palette(rng: Random, words: frozenset[str]) -> Palette:
    """The palette of a mood word in the prompt, else one by chance."""
    chosen = rng.choice(sorted(PALETTES))
    for word, name in _MOODS.items():
        if word in words:
            chosen = name
            break
    return PALETTES[chosen]
