"""Which way a terminal can show pictures, from its environment.

Rules: pure; inside tmux and screen only half blocks, which are text; where no colours are known or wanted, nothing.
It refuses to query the terminal: one that does not answer would leave its question in the user's shell.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Way", "find_way"]


class Way(Enum):
    """How a picture reaches the screen."""

    KITTY = "the graphics protocol of kitty"
    ITERM2 = "the inline images of iTerm2"
    BLOCKS_24_BIT = "half blocks in 24-bit colours"
    BLOCKS_256 = "half blocks in 256 colours"


# https://sw.kovidgoyal.net/kitty/graphics-protocol/ and https://iterm2.com/documentation-images.html
_KITTY_TERMS = ("xterm-kitty", "xterm-ghostty")
_KITTY_PROGRAMS = ("ghostty",)
_ITERM2_PROGRAMS = ("iTerm.app", "WezTerm", "mintty")
_24_BIT_PROGRAMS = ("Hyper", "vscode")


def find_way(env: Mapping[str, str]) -> Way | None:
    """The best way that `env` promises, None for none."""
    term, program = env.get("TERM", ""), env.get("TERM_PROGRAM", "")
    inside = "TMUX" in env or "STY" in env or term.startswith(("tmux", "screen"))
    if term in ("", "dumb"):
        return None
    if not inside:
        if "KITTY_WINDOW_ID" in env or term in _KITTY_TERMS or program in _KITTY_PROGRAMS:
            return Way.KITTY
        if program in _ITERM2_PROGRAMS or env.get("LC_TERMINAL") == "iTerm2":
            return Way.ITERM2
    if env.get("NO_COLOR"):
        return None
    if env.get("COLORTERM", "").lower() in ("truecolor", "24bit") or term.endswith("-direct"):
        return Way.BLOCKS_24_BIT
    if program in _24_BIT_PROGRAMS and not inside:
        return Way.BLOCKS_24_BIT
    return Way.BLOCKS_256 if "256color" in term else None
