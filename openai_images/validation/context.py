"""A request as the rules see it: what can be judged of it, by whose rules, and how surely.

Rules: pure; what `extra_body` says is the caller's own business, so what it names counts as not to be judged, and so
does what is not of its type (that is told once). It refuses to show a prompt: values are shown only where they are
one short word of ASCII, and not the prompt itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

from attrs import asdict, field, frozen

from openai_images._util.attrs import repr_keys
from openai_images._util.json import is_mapping
from openai_images.catalog.models import ModelSpec, any_model, find_model, live_models
from openai_images.models.requests import GenerateRequest


@frozen
class Problem:
    """One thing that is wrong with a request: the parameter, what is wrong with it, and what would be accepted.

    `certain`: the API surely refuses it. Otherwise it is only doubtful: a model or a value that this version does not
    know, a server that is not OpenAI's, or something that is documented in two ways.
    """

    parameter: str
    message: str
    accepted: str
    certain: bool

    def __str__(self) -> str:
        """One line, without the prompt."""
        return f"{self.parameter}: {self.message} (accepted: {self.accepted})"


@frozen(kw_only=True)
class CheckContext:
    """What is asked, with what is needed to judge it.

    `hidden` is what cannot be judged, `mistyped` what of it is not of its type. `model` is the row whose rules hold,
    None where none do; `named`: it is the row of just the model that was asked for. `certain`: what breaks a rule of
    all models is surely refused. `split`: many pictures are shared out over several requests. `today` is the day by
    which the ends of models are judged, `azure` whether by Azure's list of them.
    """

    values: Mapping[str, Any] = field(repr=repr_keys)
    hidden: frozenset[str]
    mistyped: tuple[str, ...]
    model: ModelSpec | None
    named: bool
    certain: bool
    official: bool
    split: bool
    today: date
    azure: bool

    def live(self, parameter: str | None = None) -> str:
        """The names of the live models, or of those among them that take `parameter`."""
        return ", ".join(live_models(self.today, parameter, azure=self.azure))

    def get(self, parameter: str, default: Any = None) -> Any:
        """What a parameter is set to, `default` where it is not set, and None where it cannot be judged."""
        return None if parameter in self.hidden else self.values.get(parameter, default)

    def problem(self, parameter: str, message: str, accepted: str, *, sure: bool = True) -> Problem:
        """A broken rule, certain if `sure` and where all models share it."""
        return Problem(parameter, message, accepted, self.certain and sure)

    def display(self, value: object) -> str:
        """A value in a message."""
        if isinstance(value, str) and (not _WORD.fullmatch(value) or value == self.values.get("prompt")):
            return f"a text of {len(value):,} characters"
        if isinstance(value, int) and abs(value) >= _MANY:
            return "a number that large" if value > 0 else "a number that small"
        return repr(value)


_WORD: Final = re.compile(r"[A-Za-z0-9_.:/*+-]{0,40}")
_MANY: Final = 10**12

_TEXTS: Final = (
    *("prompt", "model", "size", "quality", "background", "output_format", "moderation", "complexity"),
    *("safety_identifier", "user", "response_format", "style", "input_fidelity"),
)
_NUMBERS: Final = ("n", "output_compression", "partial_images", "frame_count", "frame_duration_ms")
_TYPES: Final[Mapping[str, tuple[type, str]]] = {
    **dict.fromkeys(_TEXTS, (str, "text")),
    **dict.fromkeys(_NUMBERS, (int, "a whole number")),
    **dict.fromkeys(("svg", "extra_body"), (Mapping, "an object")),
}


def context_from(  # noqa: PLR0913  what a server is, and the day
    request: GenerateRequest, *, stream: bool, official: bool, split: bool, today: date, azure: bool = False
) -> CheckContext:
    """What a request asks, seen so."""
    values = {name: value for name, value in asdict(request, recurse=False).items() if value is not None}
    values["stream"] = stream
    given = values.get("extra_body")
    extra: Mapping[str, Any] = given if is_mapping(given) else {}
    mistyped = [name for name, value in values.items() if name not in extra and not _fits(name, value)]
    hidden = {*extra, *mistyped}
    name = None if "model" in hidden else values.get("model")
    model, named = (None, False) if name is None else find_model(name)
    if model is None and official and "model" not in extra:
        model = any_model(today)
    return CheckContext(
        values=values,
        hidden=frozenset(hidden),
        mistyped=tuple(mistyped),
        # The API takes nothing of a retired model's any more: one problem says it all.
        model=None if model is not None and official and model.has_ended(today) else model,
        named=named,
        certain=official and (named or (name is None and "model" not in extra)),
        official=official,
        split=split,
        today=today,
        azure=azure,
    )


def wrong_types(asked: CheckContext) -> Iterator[Problem]:
    """The parameters that are not of their type: no server was meant to get them so, whosever it is."""
    for name in asked.mistyped:
        kind = type(asked.values[name]).__name__
        yield Problem(name, f"it is of type {kind}", _TYPES[name][1], certain=True)


def _fits(name: str, value: object) -> bool:
    """Whether a value is of its parameter's type; a bool is an int in Python, not in JSON."""
    kind = _TYPES[name][0] if name in _TYPES else object
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))
