"""The rules of `POST /images/generations`, each a function that yields the problems it finds.

Invariants: pure; values that cannot be checked are skipped. A value that only other models accept is a certain problem.
An unknown value is only doubtful, because new models bring new values; so is a value on which the API contradicts its
documentation, or that only third parties have tried. Sources: OpenAI's API reference and the official Python package
3.54.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from openai_images._util.json import is_mapping
from openai_images.catalog.models import MAX_IMAGES_PER_CALL, any_model, known_values
from openai_images.validation.context import CheckContext, Problem, wrong_types
from openai_images.validation.name_rules import model_rule, size_rule, values_rule

_FORMATS: Final = known_values("output_format")
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def _prompt(context: CheckContext) -> Iterator[Problem]:
    text = context.get("prompt")
    if text == "":
        yield context.problem("prompt", "it is empty", "text")
    if text and context.model and len(text) > context.model.prompt:
        message = f"it has {len(text):,} characters"
        yield context.problem(
            "prompt", message, f"at most {context.model.prompt:,}", certain=context.exact_model
        )


def _counts(context: CheckContext) -> Iterator[Problem]:
    n, output_format = context.get("n"), context.get("output_format", "png")
    model = context.model or any_model(context.today)
    if n is None:
        return
    label, limit = context.display(n), model.max_images
    upper = MAX_IMAGES_PER_CALL if context.split else 1 if output_format == "svg" else limit
    accepted = "1" if upper == 1 else f"1 to {upper:,}"
    if n < 1:
        yield context.problem("n", f"{label} is below 1", accepted)
    elif context.split:
        if n > MAX_IMAGES_PER_CALL:
            message = f"{label} is more than one call is split into"
            yield context.problem("n", message, f"{accepted}, or more with generate_many or a batch")
    elif n > 1 and output_format == "svg":
        yield context.problem("n", f"{label} is more than one svg", accepted)
    elif n > 1 == limit:
        yield context.problem(
            "n", f"{label} is more than {model.name} generates", accepted, certain=context.exact_model
        )
    elif n > 1 and context.get("stream"):
        yield context.problem("n", f"{label} images cannot come in one stream", "1, or no stream")
    elif n > limit:
        yield context.problem("n", f"{label} is above {limit}", accepted)


def _streaming(context: CheckContext) -> Iterator[Problem]:
    stream, output_format = context.get("stream"), context.get("output_format", "png")
    partials = context.get("partial_images", 0)
    if stream and output_format in {"gif", "svg"}:
        accepted = "no stream, or output_format png, webp or jpeg"
        yield context.problem("stream", f"{output_format} is not streamed", accepted)
    if stream and context.model and not context.model.streams:
        yield context.problem(
            "stream", f"{context.model.name} does not stream", "no stream", certain=context.exact_model
        )
    if partials is None:
        return
    if not 0 <= partials <= 3:
        yield context.problem("partial_images", f"{context.display(partials)} is not within 0 to 3", "0 to 3")
    if partials > 0 and stream is False:
        yield context.problem("partial_images", "they come in streams only", "a stream, or leave it out")
    if partials > 0 and output_format in {"gif", "svg"}:
        yield context.problem("partial_images", f"{output_format} has none", "leave it out")


def _compression(context: CheckContext) -> Iterator[Problem]:
    output_format, compression = context.get("output_format", "png"), context.get("output_compression")
    if compression is None:
        return
    if not 0 <= compression <= 100:
        message = f"{context.display(compression)} is not within 0 to 100"
        yield context.problem("output_compression", message, "0 to 100")
    # 100 is the default and changes nothing; only svg does not allow even that.
    if output_format == "svg" or (output_format in {"png", "gif"} and compression != 100):
        accepted = "output_format jpeg or webp, or leave it out"
        yield context.problem("output_compression", f"{output_format} cannot be compressed", accepted)


def _transparency(context: CheckContext) -> Iterator[Problem]:
    output_format = context.get("output_format", "png")
    if context.get("background") != "transparent":
        return
    accepted = "output_format png or webp, or no transparency"
    if output_format == "jpeg":
        yield context.problem("background", "jpeg cannot be transparent", accepted)
    elif output_format in {"gif", "svg"}:
        # Doubtful only: the API was seen to return transparent gifs.
        message = f"{output_format} does not support transparency"
        yield context.problem("background", message, accepted, certain=False)


def _frames(context: CheckContext) -> Iterator[Problem]:
    output_format = context.get("output_format", "png")
    for parameter in ("frame_count", "frame_duration_ms"):
        if context.get(parameter) is not None and output_format not in {None, "gif"}:
            message = f"{output_format} has no frames" if output_format in _FORMATS else "only gif has frames"
            accepted = "output_format gif, or leave it out"
            yield context.problem(parameter, message, accepted, certain=output_format in _FORMATS)
    count, duration = context.get("frame_count", 9), context.get("frame_duration_ms", 200)
    if count is not None and not 2 <= count <= 16:
        yield context.problem("frame_count", f"{context.display(count)} is not within 2 to 16", "2 to 16")
    if duration is not None and not 10 <= duration <= 655_350:
        message = f"{context.display(duration)} cannot be encoded in a gif"
        yield context.problem("frame_duration_ms", message, "10 to 655350, in tens", certain=False)


def _svg(context: CheckContext) -> Iterator[Problem]:
    output_format, svg = context.get("output_format", "png"), context.get("svg")
    if svg is None:
        if output_format == "svg" and "svg" not in context.unjudgeable:
            # Doubtful only: accounts that cannot choose that model must leave it out.
            message = "no model is named to write the svg"
            yield context.problem("svg", message, _SVG, certain=False)
        return
    if output_format not in {None, "svg"}:
        accepted = "output_format svg, or leave it out"
        yield context.problem(
            "svg", "it is for output_format svg only", accepted, certain=output_format in _FORMATS
        )
    yield from _author(context, svg)


_SVG: Final = 'svg={"model": …}'


def _author(context: CheckContext, svg: Mapping[str, Any]) -> Iterator[Problem]:
    if not isinstance(svg.get("model"), str) or not svg["model"]:
        yield context.problem("svg", "it has no model", _SVG)
    reasoning = svg.get("reasoning")
    if reasoning is None:
        return
    effort = reasoning.get("effort") if is_mapping(reasoning) else 0
    if not isinstance(effort, str | None):
        yield context.problem("svg", "its reasoning is not an object with an effort", '{"effort": …}')
    elif effort is not None and effort not in _EFFORTS:
        message = f"the effort {context.display(effort)} is not known to this version"
        yield context.problem("svg", message, ", ".join(_EFFORTS), certain=False)


def _identifier(context: CheckContext) -> Iterator[Problem]:
    text = context.get("safety_identifier")
    if text and len(text) > 128:
        # Doubtful only: the limit is in a guide, not in the reference.
        message = f"it has {len(text):,} characters"
        yield context.problem("safety_identifier", message, "at most 128, such as a hash", certain=False)


RULES: Final[tuple[Callable[[CheckContext], Iterator[Problem]], ...]] = (
    *(wrong_types, model_rule, _prompt, _counts, size_rule, values_rule),
    *(_transparency, _compression, _streaming, _frames, _svg, _identifier),
)
"""All rules, in the order in which their problems are reported."""
