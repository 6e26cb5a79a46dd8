"""The context in which the rules check a request: its values, the model's row, and the certainty of a problem.

Invariants: pure; parameters in `extra_body` are not checked; a value of a wrong type is one problem, and no other rule
checks it.
Must not: show a prompt: a value is shown only if it is one short ASCII word, and not the prompt itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final, NamedTuple

from attrs import asdict

from openai_images._util.attrs import repr_keys
from openai_images._util.json import is_mapping
from openai_images.catalog.models import MODELS, ModelSpec, any_model, find_model, live_models
from openai_images.models.requests import GenerateRequest


class Problem(NamedTuple):
    """One problem of a request: the parameter, the message, and the accepted values.

    `certain`: the API certainly rejects it. Otherwise it is doubtful: a model or value that this version does not know,
    a server that is not OpenAI's, or contradictory documentation.
    """

    parameter: str
    message: str
    accepted: str
    certain: bool

    def __str__(self) -> str:
        return f"{self.parameter}: {self.message} (accepted: {self.accepted})"


class CheckContext(NamedTuple):
    """The values of a request, and the facts that are needed to check them.

    The rules skip `unjudgeable` parameters; `mistyped` are those of them that have a value of a wrong type. `model` is
    the row whose rules apply, None if none do; `exact_model`: it is the row of exactly the requested model. `certain`:
    the server certainly rejects a value that breaks a rule of all models. `split`: many images are split into several
    requests. `today` decides which models have ended, with `azure` by Azure's list.
    """

    values: Mapping[str, Any]
    unjudgeable: frozenset[str]
    mistyped: tuple[str, ...]
    model: ModelSpec | None
    exact_model: bool
    certain: bool
    official: bool
    split: bool
    today: date
    azure: bool

    def __repr__(self) -> str:
        return f"CheckContext(values={repr_keys(self.values)})"  # not the prompt

    def live(self, parameter: str | None = None) -> str:
        """Return the names of the live models, or of those that accept `parameter`."""
        return ", ".join(live_models(self.today, parameter, azure=self.azure))

    def takers(self, parameter: str, value: str) -> str:
        """Return the names of the live models that accept this value."""
        names = live_models(self.today, parameter, azure=self.azure)
        return ", ".join(name for name in names if value in MODELS[name].values[parameter])

    def get(self, parameter: str, default: Any = None) -> Any:
        """Return a parameter's value: `default` if it is not set, None if it cannot be checked."""
        return None if parameter in self.unjudgeable else self.values.get(parameter, default)

    def problem(self, parameter: str, message: str, accepted: str, *, certain: bool = True) -> Problem:
        """Return a problem; it is certain if `certain` and the rule applies to every model that may be meant."""
        return Problem(parameter, message, accepted, self.certain and certain)

    def display(self, value: object) -> str:
        """Return a value as text for a message."""
        if isinstance(value, str) and (not re.fullmatch(_WORD, value) or value == self.values.get("prompt")):
            return f"a text of {len(value):,} characters"
        if isinstance(value, int) and abs(value) >= _LARGE:
            return "a number that large" if value > 0 else "a number that small"
        return repr(value)


_WORD: Final = r"[A-Za-z0-9_.:/*+-]{0,40}"
_LARGE: Final = 10**12

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


def context_from(  # noqa: PLR0913  the facts of a server, and the day
    request: GenerateRequest, *, stream: bool, official: bool, split: bool, today: date, azure: bool = False
) -> CheckContext:
    """Return the context in which the rules check a request."""
    values = {name: value for name, value in asdict(request, recurse=False).items() if value is not None}
    values["stream"] = stream
    extra_body = values.get("extra_body")
    extra: Mapping[str, Any] = extra_body if is_mapping(extra_body) else {}
    mistyped = [
        name for name, value in values.items() if name not in extra and not _has_valid_type(name, value)
    ]
    unjudgeable = {*extra, *mistyped}
    name = None if "model" in unjudgeable else values.get("model")
    model, exact_model = (None, False) if name is None else find_model(name)
    if model is None and official and "model" not in extra:
        model = any_model(today)
    return CheckContext(
        values=values,
        unjudgeable=frozenset(unjudgeable),
        mistyped=tuple(mistyped),
        # The API accepts nothing for a retired model: one problem is enough.
        model=None if model is not None and official and model.has_ended(today) else model,
        exact_model=exact_model,
        certain=official and (exact_model or (name is None and "model" not in extra)),
        official=official,
        split=split,
        today=today,
        azure=azure,
    )


def wrong_types(context: CheckContext) -> Iterator[Problem]:
    """Yield the parameters with a value of a wrong type, which no server accepts."""
    for name in context.mistyped:
        type_name = type(context.values[name]).__name__
        yield Problem(name, f"it is of type {type_name}", _TYPES[name][1], certain=True)


def _has_valid_type(name: str, value: object) -> bool:
    """Return whether a value has its parameter's type; a bool is an int in Python, but not in JSON."""
    cls = _TYPES[name][0] if name in _TYPES else object
    return isinstance(value, cls) and not (cls is int and isinstance(value, bool))
