"""Suggests values: to a shell that completes them, and in the error for a misspelt command or choice.

Invariants: a shell gets models, sizes, qualities, formats, faults and paths, by the name of an option; sizes and
qualities are those of the model earlier in the command line; without completions the result is empty, never an error.
click's own suggestions (of options; of commands since 8.4) are unchanged.
Must not: be imported before there is an error or a completion; read a key, or call a server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from openai_images.cli.console import DEFAULT_MODEL

_FILES: Final = frozenset(
    {"file", "images", "input_image", "markup", "mask", "output", "prices", "prompt_file"}
)
_FOLDERS: Final = frozenset({"folders", "out"})
_COMMON_SIZES: Final = ("1024x1024", "1536x1024", "1024x1536", "2048x2048", "3840x2160", "2160x3840")


def complete(name: str, params: Mapping[str, Any], incomplete: str) -> list[CompletionItem] | None:
    """Return the completions of the parameter `name`, given the other `params`; None if its type decides."""
    if name in _FILES or name in _FOLDERS:
        return [CompletionItem(incomplete, type="file" if name in _FILES else "dir")]
    find = _VALUES.get(name)
    return None if find is None else [CompletionItem(v) for v in find(params) if v.startswith(incomplete)]


def _models(_: Mapping[str, Any]) -> Iterable[str]:
    from datetime import UTC, datetime

    from openai_images import known_models

    today = datetime.now(UTC).date()
    return [spec.name for spec in known_models() if not spec.has_ended(today)]


def _sizes(params: Mapping[str, Any]) -> Iterable[str]:
    spec = _spec(params)
    return ("auto", *((spec and spec.sizes) or _COMMON_SIZES))


def _values(parameter: str) -> Callable[[Mapping[str, Any]], Iterable[str]]:
    """Return a function for the values of a parameter: those of the typed model, of any model if it is unknown."""

    def find(params: Mapping[str, Any]) -> Iterable[str]:
        from openai_images import known_models

        spec = _spec(params)
        specs = known_models() if spec is None else (spec,)
        return dict.fromkeys(value for each in specs for value in each.values.get(parameter, ()))

    return find


def _spec(params: Mapping[str, Any]) -> Any:
    from openai_images import known_models

    name = params.get("model") or DEFAULT_MODEL
    return next((spec for spec in known_models() if name in (spec.name, *spec.snapshots)), None)


def _faults(_: Mapping[str, Any]) -> Iterable[str]:
    try:
        from openai_images.server import FAULTS
    except ModuleNotFoundError:  # the extra is not installed
        return ()
    return sorted(FAULTS)


_VALUES: Final[Mapping[str, Callable[[Mapping[str, Any]], Iterable[str]]]] = {
    "model": _models,
    "size": _sizes,
    "quality": _values("quality"),
    "background": _values("background"),
    "moderation": _values("moderation"),
    "output_format": _values("output_format"),
    "complexity": _values("complexity"),
    "input_fidelity": _values("input_fidelity"),
    "faults": _faults,
    "always": _faults,
}


_QUOTE = (
    'Put a prompt of several words in quotation marks, after a command: openai-images generate "a red fox".'
)
_QUOTED = re.compile(r"'([^']*)'")


def with_suggestion(error: click.ClickException) -> click.ClickException:
    """Return the error with the name that was probably meant, or unchanged if there is none."""
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
