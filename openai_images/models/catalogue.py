"""What each model takes, today's and the retired ones: a dated table.

Rules: data only, and look-ups in it. A new model is a new row and nothing else. It refuses to judge a request: the
rules do that with this table. Sources: OpenAI's API reference and the official Python package 3.54 (November 2026).
The reference names only 2 and 2.5 where it tells of sizes, `xhigh` and `max`; 2.6 has them as well, as several who
tried it found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Final

from attrs import evolve, field, frozen

from openai_images.models.families import model_family
from openai_images.models.shown import names
from openai_images.models.tokens import qualities

__all__ = ["ANY_MODEL", "AS_OF", "MODELS", "Model", "find_model", "known_values", "live_models"]

AS_OF: Final = date(2026, 11, 22)
"""The day on which this table was true."""


@frozen(kw_only=True)
class Model:
    """One model: what it takes, and the day of its end where that is known.

    `values` has the known values of each parameter that has such; a parameter that is missing there is not taken.
    `sizes` are all it knows besides `auto`, and empty where any size within the rules will do. `unsure` are values
    on which the documents and the wire disagree. `prompt` is the longest prompt in characters, `pictures` the
    largest `n`.
    """

    name: str
    values: Mapping[str, tuple[str, ...]] = field(repr=names, hash=False)
    snapshots: tuple[str, ...] = ()
    ends: date | None = None
    sizes: tuple[str, ...] = ()
    unsure: frozenset[tuple[str, str]] = frozenset()
    prompt: int = 32_000
    pictures: int = 10
    streams: bool = True

    @property
    def retired(self) -> bool:
        """Whether it had ended when this table was made."""
        return self.ends is not None and self.ends <= AS_OF


_COMMON: Final = {
    "background": ("auto", "opaque", "transparent"),
    "moderation": ("auto", "low"),
    "output_format": ("png", "webp", "jpeg"),
}
_SINCE_2_6: Final = {
    "output_format": ("png", "webp", "jpeg", "gif", "svg"),
    "complexity": ("low", "medium", "high"),
}
_URL_OR_BASE64: Final = {"response_format": ("url", "b64_json")}
_SQUARE_AND_TWO_MORE: Final = ("1024x1024", "1536x1024", "1024x1536")
_END_OF_1_5: Final = date(2026, 12, 1)


def _gpt(name: str, more: Mapping[str, tuple[str, ...]] | None = None) -> Model:
    """A GPT image model with the parameters that all of them take, and `more`."""
    return Model(name=name, values={"quality": ("auto", *qualities(name)), **_COMMON, **(more or {})})


def _table() -> Iterable[Model]:
    for name in ("gpt-image-2.6-sunburst", "gpt-image-2.6-flare"):
        yield _gpt(name, _SINCE_2_6)
    for name in ("gpt-image-2.5-sunburst", "gpt-image-2.5-flare"):
        yield evolve(_gpt(name), snapshots=(f"{name}-2026-09-08",))
    # Documented as a preview, refused on the wire since October 2026.
    unsure = frozenset({("background", "transparent")})
    yield evolve(_gpt("gpt-image-2"), snapshots=("gpt-image-2-2026-04-21",), unsure=unsure)
    for name in ("gpt-image-1.5", "gpt-image-1-mini", "chatgpt-image-latest"):
        fidelity = {"input_fidelity": ("low",) if name.endswith("mini") else ("high", "low")}
        yield evolve(_gpt(name, fidelity), sizes=_SQUARE_AND_TWO_MORE, ends=_END_OF_1_5)
    yield evolve(_gpt("gpt-image-1"), sizes=_SQUARE_AND_TWO_MORE, ends=date(2026, 10, 23))
    yield Model(
        name="dall-e-3",
        values={"quality": ("auto", "standard", "hd"), "style": ("vivid", "natural"), **_URL_OR_BASE64},
        ends=date(2026, 5, 12),
        sizes=("1024x1024", "1792x1024", "1024x1792"),
        prompt=4000,
        pictures=1,
        streams=False,
    )
    yield Model(
        name="dall-e-2",
        values={"quality": ("auto", "standard"), **_URL_OR_BASE64},
        ends=date(2026, 5, 12),
        sizes=("256x256", "512x512", "1024x1024"),
        prompt=1000,
        streams=False,
    )


MODELS: Final[Mapping[str, Model]] = {model.name: model for model in _table()}
"""Every model this version knows, the newest first."""


def find_model(name: str) -> tuple[Model | None, bool]:
    """The row of a model, None where there is none, and whether the table knows this very name.

    A dated snapshot that is newer than the table has the row of its model, but not its name.
    """
    model = MODELS.get(model_family(name))
    return model, model is not None and name in (model.name, *model.snapshots)


def live_models(parameter: str | None = None) -> list[str]:
    """The names of the models that had not ended, or of those among them that take `parameter`."""
    return [
        model.name
        for model in MODELS.values()
        if not model.retired and (parameter is None or parameter in model.values)
    ]


def known_values(parameter: str, models: Iterable[Model] = MODELS.values()) -> tuple[str, ...]:
    """The values of `parameter` that any of `models` takes."""
    return tuple(dict.fromkeys(value for model in models for value in model.values.get(parameter, ())))


def _any() -> Model:
    live = [model for model in MODELS.values() if not model.retired]
    parameters = dict.fromkeys(parameter for model in live for parameter in model.values)
    return Model(name="any model", values={name: known_values(name, live) for name in parameters})


ANY_MODEL: Final = _any()
"""What at least one of the live models takes: all that can be said where the model is not known."""
