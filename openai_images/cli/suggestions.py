"""Adds the name that was probably meant to click's error for a misspelt command or choice, and how to write a prompt.

Invariants: click's own suggestions (of other options; of commands since 8.4) are unchanged.
Must not: be imported before there is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

import click

_QUOTE = (
    'Put a prompt of several words in quotation marks, after a command: openai-images generate "a red fox".'
)
_OPTION_HINTS = {
    ("generate", "--prompt"): f"The prompt is an argument. {_QUOTE}",
    ("batch", "--resume"): "Run the same command again: it resumes by itself.",
    ("batch", "--continue"): "Run the same command again: it resumes by itself.",
}
_QUOTED = re.compile(r"'([^']*)'")


def with_suggestion(error: click.ClickException) -> click.ClickException:
    """Return the error with the name that was probably meant, or unchanged if there is none."""
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        hint = _OPTION_HINTS.get((error.ctx.info_name or "", error.option_name))
        return error if hint is None else click.UsageError(f"{error.message} {hint}", error.ctx)
    message, typed = error.format_message(), _QUOTED.search(error.message)
    if isinstance(error, click.UsageError) and _is_prompt(error, "" if typed is None else typed[1]):
        return click.UsageError(f"{message.rstrip('.')}. {_QUOTE}", error.ctx)
    if typed is None or "Did you mean" in message or not isinstance(error, click.UsageError):
        return error
    for near in get_close_matches(typed[1].lower(), _names(error), n=1):
        return click.UsageError(f"{message} Did you mean {near!r}?", error.ctx)
    return error


def _is_prompt(error: click.UsageError, typed: str) -> bool:
    """Whether words of a prompt, or a prompt without a command, were taken for something else."""
    if error.ctx is None:
        return False
    arguments = [param.name for param in error.ctx.command.params if isinstance(param, click.Argument)]
    is_split = "extra argument" in error.message and "prompt" in arguments
    return is_split or (error.message.startswith("No such command") and " " in typed)


def _names(error: click.UsageError) -> Iterable[str]:
    if isinstance(error, click.BadParameter):
        kind = None if error.param is None else error.param.type
        return map(str, kind.choices) if isinstance(kind, click.Choice) else ()
    group = None if error.ctx is None else error.ctx.command
    if isinstance(group, click.Group) and error.message.startswith("No such command"):
        return group.commands
    return ()
