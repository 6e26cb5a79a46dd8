"""The rules of `POST /images/generations`, each a function that tells what breaks it.

Rules: pure; a rule passes over what cannot be judged. A value that only other models take is certainly refused; one
that nobody is known to take is only doubtful, since new ones come with each model. Sources: OpenAI's API reference and
the official Python package 3.54; where the wire contradicts them, or only third parties tried, it is doubtful.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from openai_images._util.json import is_mapping
from openai_images.catalog.models import (
    ANY_MODEL,
    MAX_IMAGES_PER_CALL,
    ModelSpec,
    any_model,
    find_model,
    known_values,
)
from openai_images.catalog.sizes import (
    gif_sheet_problems,
    largest_size,
    nearest_size,
    parse_ratio,
    parse_size,
    size_problems,
)
from openai_images.validation.context import CheckContext, Problem, wrong_types

_RASTER: Final = ("png", "webp", "jpeg")
_FORMATS: Final = known_values("output_format")
_WITH_VALUES: Final = (
    *("quality", "background", "output_format", "moderation", "complexity", "response_format", "style"),
    "input_fidelity",  # of edits
)
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def _prompt(asked: CheckContext) -> Iterator[Problem]:
    text = asked.get("prompt")
    if text == "":
        yield asked.problem("prompt", "it is empty", "text")
    if text and asked.model and len(text) > asked.model.prompt:
        message = f"it has {len(text):,} characters"
        yield asked.problem("prompt", message, f"at most {asked.model.prompt:,}", sure=asked.named)


def _model(asked: CheckContext) -> Iterator[Problem]:
    name = asked.get("model")
    if name is None:
        return
    model, named = find_model(name)
    shown = asked.display(name)
    if model is not None and model.has_ended(asked.today, azure=asked.azure):
        who, end = model.end(azure=asked.azure)
        yield asked.problem("model", f"{who} ended {shown} on {end}", asked.live())
    elif asked.official and not named:
        like = f"; it is taken for a {model.name}" if model else ""
        message = f"{shown} is not known to this version{like}"
        yield asked.problem("model", message, asked.live(), sure=False)


def _values(asked: CheckContext) -> Iterator[Problem]:
    for parameter in _WITH_VALUES:
        value = asked.get(parameter)
        if value is not None and asked.model is not None:
            yield from _value(asked, asked.model, parameter, value)


def _value(asked: CheckContext, model: ModelSpec, parameter: str, value: str) -> Iterator[Problem]:
    """What is wrong with the value of one parameter."""
    known, shown = model.values.get(parameter, ()), asked.display(value)
    refuses = "no live model takes" if model.name == ANY_MODEL else f"{model.name} does not take"
    if not known:
        takers = asked.live(parameter)
        accepted = f"leave it out, or use one of {takers}" if takers else "leave it out"
        yield asked.problem(parameter, f"{refuses} it", accepted, sure=asked.named)
    elif (parameter, value) in model.unsure:
        accepted = ", ".join(other for other in known if other != value)
        message = f"{shown} is in preview with {model.name}, and the API was seen to refuse it"
        yield asked.problem(parameter, message, accepted, sure=False)
    elif value not in known and value in known_values(parameter):
        yield asked.problem(parameter, f"{refuses} {shown}", ", ".join(known), sure=asked.named)
    elif value not in known:
        message = f"{shown} is not known to this version"
        yield asked.problem(parameter, message, ", ".join(known), sure=False)


def _size(asked: CheckContext) -> Iterator[Problem]:
    size, form, model = asked.get("size"), asked.get("output_format", "png"), asked.model
    if size in {None, "auto"} or model is None or form is None or size in model.sizes:
        return
    measured, shown = parse_size(size), asked.display(size)
    if model.sizes:
        message = f"{model.name} does not take {shown}"
        accepted = ", ".join((*model.sizes, "auto"))
        yield asked.problem("size", message, accepted, sure=asked.named and measured is not None)
    elif measured is None:
        accepted = f"auto, or WIDTHxHEIGHT in pixels such as {_example(size)}"
        yield asked.problem("size", f"{shown} is not known to this version", accepted, sure=False)
    elif form == "gif":
        yield from _sheet(asked, shown, *measured)
    elif faults := size_problems(*measured):
        width, height = nearest_size(*measured)
        accepted = f"auto, or the nearest, {width}x{height}"
        sure = asked.named and form in _RASTER
        yield asked.problem("size", f"{shown}: {', '.join(faults)}", accepted, sure=sure)


def _example(size: str) -> str:
    """The size that somebody who wrote a ratio means, or any."""
    ratio = parse_ratio(size)
    return (largest_size(ratio) if ratio else None) or "1536x864"


def _sheet(asked: CheckContext, shown: str, width: int, height: int) -> Iterator[Problem]:
    """The size of a gif's frames; nothing of this is published."""
    frames, gifs = asked.get("frame_count", 9), asked.get("n", 1)
    if frames is None or not 2 <= frames <= 16 or gifs is None:
        return
    if faults := gif_sheet_problems(width, height, frames, max(1, min(gifs, 10))):
        accepted = "auto, or for one gif at most 960x960 (2 to 9 frames), 816x816 (to 12) or 720x720 (to 16)"
        yield asked.problem("size", f"{shown}: {', '.join(faults)}", accepted, sure=False)


def _counts(asked: CheckContext) -> Iterator[Problem]:
    n, model, form = asked.get("n"), asked.model or any_model(asked.today), asked.get("output_format", "png")
    if n is None:
        return
    shown, most = asked.display(n), model.max_images
    upper = MAX_IMAGES_PER_CALL if asked.split else 1 if form == "svg" else most
    accepted = "1" if upper == 1 else f"1 to {upper:,}"
    if n < 1:
        yield asked.problem("n", f"{shown} is below 1", accepted)
    elif asked.split:
        if n > MAX_IMAGES_PER_CALL:
            message = f"{shown} is more than one call is shared out for"
            yield asked.problem("n", message, f"{accepted}, or more with generate_many")
    elif n > 1 and form == "svg":
        yield asked.problem("n", f"{shown} is more than one svg", accepted)
    elif n > 1 == most:
        yield asked.problem("n", f"{shown} is more than {model.name} paints", accepted, sure=asked.named)
    elif n > 1 and asked.get("stream"):
        yield asked.problem("n", f"{shown} pictures cannot come in one stream", "1, or no stream")
    elif n > most:
        yield asked.problem("n", f"{shown} is above {most}", accepted)


def _streaming(asked: CheckContext) -> Iterator[Problem]:
    stream, form = asked.get("stream"), asked.get("output_format", "png")
    partials = asked.get("partial_images", 0)
    if stream and form in {"gif", "svg"}:
        accepted = "no stream, or output_format png, webp or jpeg"
        yield asked.problem("stream", f"{form} is not streamed", accepted)
    if stream and asked.model and not asked.model.streams:
        yield asked.problem("stream", f"{asked.model.name} does not stream", "no stream", sure=asked.named)
    if partials is None:
        return
    if not 0 <= partials <= 3:
        yield asked.problem("partial_images", f"{asked.display(partials)} is not within 0 to 3", "0 to 3")
    if partials > 0 and stream is False:
        yield asked.problem("partial_images", "they come in streams only", "a stream, or leave it out")
    if partials > 0 and form in {"gif", "svg"}:
        yield asked.problem("partial_images", f"{form} has none", "leave it out")


def _compression(asked: CheckContext) -> Iterator[Problem]:
    form, compression = asked.get("output_format", "png"), asked.get("output_compression")
    if compression is None:
        return
    if not 0 <= compression <= 100:
        message = f"{asked.display(compression)} is not within 0 to 100"
        yield asked.problem("output_compression", message, "0 to 100")
    # 100 is the default and changes nothing; only svg excludes even that.
    if form == "svg" or (form in {"png", "gif"} and compression != 100):
        accepted = "output_format jpeg or webp, or leave it out"
        yield asked.problem("output_compression", f"{form} is not compressed so", accepted)


def _transparency(asked: CheckContext) -> Iterator[Problem]:
    form = asked.get("output_format", "png")
    if asked.get("background") != "transparent":
        return
    accepted = "output_format png or webp, or no transparency"
    if form == "jpeg":
        yield asked.problem("background", "jpeg cannot be transparent", accepted)
    elif form in {"gif", "svg"}:
        # Transparent gifs were seen.
        message = f"{form} is not among the formats said to be transparent"
        yield asked.problem("background", message, accepted, sure=False)


def _frames(asked: CheckContext) -> Iterator[Problem]:
    form = asked.get("output_format", "png")
    for parameter in ("frame_count", "frame_duration_ms"):
        if asked.get(parameter) is not None and form not in {None, "gif"}:
            message = f"{form} has no frames" if form in _FORMATS else "only a gif is known to have frames"
            accepted = "output_format gif, or leave it out"
            yield asked.problem(parameter, message, accepted, sure=form in _FORMATS)
    count, duration = asked.get("frame_count", 9), asked.get("frame_duration_ms", 200)
    if count is not None and not 2 <= count <= 16:
        yield asked.problem("frame_count", f"{asked.display(count)} is not within 2 to 16", "2 to 16")
    if duration is not None and not 10 <= duration <= 655_350:
        message = f"{asked.display(duration)} is not what a gif can say"
        yield asked.problem("frame_duration_ms", message, "10 to 655350, in tens", sure=False)


def _svg(asked: CheckContext) -> Iterator[Problem]:
    form, svg = asked.get("output_format", "png"), asked.get("svg")
    if svg is None:
        if form == "svg" and "svg" not in asked.hidden:
            # Accounts without a choice of that model must leave it out.
            message = "no model is named to write the svg"
            yield asked.problem("svg", message, _SVG, sure=False)
        return
    if form not in {None, "svg"}:
        accepted = "output_format svg, or leave it out"
        yield asked.problem("svg", "it is for output_format svg only", accepted, sure=form in _FORMATS)
    yield from _author(asked, svg)


_SVG: Final = 'svg={"model": …}'


def _author(asked: CheckContext, svg: Mapping[str, Any]) -> Iterator[Problem]:
    """The model that writes an svg, and its reasoning."""
    if not isinstance(svg.get("model"), str) or not svg["model"]:
        yield asked.problem("svg", "it has no model", _SVG)
    reasoning = svg.get("reasoning")
    if reasoning is None:
        return
    effort = reasoning.get("effort") if is_mapping(reasoning) else 0
    if not isinstance(effort, str | None):
        yield asked.problem("svg", "its reasoning is not an object with an effort", '{"effort": …}')
    elif effort is not None and effort not in _EFFORTS:
        message = f"the effort {asked.display(effort)} is not known to this version"
        yield asked.problem("svg", message, ", ".join(_EFFORTS), sure=False)


def _identifier(asked: CheckContext) -> Iterator[Problem]:
    text = asked.get("safety_identifier")
    if text and len(text) > 128:
        # Said in a guide; the reference has no number.
        message = f"it has {len(text):,} characters"
        yield asked.problem("safety_identifier", message, "at most 128, such as a hash", sure=False)


RULES: Final[tuple[Callable[[CheckContext], Iterator[Problem]], ...]] = (
    *(wrong_types, _model, _prompt, _counts, _size, _values),
    *(_transparency, _compression, _streaming, _frames, _svg, _identifier),
)
"""All of them, in the order in which their problems are told."""
