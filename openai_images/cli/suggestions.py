"""What was probably meant by a misspelt command or choice, added to click's error.

Invariants: click's own suggestions (of options; of commands since 8.4) stay as they are.
Must not: be imported before there is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

import click

_QUOTED = re.compile(r"'([^']*)'")


def add_suggestion(error: click.ClickException) -> None:
    """Add the name that was probably meant to the message."""
    typed = _QUOTED.search(error.message)
    if typed is None or "Did you mean" in error.format_message():
        return
    for near in get_close_matches(typed[1].lower(), _names(error), n=1):
        error.message = f"{error.message} Did you mean {near!r}?"


def _names(error: click.ClickException) -> Iterable[str]:
    if isinstance(error, click.BadParameter):
        kind = None if error.param is None else error.param.type
        return map(str, kind.choices) if isinstance(kind, click.Choice) else ()
    context = error.ctx if isinstance(error, click.UsageError) else None
    group = None if context is None else context.command
    if isinstance(group, click.Group) and error.message.startswith("No such command"):
        return group.commands
    return ()
