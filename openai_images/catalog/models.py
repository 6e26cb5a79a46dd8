"""What each model takes, today's and the retired ones: a dated table.

Rules: data only, and look-ups in it. A new model is a new row and nothing else. Which models are live is judged by the
day that the caller gives, never by the day of the table. It refuses to judge a request: the rules do that with this
table. Sources: OpenAI's API reference and the official Python package 3.54 (November 2026).
The reference names only 2 and 2.5 where it tells of sizes, `xhigh` and `max`; 2.6 has them as well, as several who
tried it found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

from attrs import evolve, field, frozen

from openai_images._util.attrs import repr_keys
from openai_images.catalog.tokens import model_family, qualities

AS_OF: Final = date(2026, 11, 28)
"""The day on which this table was true; no end is judged by it."""

ANY_MODEL: Final = "any model"
"""The name of the row that `any_model` gives."""

REPLACEMENTS: Final = ("gpt-image-2.6-sunburst", "gpt-image-2.6-flare")
"""What OpenAI recommends in place of the models that end in December 2026."""

MAX_IMAGES_PER_CALL: Final = 1_000
"""`n` of one call, which is split into several requests: more is probably a mistake, or a case for `generate_many`."""

_NOTICE: Final = timedelta(days=30)


@frozen(kw_only=True)
class ModelSpec:
    """One model: what it takes, and the day of its end where that is known, at OpenAI and at Azure.

    `values` has the known values of each parameter that has such; a parameter that is missing there is not taken.
    `sizes` are all it knows besides `auto`, and empty where any size within the rules will do. `unsure` are values
    on which the documents and the wire disagree. `prompt` is the longest prompt in characters, `pictures` the
    largest `n`.
    """

    name: str
    values: Mapping[str, tuple[str, ...]] = field(repr=repr_keys, hash=False)
    snapshots: tuple[str, ...] = ()
    ends: date | None = None
    azure_ends: date | None = None
    sizes: tuple[str, ...] = ()
    unsure: frozenset[tuple[str, str]] = frozenset()
    prompt: int = 32_000
    max_images: int = 10
    streams: bool = True

    def end(self, *, azure: bool = False) -> tuple[str, date | None]:
        """Who ends it, and on which day: OpenAI, or with `azure` Azure, where that day is known."""
        return ("Azure", self.azure_ends) if azure and self.azure_ends else ("OpenAI", self.ends)

    def has_ended(self, today: date, *, azure: bool = False) -> bool:
        """Whether it is gone on this day; the day of its end is the first without it."""
        _, end = self.end(azure=azure)
        return end is not None and end <= today

    def ends_soon(self, today: date, *, azure: bool = False) -> bool:
        """Whether it is still there on this day, but not in 30 days."""
        return not self.has_ended(today, azure=azure) and self.has_ended(today + _NOTICE, azure=azure)


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


def _gpt(name: str, more: Mapping[str, tuple[str, ...]] | None = None) -> ModelSpec:
    """A GPT image model with the parameters that all of them take, and `more`."""
    return ModelSpec(name=name, values={"quality": ("auto", *qualities(name)), **_COMMON, **(more or {})})


def _table() -> Iterable[ModelSpec]:
    for name in ("gpt-image-2.6-sunburst", "gpt-image-2.6-flare"):
        yield _gpt(name, _SINCE_2_6)
    for name in ("gpt-image-2.5-sunburst", "gpt-image-2.5-flare"):
        yield evolve(_gpt(name), snapshots=(f"{name}-2026-09-08",))
    # Documented as a preview, refused on the wire since October 2026.
    unsure = frozenset({("background", "transparent")})
    yield evolve(_gpt("gpt-image-2"), snapshots=("gpt-image-2-2026-04-21",), unsure=unsure)
    fidelity = {"input_fidelity": ("high", "low")}
    yield evolve(
        _gpt("gpt-image-1.5", fidelity),
        snapshots=("gpt-image-1.5-2025-12-16",),
        sizes=_SQUARE_AND_TWO_MORE,
        ends=_END_OF_1_5,
        azure_ends=date(2026, 12, 16),
    )
    for name in ("gpt-image-1-mini", "chatgpt-image-latest"):
        taken = {"input_fidelity": ("low",)} if name.endswith("mini") else fidelity
        yield evolve(_gpt(name, taken), sizes=_SQUARE_AND_TWO_MORE, ends=_END_OF_1_5)
    yield evolve(_gpt("gpt-image-1"), sizes=_SQUARE_AND_TWO_MORE, ends=date(2026, 10, 23))
    yield ModelSpec(
        name="dall-e-3",
        values={"quality": ("auto", "standard", "hd"), "style": ("vivid", "natural"), **_URL_OR_BASE64},
        ends=date(2026, 5, 12),
        sizes=("1024x1024", "1792x1024", "1024x1792"),
        prompt=4000,
        max_images=1,
        streams=False,
    )
    yield ModelSpec(
        name="dall-e-2",
        values={"quality": ("auto", "standard"), **_URL_OR_BASE64},
        ends=date(2026, 5, 12),
        sizes=("256x256", "512x512", "1024x1024"),
        prompt=1000,
        streams=False,
    )


MODELS: Final[Mapping[str, ModelSpec]] = {model.name: model for model in _table()}
"""Every model this version knows, the newest first."""


def find_model(name: str) -> tuple[ModelSpec | None, bool]:
    """The row of a model, None where there is none, and whether the table knows this very name.

    A dated snapshot that is newer than the table has the row of its model, but not its name.
    """
    model = MODELS.get(model_family(name))
    return model, model is not None and name in (model.name, *model.snapshots)


def utc_date(wall: float) -> date:
    """The day, in UTC, of a moment in seconds since 1970."""
    return datetime.fromtimestamp(wall, UTC).date()


def live_models(today: date, parameter: str | None = None, *, azure: bool = False) -> list[str]:
    """The names of the models that have not ended on this day, or of those among them that take `parameter`."""
    return [
        model.name
        for model in MODELS.values()
        if not model.has_ended(today, azure=azure) and (parameter is None or parameter in model.values)
    ]


def known_values(parameter: str, models: Iterable[ModelSpec] = MODELS.values()) -> tuple[str, ...]:
    """The values of `parameter` that any of `models` takes."""
    return tuple(dict.fromkeys(value for model in models for value in model.values.get(parameter, ())))


def any_model(today: date) -> ModelSpec:
    """What at least one of the models that are live on this day takes: all that can be said where none is named."""
    live = [MODELS[name] for name in live_models(today)]
    parameters = dict.fromkeys(parameter for model in live for parameter in model.values)
    return ModelSpec(name=ANY_MODEL, values={name: known_values(name, live) for name in parameters})
