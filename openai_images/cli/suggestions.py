"""Suggests values: to a shell that completes them, and in the error for a misspelt command or choice.

Invariants: a shell gets models, sizes, qualities, formats, faults and paths, by the name of an option; sizes and
qualities are those of the model earlier in the command line; without completions the result is empty, never an error.
click's own suggestions (of other options; of commands since 8.4) are unchanged.
Must not: be imported before there is an error or a completion; read a key, or call a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from openai_images.cli.console import DEFAULT_MODEL

_FILES: Final = frozenset(
    {"file", "images", "input_image", "markup", "mask", "output", "prices", "prompt_file"}
)
_FOLDERS: Final = frozenset({"folders", "out"})
_CHOICES: Final = ("background", "input_fidelity", "moderation", "output_format", "quality")
_COMMON_SIZES: Final = ("1024x1024", "1536x1024", "1024x1536", "2048x2048", "3840x2160", "2160x3840")


def complete(name: str, params: Mapping[str, Any], incomplete: str) -> list[CompletionItem] | None:
    """Return the completions of the parameter `name`, given the other `params`; None if its type decides."""
    if name in _FILES or name in _FOLDERS:
        return [CompletionItem(incomplete, type="file" if name in _FILES else "dir")]
    values = _values(name, params)
    return None if values is None else [CompletionItem(v) for v in values if v.startswith(incomplete)]


def _values(name: str, params: Mapping[str, Any]) -> Iterable[str] | None:
    if name in ("faults", "always"):
        return _faults()
    if name not in ("model", "size", *_CHOICES):
        return None
    from openai_images import known_models

    specs, model = known_models(), params.get("model") or DEFAULT_MODEL
    if name == "model":
        today = datetime.now(UTC).date()
        return [spec.name for spec in specs if not spec.has_ended(today)]
    typed = [spec for spec in specs if model in (spec.name, *spec.snapshots)]
    if name == "size":
        return ("auto", *(typed[0].sizes if typed and typed[0].sizes else _COMMON_SIZES))
    # Those of any model if the typed one is unknown.
    return dict.fromkeys(value for spec in typed or specs for value in spec.values.get(name, ()))


def _faults() -> Iterable[str]:
    try:
        from openai_images.server import FAULTS
    except ModuleNotFoundError:  # the extra is not installed
        return ()
    return sorted(FAULTS)


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
