"""The rules for names and sizes: whether the model exists and takes the value, and which name was probably meant.

Invariants: as in `rules.py`. A misspelt name is a certain problem, an unknown one a doubtful one. A difference
that new names do not have is a misspelling: other case or separators, two neighboring letters exchanged, a letter
doubled or left out. Another letter (`flame`), more letters at either end (`xhigh`) or other digits (`gpt-image-3`) may
be a new name. A call without a model is a problem only at OpenAI's own server: the default model of its reference,
dall-e-2, has ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from openai_images.catalog.models import (
    ANY_MODEL,
    EXAMPLE_MODEL,
    MODELS,
    ModelSpec,
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
from openai_images.validation.context import CheckContext, Problem

_RASTER: Final = ("png", "webp", "jpeg")
_WITH_VALUES: Final = (
    *("quality", "background", "output_format", "moderation", "complexity", "response_format", "style"),
    "input_fidelity",  # of edits
)

# Patterns are compiled at their first use: most requests have no unknown name.
_SEPARATORS: Final = r"[\s_./,'\"`-]+"
_TWO_NUMBERS: Final = (
    r"(?i)\s*([1-9]\d{1,4})\s*(?:px)?(?:\s*(?:x|by|[\u00d7*,;/-])\s*|\s+)([1-9]\d{1,4})\s*(?:px)?\s*"
)
_ONE_NUMBER: Final = r"(?i)\s*([1-9]\d{2,3})\s*(?:px)?\s*"
_SHAPES: Final = {
    **dict.fromkeys(("square",), "1024x1024"),
    **dict.fromkeys(("landscape", "wide", "horizontal"), "1536x1024"),
    **dict.fromkeys(("portrait", "tall", "vertical"), "1024x1536"),
    **dict.fromkeys(("2k",), "2048x2048"),
    **dict.fromkeys(("4k", "uhd"), "3840x2160"),
}
_CUTOFF: Final = 0.6
_MOST_LETTERS: Final = 80


def model_rule(context: CheckContext) -> Iterator[Problem]:
    """Yield the problems of the model: missing, ended, misspelt or unknown."""
    name = context.get("model")
    if name is None:
        if context.official and "model" not in context.unjudgeable:
            accepted = f'such as model="{EXAMPLE_MODEL}", of the request or of the client'
            yield Problem("model", "OpenAI refuses a request without one", accepted, certain=True)
        return
    model, exact_model = find_model(name)
    label = context.display(name)
    if model is not None and model.has_ended(context.today, azure=context.azure):
        provider, end = model.end(azure=context.azure)
        yield context.problem("model", f"{provider} ended {label} on {end}", context.live())
    elif context.official and model is not None and not exact_model:
        message = f"{label} is not known to this version; it is taken for a {model.name}"
        yield context.problem("model", message, context.live(), certain=False)
    elif model is None:
        yield from _unknown_model(context, name)


def _unknown_model(context: CheckContext, name: str) -> Iterator[Problem]:
    """Yield the problem of a model without a row: certain only for a misspelt name at OpenAI's own server.

    Another server has its own models and names, such as gptimage2: there only wrong letters are doubtful.
    """
    label, (near, is_misspelt) = context.display(name), _nearest(name, MODELS)
    if not context.official and not (is_misspelt and near and _fold(name) != _fold(near)):
        return
    is_certain = context.official and is_misspelt
    row = MODELS.get(near or "")
    has_ended = row is not None and row.has_ended(context.today)
    message = _unknown(label, None if has_ended else near, is_certain=is_certain)
    if row is not None and has_ended and is_misspelt:
        message += f"; OpenAI ended {row.name} on {row.ends}"
    yield Problem("model", message, context.live(), certain=is_certain)


def values_rule(context: CheckContext) -> Iterator[Problem]:
    """Yield the problems of the parameters that have a list of values."""
    for parameter in _WITH_VALUES:
        value = context.get(parameter)
        if value is not None and context.model is not None:
            yield from _value(context, context.model, parameter, value)


def _value(context: CheckContext, model: ModelSpec, parameter: str, value: str) -> Iterator[Problem]:
    values, label = model.values.get(parameter, ()), context.display(value)
    refuses = "no live model takes" if model.name == ANY_MODEL else f"{model.name} does not take"
    if not values:
        models = context.live(parameter)
        accepted = f"leave it out, or use one of {models}" if models else "leave it out"
        yield context.problem(parameter, f"{refuses} it", accepted, certain=context.exact_model)
    elif (parameter, value) in model.unsure:
        accepted = ", ".join(other for other in values if other != value)
        message = f"{label} is in preview with {model.name}, and the API was seen to refuse it"
        yield context.problem(parameter, message, accepted, certain=False)
    elif value not in values and value in known_values(parameter):
        takers = context.takers(parameter, value)
        accepted = ", ".join(values) + (f", or {label} with {takers}" if takers else "")
        yield context.problem(parameter, f"{refuses} {label}", accepted, certain=context.exact_model)
    elif value not in values:
        near, is_misspelt = _nearest(value, values)
        is_certain = is_misspelt and _is_certain(context)
        message = _unknown(label, near, is_certain=is_certain)
        yield context.problem(parameter, message, ", ".join(values), certain=is_certain)


def _is_certain(context: CheckContext) -> bool:
    """Whether the values of exactly the requested model are known and apply to this server."""
    return context.certain and context.exact_model


def _unknown(label: str, near: str | None, *, is_certain: bool) -> str:
    """Return the message for a value that is not known, or certainly misspelt."""
    message = f"there is no {label}" if is_certain else f"{label} is not known to this version"
    return message + _did_you_mean(near)


def _did_you_mean(name: str | None) -> str:
    return f"; did you mean {name}?" if name else ""


def _nearest(text: str, names: Iterable[str]) -> tuple[str | None, bool]:
    """Return the name that was probably meant, and whether the text is certainly a misspelling of it."""
    near = near_name(text, names)
    return near, near is not None and is_misspelt(text, near)


def size_rule(context: CheckContext) -> Iterator[Problem]:
    """Yield the problems of the size."""
    size, output_format, model = context.get("size"), context.get("output_format", "png"), context.model
    if size in {None, "auto"} or model is None or output_format is None or size in model.sizes:
        return
    pixels, label = parse_size(size), context.display(size)
    near, is_misspelt = (None, False) if pixels else near_size(size)
    if model.sizes:
        hint = _did_you_mean(near if near in (*model.sizes, "auto") else None)
        message = f"{model.name} does not take {label}{hint}"
        accepted = ", ".join((*model.sizes, "auto"))
        certain = context.exact_model and (pixels is not None or is_misspelt)
        yield context.problem("size", message, accepted, certain=certain)
    elif pixels is None:
        accepted = f"auto, or WIDTHxHEIGHT in pixels such as {_example(size)}"
        is_certain = _is_certain(context) and is_misspelt
        message = _unknown(label, _accepted_size(near), is_certain=is_certain)
        yield context.problem("size", message, accepted, certain=is_certain)
    elif output_format == "gif":
        yield from _sheet(context, label, *pixels)
    elif problems := size_problems(*pixels):
        width, height = nearest_size(*pixels)
        accepted = f"auto, or the nearest, {width}x{height}"
        certain = context.exact_model and output_format in _RASTER
        yield context.problem("size", f"{label}: {', '.join(problems)}", accepted, certain=certain)


def _accepted_size(near: str | None) -> str | None:
    """Return the size that was probably meant, or the nearest accepted one."""
    pixels = None if near is None else parse_size(near)
    return near if pixels is None else "{}x{}".format(*nearest_size(*pixels))


def _example(size: str) -> str:
    """Return the size that was probably meant by a ratio, or an example."""
    ratio = parse_ratio(size)
    return (largest_size(ratio) if ratio else None) or "1536x864"


def _sheet(context: CheckContext, label: str, width: int, height: int) -> Iterator[Problem]:
    """Yield the problems of the size of a gif's frames; no limits are published."""
    frames, gifs = context.get("frame_count", 9), context.get("n", 1)
    if frames is None or not 2 <= frames <= 16 or gifs is None:
        return
    if problems := gif_sheet_problems(width, height, frames, max(1, min(gifs, 10))):
        accepted = "auto, or for one gif at most 960x960 (2 to 9 frames), 816x816 (to 12) or 720x720 (to 16)"
        yield context.problem("size", f"{label}: {', '.join(problems)}", accepted, certain=False)


def near_name(text: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant; None if there is none, or if it may be a newer version or a variant."""
    known = tuple(names)
    if len(text) > _MOST_LETTERS or not text.strip():
        return None
    plain = _fold(text)
    for name in known:
        if _fold(name) == plain:
            return name
    longer = [name for name in known if name.startswith(f"{text}-")]
    if 1 <= len(longer) <= 2:
        return " or ".join(longer)
    # Imported here: most requests have no unknown name.
    from difflib import get_close_matches  # noqa: PLC0415

    for name in get_close_matches(text.lower(), known, n=1, cutoff=_CUTOFF):
        return None if text.startswith(f"{name}-") or _is_other_version(text, name) else name
    return None


def is_misspelt(text: str, name: str) -> bool:
    """Return whether the text is certainly a misspelling of the name, and not a new name."""
    short, long = sorted((_fold(text), _fold(name)), key=len)
    if re.sub(r"\D", "", short) != re.sub(r"\D", "", long):
        return False
    at = next(
        (i for i, (one, other) in enumerate(zip(short, long, strict=False)) if one != other), len(short)
    )
    if len(short) == len(long):
        return short == long or short[at:] == long[at + 1 : at + 2] + long[at : at + 1] + long[at + 2 :]
    is_one_more = len(long) == len(short) + 1 and short[at:] == long[at + 1 :]
    if not is_one_more:
        return False
    is_doubled = at > 0 and long[at] == long[at - 1]
    return is_doubled or (long == _fold(name) and 0 < at < len(short))


def near_size(text: str) -> tuple[str | None, bool]:
    """Return the size that was probably meant, and whether the text is certainly a misspelt size."""
    if len(text) > _MOST_LETTERS:
        return None, False
    if match := re.fullmatch(_TWO_NUMBERS, text):
        return f"{match[1]}x{match[2]}", True
    if match := re.fullmatch(_ONE_NUMBER, text):
        return f"{match[1]}x{match[1]}", False
    if text.strip().lower() in _SHAPES:
        return _SHAPES[text.strip().lower()], False
    return _nearest(text, ("auto",))


def _fold(text: str) -> str:
    return re.sub(_SEPARATORS, "", text).lower()


def _is_other_version(text: str, name: str) -> bool:
    """Whether the texts differ only in their digits, and both have some."""
    numbers = re.findall(r"\d+", text)
    is_same = re.sub(r"\d+", "", text) == re.sub(r"\d+", "", name)
    return bool(numbers) and re.findall(r"\d+", name) != numbers and is_same
