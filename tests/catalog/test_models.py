"""The table of models: its facts, and that it says the same as every other table of the package."""

from datetime import UTC, date, datetime, timedelta
from typing import get_args

import attrs
import pytest

from openai_images import GenerateParams
from openai_images.catalog.models import (
    ANY_MODEL,
    AS_OF,
    MODELS,
    REPLACEMENTS,
    ModelSpec,
    any_model,
    find_model,
    known_values,
    live_models,
    qualities,
    utc_date,
)
from openai_images.catalog.prices import PUBLISHED_PRICES
from openai_images.models.requests import EditParams, Model as ModelHint
from openai_images.server.protocol.catalog import FIXED_SIZES, MODELS as SERVED, served_models
from tests.validation.test_validator import DAYS

TODAY = date(2026, 11, 28)

# name: generation | qualities | any size | svg, gif, complexity | the day of its end
TABLE = """
gpt-image-2.6-sunburst | auto low medium high xhigh max | yes | yes | -
gpt-image-2.6-flare    | auto low medium high xhigh max | yes | yes | -
gpt-image-2.5-sunburst | auto low medium high xhigh max | yes | no  | -
gpt-image-2.5-flare    | auto low medium high xhigh max | yes | no  | -
gpt-image-2            | auto low medium high           | yes | no  | -
gpt-image-1.5          | auto low medium high           | no  | no  | 2026-12-01
gpt-image-1-mini       | auto low medium high           | no  | no  | 2026-12-01
chatgpt-image-latest   | auto low medium high           | no  | no  | 2026-12-01
gpt-image-1            | auto low medium high           | no  | no  | 2026-10-23
dall-e-3               | auto standard hd               | no  | no  | 2026-05-12
dall-e-2               | auto standard                  | no  | no  | 2026-05-12
"""
ROWS = [[cell.strip() for cell in line.split("|")] for line in TABLE.splitlines() if line]
ENDS = {row[0]: None if row[4] == "-" else date.fromisoformat(row[4]) for row in ROWS}


def live_on(day: date) -> list[str]:
    """Those of the table above that are there on a day."""
    return [name for name, ends in ENDS.items() if ends is None or day < ends]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row(row: list[str]) -> None:
    """What each model takes, and when it ends."""
    name, levels, any_size, animated, _ = row
    model = MODELS[name]
    assert model.name == name
    assert model.values["quality"] == tuple(levels.split())
    assert (not model.sizes) == (any_size == "yes")
    formats = model.values.get("output_format", ())
    assert ({"gif", "svg"} <= {*formats}) == ("complexity" in model.values) == (animated == "yes")
    assert model.ends == ENDS[name]
    assert (model.azure_ends is None) == (name != "gpt-image-1.5")


def test_there_are_no_others() -> None:
    """The newest comes first, the oldest last."""
    assert list(MODELS) == [row[0] for row in ROWS]
    for day in DAYS:
        assert live_models(day) == live_on(day)
        assert live_models(day, "complexity") == list(REPLACEMENTS)
    assert live_models(date(2026, 5, 11), "style") == ["dall-e-3"]
    assert live_models(TODAY, "style") == []
    assert "gpt-image-1.5" in live_models(date(2026, 12, 15), azure=True)
    assert "gpt-image-1.5" not in live_models(date(2026, 12, 16), azure=True)


def test_only_the_retired_ones_are_legacy() -> None:
    """`response_format` and `style` are theirs; what came with GPT images is not."""
    assert [name for name in MODELS if "response_format" in MODELS[name].values] == ["dall-e-3", "dall-e-2"]
    assert [name for name in MODELS if "style" in MODELS[name].values] == ["dall-e-3"]
    assert [name for name in MODELS if not MODELS[name].streams] == ["dall-e-3", "dall-e-2"]
    assert [name for name in MODELS if MODELS[name].max_images != 10] == ["dall-e-3"]
    prompts = {model.prompt for name, model in MODELS.items() if name.startswith(("gpt", "chatgpt"))}
    assert (prompts, MODELS["dall-e-3"].prompt, MODELS["dall-e-2"].prompt) == ({32_000}, 4000, 1000)


def test_the_table_agrees_with_the_local_server() -> None:
    """The server has tables of its own, for the models it plays; the same are there on each day."""
    for day in DAYS:
        for moment in (0, 86_399):
            now = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + moment
            assert utc_date(now) == day
            served_now = [find_model(name)[0] for name in served_models(now, legacy=False)]
            assert {model.name for model in served_now if model} == set(live_models(day))
            assert served_models(now, legacy=True) == SERVED
    for name, served in SERVED.items():
        if served.generation == "dall-e":
            continue
        model, named = find_model(name)
        assert model is not None
        assert named
        assert served.ends == model.ends
        assert model.values["quality"] == ("auto", *served.qualities)
        assert (not model.sizes) == served.free_sizes
        assert (("background", "transparent") not in model.unsure) == served.transparent
        assert ("complexity" in model.values) == (served.generation == "2.6")
        assert not model.sizes or set(model.sizes) == {f"{width}x{height}" for width, height in FIXED_SIZES}


def test_the_table_agrees_with_prices_tokens_and_hints() -> None:
    """Each GPT image model has a price and its qualities; editors suggest those without an end."""
    assert set(PUBLISHED_PRICES.models) == {name for name in MODELS if not name.startswith("dall-e")}
    assert PUBLISHED_PRICES.as_of <= AS_OF
    for name in PUBLISHED_PRICES.models:
        assert MODELS[name].values["quality"] == ("auto", *qualities(name))
    hints = {value for part in get_args(ModelHint) for value in get_args(part)}
    assert hints == {name for name, ends in ENDS.items() if ends is None}
    assert set(REPLACEMENTS) <= hints


def test_parameters_are_parameters() -> None:
    """A row names nothing that a request does not have."""
    for model in MODELS.values():
        assert model.values.keys() <= {*GenerateParams.__annotations__, *EditParams.__annotations__}
        assert {parameter for parameter, _ in model.unsure} <= model.values.keys()
        assert all(value in model.values[parameter] for parameter, value in model.unsure)


@pytest.mark.parametrize(
    ("name", "row", "named"),
    [
        ("gpt-image-2", "gpt-image-2", True),
        ("gpt-image-2-2026-04-21", "gpt-image-2", True),
        ("gpt-image-2-2031-01-01", "gpt-image-2", False),
        ("gpt-image-2.5-flare-2026-09-08", "gpt-image-2.5-flare", True),
        ("gpt-image-1.5-2025-12-16", "gpt-image-1.5", True),
        ("gpt-image-2.6-flare-2026-09-08", "gpt-image-2.6-flare", False),
        ("gpt-image-2.5", None, False),
        ("GPT-Image-2", None, False),
        ("openai/gpt-image-2", None, False),
        ("", None, False),
    ],
)
def test_finding_a_model(name: str, row: str | None, named: bool) -> None:
    """A snapshot has the row of its model; only the ones that are listed are known by name."""
    assert find_model(name) == (None if row is None else MODELS[row], named)


def test_what_any_live_model_takes() -> None:
    """The newest values of all, and nothing of the retired ones."""
    for day in DAYS[2:]:
        row = any_model(day)
        assert row.values["quality"] == ("auto", "low", "medium", "high", "xhigh", "max")
        assert row.values["output_format"] == ("png", "webp", "jpeg", "gif", "svg")
        assert not {"style", "response_format"} & row.values.keys()
        assert ("input_fidelity" in row.values) == (day < date(2026, 12, 1))
        assert (row.name, row.sizes, row.prompt, row.max_images) == (ANY_MODEL, (), 32_000, 10)


def test_known_values() -> None:
    """Those of the retired models count as known too."""
    assert known_values("quality")[-2:] == ("standard", "hd")
    assert known_values("style") == ("vivid", "natural")
    assert known_values("seed") == ()
    assert known_values("complexity", [MODELS["gpt-image-2"]]) == ()


def test_the_day_of_an_end() -> None:
    """It is the first without the model; in the 30 days before it the end is near; Azure's is its own."""
    end = date(2027, 3, 1)
    days = [end - timedelta(days=left) for left in (31, 30, 1, 0, -365)]
    for azure, model in (
        (False, ModelSpec(name="x", values={}, ends=end, azure_ends=date(2030, 1, 1))),
        (True, ModelSpec(name="x", values={}, ends=date(2020, 1, 1), azure_ends=end)),
        (True, ModelSpec(name="x", values={}, ends=end)),
    ):
        assert [model.has_ended(day, azure=azure) for day in days] == [False, False, False, True, True]
        assert [model.ends_soon(day, azure=azure) for day in days] == [False, True, True, False, False]
    assert not ModelSpec(name="x", values={}).has_ended(end)
    assert not ModelSpec(name="x", values={}).ends_soon(end)


def test_a_model_is_a_value() -> None:
    """Frozen, slotted and hashable."""
    model = MODELS["gpt-image-2"]
    assert not hasattr(model, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        model.name = "x"  # type: ignore[misc]
    assert hash(model) == hash(attrs.evolve(model))
