"""Adds the name that was probably meant to click's error for a misspelt command or choice.

Invariants: click's own suggestions (of options; of commands since 8.4) are unchanged.
Must not: be imported before there is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

import click

_QUOTED = re.compile(r"'([^']*)'")


def with_suggestion(error: click.ClickException) -> click.ClickException:
    """Return the error with the name that was probably meant, or unchanged if there is none."""
    message, typed = error.format_message(), _QUOTED.search(error.message)
    if typed is None or "Did you mean" in message or not isinstance(error, click.UsageError):
        return error
    for near in get_close_matches(typed[1].lower(), _names(error), n=1):
        return click.UsageError(f"{message} Did you mean {near!r}?", error.ctx)
    return error


def _names(error: click.UsageError) -> Iterable[str]:
    if isinstance(error, click.BadParameter):
        kind = None if error.param is None else error.param.type
        return map(str, kind.choices) if isinstance(kind, click.Choice) else ()
    group = None if error.ctx is None else error.ctx.command
    if isinstance(group, click.Group) and error.message.startswith("No such command"):
        return group.commands
    return ()
