"""What the command line asks for where nobody says otherwise. Imported with `--help`: constants only."""

from __future__ import annotations

from typing import Final

__all__ = ["DEFAULT_MODEL"]

DEFAULT_MODEL: Final = "gpt-image-2"
"""Sent by every command; a client from Python sends none by itself."""
