"""The values that a shell completes, by the name of an option: models, sizes, qualities, formats, faults, paths.

Invariants: sizes and qualities are those of the model earlier in the command line; without completions the result is
empty, never an error. Imported only for completion.
Must not: read a key, or call a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

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
