"""`--param KEY=VALUE`: parameters of the API without an option.

Invariants: a value is parsed as JSON if possible, otherwise it is text; a parameter that the client knows is checked,
other parameters go into the body unchanged; a parameter that has an option is rejected, and the error names the option.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from attrs import fields_dict

from openai_images import EditRequest

_SAME_NAME = ("background", "input_fidelity", "markup", "mask", "model", "moderation", "n", "partial_images")
OPTION_OF = {name: f"--{name.replace('_', '-')}" for name in (*_SAME_NAME, "quality", "size")} | {
    "frame_count": "--frames",
    "output_compression": "--compression",
    "output_format": "--format",
    "svg": "--svg-model",
}
"""The option of each parameter that has one; the attribute of the options has the parameter's name."""

_REJECTED = OPTION_OF | {
    "prompt": "PROMPT, or edit's --prompt",
    "image": "edit's IMAGE",
    "stream": "--partial-images N",
    "svg": "--svg-model (svg alone takes more: extra_body in Python)",
}
_NUMBERS = ("frame_duration_ms",)


def parse_parameters(texts: Sequence[str]) -> dict[str, Any]:
    """Return keywords for the client: its own parameters, and `extra_body` for others. Raises click.UsageError."""
    params: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    known = fields_dict(EditRequest).keys() - _REJECTED.keys() - {"extra_body", "as_json"}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise click.UsageError(f"--param {text!r} should look like seed=7, or style='\"vivid\"'.")
        name = name.strip()
        if name in _REJECTED:
            raise click.UsageError(f"--param {name}=…: use {_REJECTED[name]}.")
        if name in known:
            params[name] = _parse(value) if name in _NUMBERS else value
        else:
            extra[name] = _parse(value)
    return params | ({"extra_body": extra} if extra else {})


def _parse(text: str) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text
