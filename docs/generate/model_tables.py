"""Tables of models: what each accepts, what its images cost, when it ends.

Invariants: everything is computed from the catalog and the price table of the package, as `openai-images models` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Final

from docs.generate.text import code, codes, table
from openai_images import PUBLISHED_PRICES, GenerateRequest, ModelSpec, SizeRules, estimate_cost, known_models
from openai_images.catalog.models import AS_OF, SIZE_RULES

_SIZES: Final = ("1024x1024", "1536x1024", "1024x1536", "2048x2048", "3840x2160")


def overview() -> str:
    """Return a row for the models that share all: sizes, qualities, formats, streaming, edits, prices, end."""
    head = ("Model", "Sizes", "Qualities", "Formats", "Streams", "Edits", "1024x1024", "Ends")
    rows: dict[tuple[str, ...], list[str]] = {}
    for spec in known_models():
        rows.setdefault(_facts(spec), []).append(f"**{code(spec.name)}**")
    lines = [(" ".join(names), *facts) for facts, names in rows.items()]
    rules = f"Any size: {describe_rules(SIZE_RULES)}. Sizes above 2560x1440 are experimental."
    return f"As of {AS_OF:%d %B %Y}.\n\n{table(head, lines)}\n\n{rules}"


def _facts(spec: ModelSpec) -> tuple[str, ...]:
    costs = [cost for q in _qualities(spec) if (cost := _cost(spec.name, "1024x1024", q)) is not None]
    return (
        codes((*_auto(spec), *spec.sizes)) if spec.sizes else "`auto`, any `WxH`",
        codes(spec.values.get("quality", ())),
        codes(spec.values.get("output_format", ("png",))),
        "yes" if spec.streams else "no",
        "yes" if spec.edits else "no",
        f"{_usd(min(costs))} to {_usd(max(costs))}" if costs else "unknown",
        _end(spec),
    )


def _auto(spec: ModelSpec) -> tuple[str, ...]:
    return ("auto",) if spec.streams else ()


def _qualities(spec: ModelSpec) -> list[str]:
    return [quality for quality in spec.values.get("quality", ()) if quality != "auto"]


def describe_rules(rules: SizeRules) -> str:
    """Return the rules for any size in words."""
    return (
        f"width and height are multiples of {rules.step}, {rules.min_pixels:,} to {rules.max_pixels:,} pixels in all, "
        f"no edge over {rules.max_edge}, at most {rules.max_ratio}:1"
    )


def details() -> str:
    """Return a section for each model."""
    return "\n\n".join("\n".join(_section(spec)) for spec in known_models())


def _section(spec: ModelSpec) -> Iterator[str]:
    yield f"### {spec.name}\n"
    yield f"- **Names**: {codes((spec.name, *spec.snapshots))}"
    yield f"- **Sizes**: {describe_sizes(spec)}"
    for parameter, values in spec.values.items():
        unsure = [
            f" ({code(value)} is uncertain: documentation and API disagree)"
            for name, value in sorted(spec.unsure)
            if name == parameter
        ]
        yield f"- [`{parameter}`](parameters.md#{parameter}): {codes(values)}{''.join(unsure)}"
    yield f"- **Images in one request**: up to {spec.max_images}; prompts of up to {spec.prompt:,} characters"
    yield f"- **Streaming**: {'yes, with partial images (png, webp, jpeg)' if spec.streams else 'no'}"
    yield f"- **Edits**: {'yes' if spec.edits else 'no'}"
    yield f"- **End**: {_end(spec)}"
    yield ""
    yield prices(spec)


def prices(spec: ModelSpec) -> str:
    """Return the price of one image by size and quality."""
    qualities = _qualities(spec)
    costs = {
        size: [_cost(spec.name, size, quality) for quality in qualities] for size in spec.sizes or _SIZES
    }
    if not any(cost is not None for row in costs.values() for cost in row):
        return "No price is in the package's table: costs are reported as unknown."
    rows = [[size, *(_usd(cost) for cost in row)] for size, row in costs.items()]
    return table(
        ["Price per image", *(code(quality) for quality in qualities)], rows, "l" + "r" * len(qualities)
    )


def token_prices() -> str:
    """Return the published prices of tokens."""
    head = ("Model", "Text in", "cached", "Images in", "cached", "Images out", "Text out")
    rows = [
        (
            code(name),
            *(
                "" if amount is None else f"${amount:f}"
                for amount in (
                    price.text_input,
                    price.cached_text_input,
                    price.image_input,
                    price.cached_image_input,
                    price.image_output,
                    price.text_output,
                )
            ),
        )
        for name, price in PUBLISHED_PRICES.models.items()
    ]
    note = f"US dollars for 1,000,000 tokens, as of {PUBLISHED_PRICES.as_of:%d %B %Y}."
    return f"{note}\n\n{table(head, rows, 'lrrrrrr')}"


def _cost(model: str, size: str, quality: str) -> Decimal | None:
    return estimate_cost(GenerateRequest("", model=model, size=size, quality=quality))


def _usd(cost: Decimal | None) -> str:
    return "unknown" if cost is None else f"${cost.quantize(Decimal('0.0001'), 'ROUND_UP')}"


def describe_sizes(spec: ModelSpec) -> str:
    """Return the sizes of a model."""
    rules = spec.size_rules
    return (
        codes((*_auto(spec), *spec.sizes))
        if rules is None
        else f"`auto`, or any `WxH`: {describe_rules(rules)}"
    )


def _end(spec: ModelSpec) -> str:
    def day(end: date) -> str:
        return f"{end:%Y-%m-%d}"

    if spec.ends is None:
        return "no date is known"
    azure = f" (Azure: {day(spec.azure_ends)})" if spec.azure_ends else ""
    use = f"; use {' or '.join(code(name) for name in spec.replacements)}" if spec.replacements else ""
    return f"{'ended ' if spec.ends <= AS_OF else ''}{day(spec.ends)}{azure}{use}"
