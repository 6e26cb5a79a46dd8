"""Pictures shown in the terminal, small, beside the text.

Rules: which way depends on the environment alone, the terminal is never asked; decoding and shrinking block and
belong in a thread; a picture that cannot be shown is not shown, and nothing else changes. It refuses to be needed:
results are files.
"""

from __future__ import annotations

from openai_images.cli.preview.detect import Way, find_way
from openai_images.cli.preview.draw import Drawing, Preview

__all__ = ["Drawing", "Preview", "Way", "find_way"]
