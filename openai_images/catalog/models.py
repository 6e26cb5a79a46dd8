"""A dated table of the values that each AI model accepts, and of the output tokens of an image.

Invariants: data and look-ups only; a new model needs only a new row; the caller's date, not the table's, decides which
models are live. Token counts are None, never a guess, if none are published, and the upper end of a published range.
Sources: OpenAI's API reference and the official Python package 3.54 (November 2026).
Must not: check a request (`validation/` does).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from attrs import evolve, field, frozen

from openai_images._util.attrs import repr_keys

_SNAPSHOT: Final = r"-[0-9]{4}-[0-9]{2}-[0-9]{2}"  # patterns are compiled at their first use


def model_family(model: str) -> str:
    """Return `gpt-image-2` for `gpt-image-2-2026-04-21`; a name without a date unchanged."""
    return model[:-11] if re.fullmatch(_SNAPSHOT, model[-11:]) else model


# Models before gpt-image-2: OpenAI's fixed table.
_FIXED: Final[Mapping[str, Mapping[str, int]]] = {
    "1024x1024": {"low": 272, "medium": 1056, "high": 4160},
    "1024x1536": {"low": 408, "medium": 1584, "high": 6240},
    "1536x1024": {"low": 400, "medium": 1568, "high": 6208},
}
_FIXED_SIZE_MODELS: Final = ("gpt-image-1.5", "chatgpt-image-latest", "gpt-image-1-mini", "gpt-image-1")

# Patches along the longer side, and a factor for the formula of OpenAI's calculator (October 2026), which gives the
# tokens measured on the wire for gpt-image-2 and 2.5. Of gpt-image-2.6 it is only known that `low` and `medium` take
# three to four times the tokens of 2.5 (four are assumed here); the other qualities take the same as in 2.5.
_2: Final = {"low": (16, 1), "medium": (48, 1), "high": (96, 1)}
_2_5: Final = {"low": (16, 1), "medium": (24, 1), "high": (48, 1), "xhigh": (64, 1), "max": (96, 1)}
_2_6: Final = {**_2_5, "low": (16, 4), "medium": (24, 4)}
_LADDERS: Final[Mapping[str, Mapping[str, tuple[int, int]]]] = {
    "gpt-image-2": _2,
    "gpt-image-2.5-sunburst": _2_5,
    "gpt-image-2.5-flare": _2_5,
    "gpt-image-2.6-sunburst": _2_6,
    "gpt-image-2.6-flare": _2_6,
}

_SIZE: Final = r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})"
LONGEST_EDGE: Final = 3840
FEWEST_PIXELS, MOST_PIXELS = 655_360, 8_294_400


def qualities(model: str) -> tuple[str, ...]:
    """Return the model's qualities, from the cheapest to the most expensive; none for an unknown model."""
    family = model_family(model)
    if family in _LADDERS:
        return tuple(_LADDERS[family])
    return ("low", "medium", "high") if family in _FIXED_SIZE_MODELS else ()


def most_expensive_size(model: str) -> str:
    """Return the size that takes the most tokens of all sizes of a model, at any quality.

    Since gpt-image-2 an image takes `G * round(G * short / long) * (2,000,000 + pixels) / 4,000,000` tokens, so a
    square image of the maximum number of pixels takes the most: 2880x2880 (8,294,400 pixels). This also bounds the
    sizes that `auto` may choose, which need not be multiples of 16.
    """
    return "2880x2880" if model_family(model) in _LADDERS else "1024x1536"


def cheapest_size(model: str) -> str:
    """Return the size with the fewest tokens among the sizes that `auto` is known to choose, at any quality."""
    return "1024x1536" if model_family(model) in _LADDERS else "1024x1024"


def output_tokens(model: str | None, size: str | None, quality: str | None) -> int | None:
    """Return the output tokens of one image of `size` ("WIDTHxHEIGHT" in pixels); None if they are not published.

    `auto` is neither a size nor a quality here. Sizes that only `auto` chooses, such as 1254x1254, are accepted.
    """
    if model is None or size is None or quality is None:
        return None
    family = model_family(model)
    if family in _FIXED_SIZE_MODELS:
        return _FIXED.get(size, {}).get(quality)
    patches, factor = _LADDERS.get(family, {}).get(quality, (0, 0))
    match = re.fullmatch(_SIZE, size)
    if not patches or match is None:
        return None
    short, long = sorted((int(match[1]), int(match[2])))
    if long > min(LONGEST_EDGE, 3 * short) or not FEWEST_PIXELS <= short * long <= MOST_PIXELS:
        return None
    # Half a patch rounds to the even neighbor, half a token up.
    tokens = -(-patches * round(patches * short / long) * (2_000_000 + short * long) // 4_000_000)
    return factor * tokens


AS_OF: Final = date(2026, 11, 28)
"""The date of this table; it does not decide which models have ended."""

ANY_MODEL: Final = "any model"
"""The name of the row that `any_model` returns."""

EXAMPLE_MODEL: Final = "gpt-image-2"
"""The model that messages suggest when none was named."""

REPLACEMENTS: Final = ("gpt-image-2.6-sunburst", "gpt-image-2.6-flare")
"""OpenAI's recommended replacements of the models that end in December 2026."""

MAX_IMAGES_PER_CALL: Final = 1_000
"""The largest `n` of one call that is split: more is probably a mistake, or a case for `generate_many`."""

_NOTICE: Final = timedelta(days=30)


class SizeRules(NamedTuple):
    """The rules that every size must keep: both edges are multiples of `step`, and the limits below."""

    step: int
    min_pixels: int
    """Minimum number of pixels, width times height."""
    max_pixels: int
    """Maximum number of pixels."""
    max_edge: int
    """Maximum length of an edge in pixels."""
    max_ratio: int
    """Maximum ratio of the longer edge to the shorter one."""


SIZE_RULES: Final = SizeRules(16, FEWEST_PIXELS, MOST_PIXELS, LONGEST_EDGE, 3)


@frozen(kw_only=True)
class ModelSpec:
    """The values that one model accepts, and the dates of its end at OpenAI and at Azure, if known.

    `values` has the known values of each parameter with a fixed list; a parameter missing there is not accepted.
    `sizes` are all its sizes besides `auto`, empty if any size within the rules is accepted. `unsure` are values on
    which the documentation and the API disagree. `prompt` is the longest prompt in characters, `max_images` the largest
    `n`. `replacements` are the models that OpenAI names for one that ends.
    """

    name: str
    """The name to pass as `model`."""
    values: Mapping[str, tuple[str, ...]] = field(repr=repr_keys, hash=False)
    snapshots: tuple[str, ...] = ()
    """Dated names of the same model."""
    ends: date | None = None
    """The first day without it at OpenAI, None if unknown."""
    azure_ends: date | None = None
    """The first day without it at Azure, None if it is the same day as at OpenAI."""
    sizes: tuple[str, ...] = ()
    unsure: frozenset[tuple[str, str]] = frozenset()
    prompt: int = 32_000
    max_images: int = 10
    streams: bool = True
    """Whether its responses can be streamed."""
    edits: bool = True
    """Whether it edits images."""
    replacements: tuple[str, ...] = ()

    @property
    def size_rules(self) -> SizeRules | None:
        """The rules for any size; None if only `sizes` are accepted."""
        return None if self.sizes else SIZE_RULES

    def end(self, *, azure: bool = False) -> tuple[str, date | None]:
        """Return who ends the model (OpenAI, or Azure if `azure` and its day is known), and the day if known."""
        return ("Azure", self.azure_ends) if azure and self.azure_ends else ("OpenAI", self.ends)

    def has_ended(self, today: date, *, azure: bool = False) -> bool:
        """Return whether the model has ended on this day; the day of its end is the first without it.

        `today` is a day in UTC; `azure=True` uses Azure's dates where they are known.
        """
        _, end = self.end(azure=azure)
        return end is not None and end <= today

    def ends_soon(self, today: date, *, azure: bool = False) -> bool:
        """Return whether the model is live on this day, but will not be in 30 days.

        `today` is a day in UTC; `azure=True` uses Azure's dates where they are known.
        """
        return not self.has_ended(today, azure=azure) and self.has_ended(today + _NOTICE, azure=azure)


_COMMON: Final = {
    "background": ("auto", "opaque", "transparent"),
    "moderation": ("auto", "low"),
    "output_format": ("png", "webp", "jpeg"),
}
# The API reference names only 2 and 2.5 for sizes, `xhigh` and `max`; several third parties used them with 2.6.
_SINCE_2_6: Final = {
    "output_format": ("png", "webp", "jpeg", "gif", "svg"),
    "complexity": ("low", "medium", "high"),
}
_URL_OR_BASE64: Final = {"response_format": ("url", "b64_json")}
_SQUARE_AND_TWO_MORE: Final = ("1024x1024", "1536x1024", "1024x1536")
_END_OF_1_5: Final = date(2026, 12, 1)


def _gpt(name: str, extra_values: Mapping[str, tuple[str, ...]] | None = None) -> ModelSpec:
    """Return a GPT image model with the parameters that all of them have, and `extra_values`."""
    return ModelSpec(
        name=name, values={"quality": ("auto", *qualities(name)), **_COMMON, **(extra_values or {})}
    )


def _table() -> Iterable[ModelSpec]:
    for name in ("gpt-image-2.6-sunburst", "gpt-image-2.6-flare"):
        yield _gpt(name, _SINCE_2_6)
    for name in ("gpt-image-2.5-sunburst", "gpt-image-2.5-flare"):
        yield evolve(_gpt(name), snapshots=(f"{name}-2026-09-08",))
    # Documented as a preview, rejected by the API since October 2026.
    unsure = frozenset({("background", "transparent")})
    yield evolve(_gpt("gpt-image-2"), snapshots=("gpt-image-2-2026-04-21",), unsure=unsure)
    fidelity = {"input_fidelity": ("high", "low")}
    yield evolve(
        _gpt("gpt-image-1.5", fidelity),
        snapshots=("gpt-image-1.5-2025-12-16",),
        sizes=_SQUARE_AND_TWO_MORE,
        ends=_END_OF_1_5,
        azure_ends=date(2026, 12, 16),
        replacements=REPLACEMENTS,
    )
    for name in ("gpt-image-1-mini", "chatgpt-image-latest"):
        fidelity_values = {"input_fidelity": ("low",)} if name.endswith("mini") else fidelity
        yield evolve(
            _gpt(name, fidelity_values),
            sizes=_SQUARE_AND_TWO_MORE,
            ends=_END_OF_1_5,
            replacements=REPLACEMENTS,
        )
    yield evolve(_gpt("gpt-image-1"), sizes=_SQUARE_AND_TWO_MORE, ends=date(2026, 10, 23))
    yield ModelSpec(
        name="dall-e-3",
        values={"quality": ("auto", "standard", "hd"), "style": ("vivid", "natural"), **_URL_OR_BASE64},
        ends=date(2026, 5, 12),
        sizes=("1024x1024", "1792x1024", "1024x1792"),
        prompt=4000,
        max_images=1,
        streams=False,
        edits=False,
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
"""All known models, the newest first."""


def known_models() -> tuple[ModelSpec, ...]:
    """Return all models of the package's dated table, the newest first, also those that have ended."""
    return tuple(MODELS.values())


def find_model(name: str) -> tuple[ModelSpec | None, bool]:
    """Return a model's row (None without one), and whether the table has exactly this name.

    A dated snapshot newer than the table has the row of its model, but not its own name.
    """
    model = MODELS.get(model_family(name))
    return model, model is not None and name in (model.name, *model.snapshots)


def utc_date(wall: float) -> date:
    """Return the day, in UTC, of a Unix time in seconds."""
    return datetime.fromtimestamp(wall, UTC).date()


def live_models(today: date, parameter: str | None = None, *, azure: bool = False) -> list[str]:
    """Return the names of the models that have not ended on this day, or of those that accept `parameter`."""
    return [
        model.name
        for model in MODELS.values()
        if not model.has_ended(today, azure=azure) and (parameter is None or parameter in model.values)
    ]


def known_values(parameter: str, models: Iterable[ModelSpec] = MODELS.values()) -> tuple[str, ...]:
    """Return the values of `parameter` that any of `models` accepts."""
    return tuple(dict.fromkeys(value for model in models for value in model.values.get(parameter, ())))


def any_model(today: date) -> ModelSpec:
    """Return what at least one live model accepts: the most that can be checked without a model's name."""
    live = [MODELS[name] for name in live_models(today)]
    parameters = dict.fromkeys(parameter for model in live for parameter in model.values)
    return ModelSpec(name=ANY_MODEL, values={name: known_values(name, live) for name in parameters})
