"""What a request may cost at most, and what a result did cost."""

import subprocess
import sys
from decimal import Decimal, Inexact, getcontext, localcontext
from typing import Any

import attrs
import pytest

from openai_images import (
    PUBLISHED_PRICES,
    GenerateRequest,
    Image,
    ImageResult,
    ImagesClient,
    ModelPrice,
    SvgUsage,
    TokenDetails,
    Usage,
    cost_of,
    estimate_cost,
    estimate_cost_range,
)
from openai_images.client.generate_many import Costs
from openai_images.server import LocalImagesServer

IMAGE = Image.from_bytes(b"\x89PNG\r\n\x1a\n")
SVG = Image.from_bytes(b"<svg></svg>")
TWO: dict[str, Any] = {"model": "gpt-image-2", "size": "1024x1024", "quality": "low"}
TWO_LOW = 21 * 5 + 196 * 30  # of a prompt of five bytes, in millionths of a dollar


def micro(cost: Decimal | None) -> Decimal | None:
    """Millionths of a dollar."""
    return None if cost is None else cost * 1_000_000


def estimate(prompt: str = "otter", **params: Any) -> Decimal | None:
    """What a request may cost, in millionths of a dollar."""
    return micro(estimate_cost(GenerateRequest(prompt, **params)))


@pytest.mark.parametrize(
    ("params", "tokens"),
    [
        ({}, 196),
        ({"quality": "high"}, 7024),
        ({"quality": "auto"}, 7024),
        ({"quality": None}, 7024),
        ({"size": "auto"}, 659),
        ({"size": None}, 659),
        ({"size": None, "quality": None}, 23719),
        ({"model": "gpt-image-2-2026-04-21"}, 196),
        ({"model": "gpt-image-2.5-flare", "quality": "auto"}, 7024),
        ({"model": "gpt-image-2.5-flare", "quality": "medium"}, 439),
        ({"model": "gpt-image-2.6-sunburst"}, 4 * 196),
        ({"model": "gpt-image-2.6-sunburst", "quality": "medium"}, 4 * 439),
        ({"model": "gpt-image-2.6-sunburst", "quality": "high"}, 1756),
        ({"model": "gpt-image-2.6-sunburst", "quality": None, "size": None}, 23719),
        ({"partial_images": 3}, 496),
        ({"partial_images": 0}, 196),
    ],
)
def test_an_estimate(params: dict[str, Any], tokens: int) -> None:
    """The prompt's bytes and sixteen more tokens, and those of the image; `auto` is the dearest it can become."""
    assert estimate(**{**TWO, **params}) == 21 * 5 + tokens * 30


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"model": "gpt-image-1.5"}, 21 * 5 + 272 * 32 + 1000 * 10),
        ({"model": "chatgpt-image-latest", "quality": "auto"}, 21 * 5 + 4160 * 32 + 1000 * 10),
        ({"model": "gpt-image-1.5", "size": "auto"}, 21 * 5 + 408 * 32 + 1000 * 10),
        ({"model": "gpt-image-1"}, 21 * 5 + 272 * 40),
        ({"model": "gpt-image-1-mini"}, 21 * 2 + (272 + 450) * 8),
    ],
)
def test_an_estimate_for_the_models_of_three_sizes(params: dict[str, Any], expected: int) -> None:
    """With what 1.5 writes for itself, and what 1-mini costs above its tokens."""
    assert estimate(**{**TWO, **params}) == expected


@pytest.mark.parametrize(
    ("quality", "size", "published"),
    [
        *[(q, "1024x1024", p) for q, p in (("low", "0.005"), ("medium", "0.011"), ("high", "0.036"))],
        *[(q, "1024x1536", p) for q, p in (("low", "0.006"), ("medium", "0.015"), ("high", "0.052"))],
        *[(q, "1536x1024", p) for q, p in (("low", "0.006"), ("medium", "0.015"), ("high", "0.052"))],
    ],
)
def test_the_published_price_of_a_picture_of_mini_is_within_the_estimate(
    quality: str, size: str, published: str
) -> None:
    """Even where it was rounded down by half a tenth of a cent."""
    found = estimate_cost(GenerateRequest("", model="gpt-image-1-mini", size=size, quality=quality))
    assert found is not None
    assert found >= Decimal(published) + Decimal("0.0005")


def test_each_picture_is_paid_for_with_its_prompt() -> None:
    """Four images cost four times one, in one request or in four streams."""
    assert estimate(n=4, **TWO) == 4 * TWO_LOW
    assert estimate(n=4, partial_images=2, **TWO) == 4 * (TWO_LOW + 2 * 100 * 30)


@pytest.mark.parametrize(
    "prompt", ["", "otter", "Füße", "日本語のプロンプト", "👩‍👩‍👧‍👦" * 9, "\ud800", "x" * 32_000]
)
def test_a_prompt_has_no_more_tokens_than_bytes(prompt: str) -> None:
    """Whatever the language; half of a surrogate pair is not for this function to refuse."""
    nbytes = len(prompt.encode("utf-8", "surrogatepass"))
    assert estimate(prompt, **TWO) == (nbytes + 16) * 5 + 196 * 30


@pytest.mark.parametrize(
    ("params", "least"),
    [
        ({}, 196),
        ({"quality": "auto"}, 196),
        ({"size": None}, 158),
        ({"size": "auto", "quality": "high"}, 5488),
        ({"model": "gpt-image-2.6-flare", "size": None, "quality": None}, 4 * 158),
    ],
)
def test_a_range(params: dict[str, Any], least: int) -> None:
    """It begins with the cheapest that `auto` is known to choose, and ends with the estimate."""
    request = GenerateRequest("otter", **(TWO | params))
    found = estimate_cost_range(request)
    assert found is not None
    assert micro(found[0]) == 21 * 5 + least * 30
    assert found[1] == estimate_cost(request)


def test_a_range_that_is_not_known() -> None:
    """Unknown is None; models of three sizes have one, too."""
    assert estimate_cost_range(GenerateRequest("otter", model="a-model-of-tomorrow")) is None
    least, most = estimate_cost_range(GenerateRequest("otter", model="gpt-image-1-mini")) or (1, 0)
    assert 0 < least < most


def test_what_costs_nothing_changes_nothing() -> None:
    """Complexity is free, and so are a background, a compression and the moderation."""
    params = {
        "background": "transparent",
        "complexity": "high",
        "moderation": "low",
        "output_format": "webp",
        "output_compression": 50,
        "safety_identifier": "someone",
        "user": "someone",
        "response_format": "b64_json",
        "style": "vivid",
    }
    assert estimate(**TWO, **params) == TWO_LOW
    assert estimate(**TWO, extra_body={"background": "opaque", "stream": True}) == TWO_LOW


def test_extra_body_counts_as_it_is_sent() -> None:
    """It is laid over the body; null there means that nothing was given."""
    request: dict[str, Any] = {
        "model": "gpt-image-1",
        "n": 1,
        "extra_body": {**TWO, "n": 3, "partial_images": 1},
    }
    assert estimate(**request) == 3 * (TWO_LOW + 100 * 30)
    assert estimate(**TWO, extra_body={"prompt": "an otter"}) == TWO_LOW + 3 * 5
    assert estimate(**TWO, extra_body={"quality": None}) == 21 * 5 + 7024 * 30


@pytest.mark.parametrize(
    "params",
    [
        {"model": None},
        {"model": "dall-e-3"},
        {"model": "gpt-image-2.5"},
        {"quality": "max"},
        {"quality": "ultra"},
        {"size": "512x512"},
        {"size": "large"},
        {"model": "gpt-image-1.5", "size": "2048x2048"},
        {"output_format": "svg", "svg": {"model": "m"}},
        {"output_format": "gif"},
        {"output_format": "jxl"},
        {"frame_count": 4},
        {"n": 0},
        {"n": -1},
        {"n": True},
        {"n": 1.5},
        {"partial_images": -1},
        {"extra_body": {"model": 5}},
        {"extra_body": {"size": ["1024x1024"]}},
        {"extra_body": {"output_format": ["png"]}},
        {"extra_body": {"prompt": None}},
        {"extra_body": {"n": "2"}},
        {"extra_body": {"prompt_rewriter": True}},
        {"extra_body": {1: 2}},
    ],
)
def test_an_unknown_estimate(params: dict[str, Any]) -> None:
    """None, and never a guess."""
    assert estimate(**{**TWO, **params}) is None


def test_an_estimate_with_prices_of_ones_own() -> None:
    """Each price that is needed must be there; a model nobody knows the tokens of stays unknown."""
    request = GenerateRequest("otter", **TWO)
    whole = ModelPrice(text_input=Decimal("2.5"), image_output=Decimal(15))
    for price, expected in {
        whole: 21 * Decimal("2.5") + 196 * 15,
        ModelPrice(text_input=Decimal(5)): None,
        ModelPrice(image_output=Decimal(30)): None,
    }.items():
        prices = PUBLISHED_PRICES.with_prices({"gpt-image-2": price, "gpt-image-1.5": price, "mine": price})
        assert micro(estimate_cost(request, prices)) == expected
        assert estimate_cost(GenerateRequest.of(request, {"model": "mine"}), prices) is None
        assert estimate_cost(GenerateRequest.of(request, {"model": "gpt-image-1.5"}), prices) is None


def test_an_estimate_is_a_decimal_to_the_last_digit() -> None:
    """It can be summed for ever without drifting."""
    assert estimate_cost(GenerateRequest("otter", **TWO)) == Decimal("0.005985")
    assert getcontext().prec >= 28


def result(usage: Usage | None, **more: Any) -> ImageResult:
    """A result with this usage."""
    return ImageResult((IMAGE,), usage=usage, **more)


def cost(usage: Usage | None, model: str | None = "gpt-image-1.5", **more: Any) -> Decimal | None:
    """What a result cost, in millionths of a dollar."""
    return micro(cost_of(result(usage, **more), model))


def test_the_cost_of_an_answer_as_it_came() -> None:
    """The usage of gpt-image-2 in 2026; a dated snapshot costs the same."""
    usage = Usage(21, 196, 217, TokenDetails(0, 21), TokenDetails(196, 0))
    assert cost_of(result(usage), "gpt-image-2") == Decimal("0.005985")
    assert cost_of(result(usage), "gpt-image-2-2026-04-21") == Decimal("0.005985")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(48, 481, 529, TokenDetails(0, 48), TokenDetails(272, 209)), 48 * 5 + 272 * 32 + 209 * 10),
        (Usage(430, 4360, 4790, TokenDetails(388, 42)), 42 * 5 + 388 * 8 + 4360 * 32),
        (Usage(10, 372), 10 * 5 + 372 * 32),
        (Usage(10, 372, 382, TokenDetails(), TokenDetails()), 10 * 5 + 372 * 32),
        (
            Usage(50, 100, None, TokenDetails(text_tokens=20), TokenDetails(text_tokens=40)),
            20 * 5 + 30 * 8 + 60 * 32 + 40 * 10,
        ),
        (Usage(50, 100, None, TokenDetails(30), TokenDetails(60)), 20 * 5 + 30 * 8 + 60 * 32 + 40 * 10),
    ],
    ids=["text out", "edit in a stream", "no details", "empty details", "text only", "images only"],
)
def test_a_cost_by_kinds(usage: Usage, expected: int) -> None:
    """Each kind at its price; what has no details is an image on the way out and text on the way in."""
    assert cost(usage) == expected


@pytest.mark.parametrize(
    ("extra", "image", "expected"),
    [
        ({"cached_tokens": 0}, 40, 60 * 5 + 40 * 8),
        ({"cached_tokens": None}, 40, 60 * 5 + 40 * 8),
        ({"cached_tokens": 30}, 0, 70 * 5 + 30 * Decimal("1.25")),
        ({"cached_tokens": 30}, 100, 70 * 8 + 30 * 2),
        ({"cached_tokens": 30}, 40, None),
        (
            {"cached_tokens": 30, "cached_tokens_details": {"image_tokens": 20}},
            40,
            50 * 5 + 10 * Decimal("1.25") + 20 * 8 + 20 * 2,
        ),
        (
            {"cached_tokens": 30, "cached_tokens_details": {"image_tokens": 20, "text_tokens": 10}},
            40,
            50 * 5 + 10 * Decimal("1.25") + 20 * 8 + 20 * 2,
        ),
        ({"cached_tokens": 30, "cached_tokens_details": {"image_tokens": 50}}, 40, None),
        ({"cached_tokens": 30, "cached_tokens_details": {"image_tokens": 20, "text_tokens": 20}}, 40, None),
        ({"cached_tokens": 101}, 0, None),
        ({"cached_tokens": "30"}, 0, None),
        ({"cached_tokens": True}, 0, None),
        ({"cached_tokens": 30, "cached_tokens_details": {"image_tokens": "20"}}, 40, None),
        ({"cached_tokens_details": {"text_tokens": 5}}, 40, None),
        ({"cached_tokens_details": []}, 40, None),
    ],
)
def test_cached_tokens(extra: dict[str, Any], image: int, expected: Decimal | None) -> None:
    """They are a part of the input and cost less; where it is not clear which they are, nothing is."""
    expected = None if expected is None else expected + 272 * 32
    within = Usage(100, 272, input_tokens_details=TokenDetails(image, 100 - image, extra))
    beside = Usage(100, 272, input_tokens_details=TokenDetails(image, 100 - image), extra=extra)
    assert cost(within) == expected
    assert cost(beside) == expected


@pytest.mark.parametrize(
    "usage",
    [
        None,
        Usage(),
        Usage(0, 0, 0, TokenDetails(0, 0), TokenDetails(0, 0)),
        Usage(10, 0),
        Usage(0, 10),
        Usage(10),
        Usage(output_tokens=10),
        Usage(total_tokens=20),
        Usage(-10, 10),
        Usage(10, -10),
        Usage(10, 20, 30, TokenDetails(10, 10)),
        Usage(10, 20, 30, TokenDetails(4, 4)),
        Usage(10, 20, 30, TokenDetails(11)),
        Usage(10, 20, 30, TokenDetails(0, 10), TokenDetails(20, 5)),
        Usage(10, 20, 30, TokenDetails(0, 10), TokenDetails(text_tokens=21)),
        Usage(10, 20, 30, TokenDetails(-1, 11)),
        Usage(10, 20, 31),
        Usage(10, 20, 29),
        Usage(10, 20, -30),
        Usage(10**9, 1),
        Usage(10, 10**30),
    ],
)
def test_a_cost_that_is_not_known(usage: Usage | None) -> None:
    """None, never 0: the usage is missing, all zeros, absurd, or contradicts itself."""
    assert cost(usage) is None
    assert cost(usage, edited=True) is None


@pytest.mark.parametrize("model", [None, "mine", "dall-e-3"])
def test_a_cost_without_prices(model: str | None) -> None:
    """A model that is not in the table has no cost, however well its tokens are counted."""
    assert cost(Usage(10, 20), model) is None


def test_a_kind_of_token_without_a_price() -> None:
    """Text that gpt-image-2 writes is not in its price list; a kind of which there is none needs no price."""
    assert cost(Usage(10, 20, 30, None, TokenDetails(19, 1)), "gpt-image-2") is None
    assert cost(Usage(10, 20, 30, None, TokenDetails(20, 0)), "gpt-image-2") == 10 * 5 + 20 * 30
    prices = PUBLISHED_PRICES.with_prices({"m": ModelPrice(text_input=Decimal(1), image_output=Decimal(2))})
    assert micro(cost_of(result(Usage(10, 20)), "m", prices)) == 50
    assert cost_of(result(Usage(10, 20, 30, TokenDetails(5, 5))), "m", prices) is None
    cached = Usage(10, 20, input_tokens_details=TokenDetails(0, 10, {"cached_tokens": 5}))
    assert cost_of(result(cached), "m", prices) is None


@pytest.mark.parametrize(
    ("svg", "expected"),
    [
        (SvgUsage("author", 10, 100, 40, 110), 10 * 2 + 100 * 3),
        (SvgUsage("author", 10, 100, 40, 150), 10 * 2 + 140 * 3),
        (SvgUsage("author", 10, 100), 10 * 2 + 100 * 3),
        (SvgUsage("author", 10, 100, 0, 0), 10 * 2 + 100 * 3),
        (SvgUsage("author", 10, 100, 0, 7), None),
        (SvgUsage("author", 10, 100, -40, 70), None),
        (SvgUsage("author", 0, 0, 0, 0), None),
        (SvgUsage("author", 0, 100), None),
        (SvgUsage("author", 10**9, 100), None),
        (SvgUsage("author", 10, 100, 40), None),
        (SvgUsage("author", 10, 100, 40, 120), None),
        (SvgUsage("author", 10), None),
        (SvgUsage("author", output_tokens=10), None),
        (SvgUsage("another", 10, 100), None),
        (SvgUsage(None, 10, 100), None),
    ],
)
def test_the_cost_of_an_svg(svg: SvgUsage, expected: int | None) -> None:
    """Its author is a model with its own price; reasoning counts once, as the total shows."""
    author = ModelPrice(text_input=Decimal(2), text_output=Decimal(3))
    prices = PUBLISHED_PRICES.with_prices({"author": author})
    usage = Usage(10, 20)
    found = micro(cost_of(result(usage, svg_usage=svg), "gpt-image-2", prices))
    assert found == (None if expected is None else 10 * 5 + 20 * 30 + expected)
    assert cost(usage, "gpt-image-2", svg_usage=svg) is None
    assert cost_of(result(None, svg_usage=svg), "gpt-image-2", prices) is None


@pytest.mark.parametrize("more", [{"images": (SVG,)}, {"images": (IMAGE, SVG)}, {"output_format": "svg"}])
def test_an_svg_without_its_authors_tokens(more: dict[str, Any]) -> None:
    """Somebody wrote it, and was paid: without that the cost would be too low."""
    counted = attrs.evolve(result(Usage(10, 20)), model="gpt-image-2", **more)
    assert counted.cost() is None
    assert attrs.evolve(counted, svg_usage=SvgUsage("gpt-image-2", 0, 0)).cost() is None
    assert result(Usage(10, 20), model="gpt-image-2").cost() is not None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(430, 4360, 4790, TokenDetails(388, 42)), 42 * 5 + 388 * 8 + 4360 * 30),
        (Usage(430, 4360, 4790, TokenDetails(text_tokens=42)), 42 * 5 + 388 * 8 + 4360 * 30),
        (Usage(430, 4360, 4790, TokenDetails(extra={"cached_tokens": 0})), None),
        (Usage(430, 4360, 4790), None),
    ],
)
def test_the_cost_of_an_edit(usage: Usage, expected: int | None) -> None:
    """Its input may be images or text, which cost differently: not told apart, the cost is not known."""
    edit = result(usage, model="gpt-image-2", edited=True)
    assert micro(edit.cost()) == expected
    same = PUBLISHED_PRICES.with_prices(
        {"gpt-image-2": ModelPrice(text_input=Decimal(8), image_input=Decimal(8), image_output=Decimal(30))}
    )
    assert micro(edit.cost(same)) == 430 * 8 + 4360 * 30


def test_a_result_knows_its_cost() -> None:
    """By the model that was asked for and the published prices, or by others."""
    generated = result(Usage(21, 196, 217), model="gpt-image-2-2026-04-21")
    assert generated.cost() == cost_of(generated, None) == Decimal("0.005985")
    assert generated.cost(model="gpt-image-1.5") == cost_of(generated, "gpt-image-1.5") == Decimal("0.006377")
    free = PUBLISHED_PRICES.with_prices(
        {"gpt-image-2": ModelPrice(text_input=Decimal(0), image_output=Decimal(0))}
    )
    assert generated.cost(free) == 0
    assert result(Usage(21, 196, 217)).cost() is None
    assert result(Usage(21, 196, 217)).cost(model="gpt-image-2") == Decimal("0.005985")
    assert result(Usage(21, 196, 217), model="my-deployment").cost() is None


def test_the_cost_of_several_requests() -> None:
    """What the parts cost together; the sum in `usage` is not looked at, and one unknown part makes all unknown."""
    one = result(Usage(21, 196, 217), model="gpt-image-2")
    other = result(Usage(10, 20, 30, TokenDetails(0, 10)), model="gpt-image-2")
    whole = result(Usage(1, 1), model="gpt-image-2", parts=(one, other))
    assert micro(whole.cost()) == TWO_LOW + 10 * 5 + 20 * 30
    assert micro(whole.cost(model="gpt-image-1.5")) == 31 * 5 + 216 * 32
    assert attrs.evolve(whole, parts=(one, result(None, model="gpt-image-2"))).cost() is None
    assert attrs.evolve(whole, parts=(one, result(Usage(0, 0, 0), model="gpt-image-2"))).cost() is None
    assert attrs.evolve(whole, parts=(whole, one)).cost() == (whole.cost() or 0) + (one.cost() or 0)


def test_nothing_is_rounded() -> None:
    """Whatever the program has set its decimals to, and however long a price is."""
    third = ModelPrice(text_input=Decimal(1) / 3, image_output=Decimal(1) / 3)
    prices = PUBLISHED_PRICES.with_prices({"gpt-image-2": third})
    request = GenerateRequest("otter", n=3, **TWO)
    generated = result(Usage(21, 196), model="gpt-image-2", parts=())
    split = result(None, parts=(generated, generated))
    exact = generated.cost(prices), split.cost(prices), estimate_cost(request, prices)
    assert exact[0] == Decimal("0.0000723333333333333333333333333261")
    with localcontext(prec=2) as context:
        context.traps[Inexact] = True
        assert (generated.cost(prices), split.cost(prices), estimate_cost(request, prices)) == exact


def test_pictures_to_edit_have_no_estimate() -> None:
    """How many tokens they take is not published: neither as images of a request nor in its `extra_body`."""

    @attrs.frozen
    class Edit(GenerateRequest):
        image: str = attrs.field(default="otter.png", kw_only=True)

    assert estimate_cost(Edit("make it night", **TWO)) is None
    assert estimate(extra_body={"images": [{"file_id": "file-1"}]}, **TWO) is None


def test_a_result_imports_no_prices() -> None:
    """Until its cost is asked for: a client that never asks is built without them."""
    code = (
        "import sys; from openai_images import ImageResult; "
        "seen = lambda: {'decimal', 'openai_images.models.cost', 'openai_images.catalog.prices'} & set(sys.modules); "
        "assert not seen(), seen(); assert ImageResult(()).cost() is None; assert len(seen()) == 3"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "model", ["gpt-image-1.5", "gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2.6-flare"]
)
@pytest.mark.parametrize("partial_images", [0, 3])
async def test_an_estimate_is_not_below_the_bill(model: str, partial_images: int) -> None:
    """What the local server counts for `auto` costs no more than was estimated, and not nothing."""
    request = GenerateRequest("an otter in a kayak", model=model, partial_images=partial_images or None)
    async with (
        LocalImagesServer(legacy=True, pictures="small") as server,
        ImagesClient(base_url=server.base_url, api_key=server.api_key) as client,
        client.stream(request) as stream,
    ):
        async for _ in stream:
            pass
    billed, estimated = cost_of(stream.result, model), estimate_cost(request)
    assert billed is not None
    assert estimated is not None
    assert 0 < billed <= estimated


def test_each_result_of_many_has_its_own_cost() -> None:
    """Also where the one before it had other tokens, another model or another kind of image."""
    costs, request = Costs(PUBLISHED_PRICES), GenerateRequest("an otter", model="gpt-image-1.5")
    usages = (Usage(10, 20), Usage(10, 20), Usage(10, 30), None, Usage(10, 20))
    results = [result(usage) for usage in usages] + [ImageResult((SVG,), usage=Usage(10, 20))]
    for each in results:
        assert costs(request, each) == cost_of(each, "gpt-image-1.5"), each
    other = GenerateRequest("an otter", model="gpt-image-1")
    assert costs(other, results[0]) == cost_of(results[0], "gpt-image-1") != costs(request, results[0])
