"""The page of the endpoint's parameters: what each does, which models take it, its values and its cost.

Invariants: the models are found by asking the package's own validation about a request, the cost by its own estimate;
a keyword of a verb without an example value in `SAMPLES` is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import fields

from docs.generate.model_tables import describe_sizes
from docs.generate.text import code, codes
from openai_images import EditRequest, GenerateRequest, ModelSpec, estimate_cost, known_models
from openai_images.catalog.models import AS_OF
from openai_images.models.parameters import DESCRIPTIONS, GenerateKeywords
from openai_images.models.requests import EditParams
from openai_images.validation.validator import find_problems

SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "prompt": {},
    "model": {},
    "n": {"n": 2},
    "size": {"size": "1024x1024"},
    "quality": {"quality": "low"},
    "background": {"background": "opaque"},
    "output_format": {"output_format": "webp"},
    "output_compression": {"output_compression": 80, "output_format": "jpeg"},
    "moderation": {"moderation": "low"},
    "partial_images": {"partial_images": 2},
    "complexity": {"complexity": "low"},
    "frame_count": {"frame_count": 8, "output_format": "gif"},
    "frame_duration_ms": {"frame_duration_ms": 100, "output_format": "gif"},
    "svg": {"svg": {"model": "a model that writes text"}, "output_format": "svg"},
    "safety_identifier": {"safety_identifier": "9f2c"},
    "user": {"user": "9f2c"},
    "response_format": {"response_format": "b64_json"},
    "style": {"style": "natural"},
    "extra_body": {"extra_body": {"seed": 7}},
    "image": {},
    "mask": {"mask": b""},
    "markup": {"markup": b""},
    "input_fidelity": {"input_fidelity": "low"},
    "as_json": {"as_json": True},
}
"""A value of each parameter, with the others that it needs."""

_ONLY_EDITS: Final = frozenset(EditParams.__annotations__) - frozenset(GenerateKeywords.__annotations__)
_BASE: Final[Mapping[str, Any]] = {"model": "gpt-image-2", "size": "1024x1024", "quality": "low"}


def names() -> list[str]:
    """Return every parameter of the two endpoints."""
    return ["prompt", *EditParams.__annotations__]


def page() -> str:
    """Return a section for each parameter."""
    return "\n\n".join("\n".join(_section(name)) for name in names())


def _section(name: str) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"{DESCRIPTIONS[name][0].upper()}{DESCRIPTIONS[name][1:]}.\n"
    need = "required" if name in {"prompt", "image"} else "not sent unless you set it"
    yield f"- **Type**: {code(_type(name))}; {need}"
    yield f"- **Endpoint**: {'`edit`, `stream_edit`' if name in _ONLY_EDITS else 'every verb'}"
    values = list(_values(name))
    if values:
        yield f"- **Values**: {'; '.join(values)}"
    yield f"- **Models**: {_models(name)}"
    yield f"- **Cost**: {_cost(name)}"
    yield f"\n```python\n{_example(name)}\n```"


def _type(name: str) -> str:
    field = getattr(fields(EditRequest), name)
    return str(field.type).replace(" | None", "").replace("'", "")


def _values(name: str) -> Iterator[str]:
    """Yield the known values, with the models that accept one that not all do."""
    if name == "size":
        by_sizes: dict[str, list[str]] = {}
        for spec in _live():
            by_sizes.setdefault(describe_sizes(spec), []).append(spec.name)
        yield from (f"{sizes} ({', '.join(models)})" for sizes, models in by_sizes.items())
    rows = [spec.values[name] for spec in _live() if name in spec.values]
    known = list(dict.fromkeys(value for row in rows for value in row))
    for value in known:
        takers = [spec for spec in _live() if value in spec.values.get(name, ())]
        everyone = len(takers) == len(rows)
        yield code(value) + ("" if everyone else f" ({', '.join(spec.name for spec in takers)})")


def _models(name: str) -> str:
    accepting = [spec for spec in known_models() if _accepts(spec, name)]
    live = [spec for spec in accepting if spec in _live()]
    if len(live) == len(_live()):
        return "all"
    ended = [spec.name for spec in accepting if spec not in live]
    past = f"; of those that have ended: {codes(ended)}" if ended else ""
    return (codes(spec.name for spec in live) or "none of OpenAI's today") + past


def _live() -> list[ModelSpec]:
    return [spec for spec in known_models() if not spec.has_ended(AS_OF)]


def _accepts(spec: ModelSpec, name: str) -> bool:
    """Return whether the package's own checks find nothing wrong with this parameter for a model."""
    request = _request(name, {**SAMPLES[name], "model": spec.name})
    if name in _ONLY_EDITS and not spec.edits:
        return False
    found = find_problems(
        request, stream=name == "partial_images", today=spec.ends.replace(year=2020) if spec.ends else AS_OF
    )
    return not any(problem.parameter in {name, "stream", "output_format"} for problem in found)


def _request(name: str, values: Mapping[str, Any]) -> GenerateRequest:
    if name in _ONLY_EDITS:
        request: dict[str, Any] = {"image": b"", **values}
        return EditRequest("a red fox", **request)
    return GenerateRequest("a red fox", **values)


def _cost(name: str) -> str:
    """Return what the package's estimate makes of the parameter."""
    if name in _ONLY_EDITS:
        return "the input tokens of images are billed and not published: the estimate is None"
    accepting = [spec.name for spec in _live() if _accepts(spec, name)]
    model = _BASE["model"] if _BASE["model"] in accepting else next(iter(accepting), None)
    if model is None:
        return "not known"
    if name in {"prompt", "model", "size", "quality"}:
        return (
            "decides the price: see the [table of models](models.md)"
            if name != "prompt"
            else "its tokens are billed as text input"
        )
    base: dict[str, Any] = {**_BASE, "model": model}
    plain = estimate_cost(GenerateRequest("a red fox", **base))
    changed = estimate_cost(GenerateRequest("a red fox", **{**base, **SAMPLES[name]}))
    if changed is None:
        return "not published: the estimate is None"
    if plain is not None and changed > plain:
        return f"with {code(_sample(name))} ${changed:.4f} in place of ${plain:.4f} ({model}, 1024x1024, low)"
    return "none"


def _sample(name: str) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in SAMPLES[name].items())


def _example(name: str) -> str:
    if name in {"prompt", "model"}:
        return 'await client.generate("a red fox", model="gpt-image-2")'
    if name in _ONLY_EDITS:
        layer = f', {name}="{name}.png"' if name in {"mask", "markup"} else ""
        more = f", {_sample(name)}" if name in {"as_json", "input_fidelity"} else layer
        return f'await client.edit("make it night", image="otter.png"{more})'.replace("'", '"')
    verb = "client.stream" if name == "partial_images" else "await client.generate"
    accepting = [spec.name for spec in _live() if _accepts(spec, name)]
    model = "" if len(accepting) in (0, len(_live())) else f", model={accepting[0]!r}"
    return f'{verb}("a red fox", {_sample(name)}{model})'.replace("'", '"')
