"""The table of models: its facts, and that it says the same as every other table of the package."""

from datetime import date
from typing import get_args

import attrs
import pytest

from openai_images.models import GenerateParams
from openai_images.models.catalogue import (
    ANY_MODEL,
    AS_OF,
    MODELS,
    Model,
    find_model,
    known_values,
    live_models,
)
from openai_images.models.edits import EditParams
from openai_images.models.prices import PUBLISHED_PRICES
from openai_images.models.request import Model as ModelHint
from openai_images.models.tokens import qualities
from openai_images.server.catalogue import FIXED_SIZES, MODELS as SERVED

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
RETIRED = {"gpt-image-1", "dall-e-3", "dall-e-2"}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row(row: list[str]) -> None:
    """What each model takes, and when it ends."""
    name, levels, any_size, animated, ends = row
    model = MODELS[name]
    assert model.name == name
    assert model.values["quality"] == tuple(levels.split())
    assert (not model.sizes) == (any_size == "yes")
    formats = model.values.get("output_format", ())
    assert ({"gif", "svg"} <= {*formats}) == ("complexity" in model.values) == (animated == "yes")
    assert model.ends == (None if ends == "-" else date.fromisoformat(ends))
    assert model.retired == (name in RETIRED)


def test_there_are_no_others() -> None:
    """The newest comes first, the oldest last."""
    assert list(MODELS) == [row[0] for row in ROWS]
    assert live_models() == [row[0] for row in ROWS if row[0] not in RETIRED]
    assert live_models("complexity") == ["gpt-image-2.6-sunburst", "gpt-image-2.6-flare"]
    assert live_models("style") == []


def test_only_the_retired_ones_are_legacy() -> None:
    """`response_format` and `style` are theirs; what came with GPT images is not."""
    assert [name for name in MODELS if "response_format" in MODELS[name].values] == ["dall-e-3", "dall-e-2"]
    assert [name for name in MODELS if "style" in MODELS[name].values] == ["dall-e-3"]
    assert [name for name in MODELS if not MODELS[name].streams] == ["dall-e-3", "dall-e-2"]
    assert [name for name in MODELS if MODELS[name].pictures != 10] == ["dall-e-3"]
    prompts = {model.prompt for name, model in MODELS.items() if name.startswith(("gpt", "chatgpt"))}
    assert (prompts, MODELS["dall-e-3"].prompt, MODELS["dall-e-2"].prompt) == ({32_000}, 4000, 1000)


def test_the_table_agrees_with_the_local_server() -> None:
    """The server has tables of its own, for the models it plays."""
    assert {find_model(name)[0] for name in SERVED} == {MODELS[name] for name in live_models()}
    for name, served in SERVED.items():
        model, named = find_model(name)
        assert model is not None
        assert named
        assert model.values["quality"] == ("auto", *served.qualities)
        assert (not model.sizes) == served.free_sizes
        assert (("background", "transparent") not in model.unsure) == served.transparent
        assert ("complexity" in model.values) == (served.generation == "2.6")
        assert not model.sizes or set(model.sizes) == {f"{width}x{height}" for width, height in FIXED_SIZES}


def test_the_table_agrees_with_prices_tokens_and_hints() -> None:
    """Each GPT image model has a price and its qualities; editors suggest the live ones; one day for all tables."""
    assert set(PUBLISHED_PRICES.models) == {name for name in MODELS if not name.startswith("dall-e")}
    assert PUBLISHED_PRICES.as_of == AS_OF
    for name in PUBLISHED_PRICES.models:
        assert MODELS[name].values["quality"] == ("auto", *qualities(name))
    hints = {value for part in get_args(ModelHint) for value in get_args(part)}
    assert hints == set(live_models())


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
    assert ANY_MODEL.values["quality"] == ("auto", "low", "medium", "high", "xhigh", "max")
    assert ANY_MODEL.values["output_format"] == ("png", "webp", "jpeg", "gif", "svg")
    assert not {"style", "response_format"} & ANY_MODEL.values.keys()
    assert (ANY_MODEL.sizes, ANY_MODEL.prompt, ANY_MODEL.pictures) == ((), 32_000, 10)


def test_known_values() -> None:
    """Those of the retired models count as known too."""
    assert known_values("quality")[-2:] == ("standard", "hd")
    assert known_values("style") == ("vivid", "natural")
    assert known_values("seed") == ()
    assert known_values("complexity", [MODELS["gpt-image-2"]]) == ()


def test_the_day_of_an_end() -> None:
    """A model that ends after the table was made still counts as live."""
    for ends, retired in ((AS_OF, True), (AS_OF.replace(day=AS_OF.day + 1), False), (None, False)):
        assert Model(name="x", values={}, ends=ends).retired is retired


def test_a_model_is_a_value() -> None:
    """Frozen, slotted and hashable."""
    model = MODELS["gpt-image-2"]
    assert not hasattr(model, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        model.name = "x"  # type: ignore[misc]
    assert hash(model) == hash(attrs.evolve(model))
