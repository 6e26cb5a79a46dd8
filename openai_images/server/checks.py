"""The checks that all parameters share, in the words of the API: types, ranges, lists of values, lengths.

Rules: each either returns or raises the 400; null means "not given". It refuses to know any parameter by name.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

from openai_images.server.error_replies import USER_ERROR, RefusalError, describe, refuse

Types = Mapping[str, tuple[str, type]]


def check_names_and_types(given: Mapping[str, Any], known: Types) -> None:
    """Refuses a name that is not known, or a value of another type than it has."""
    for name, value in given.items():
        if name not in known:
            raise unknown(name)
        words, kind = known[name]
        # bool is an int in Python, not in JSON.
        if value is not None and type(value) is not kind:
            wrong_type(name, words, value)


def unknown(name: str) -> RefusalError:
    """The refusal of a parameter that there is not."""
    return refuse(f"Unknown parameter: '{name[:200]}'.", code="unknown_parameter", param=name[:200])


def missing(name: str) -> RefusalError:
    """The refusal of a request without a parameter it must have."""
    return refuse(f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)


def unfit(name: str, message: str) -> RefusalError:
    """The refusal of a value that does not go with the others."""
    return refuse(message, code="invalid_value", param=name, kind=USER_ERROR)


def wrong_type(name: str, words: str, value: object) -> NoReturn:
    """Refuses a value of another type than `words` say."""
    message = f"Invalid type for '{name}': expected {words}, but got {describe(value)} instead."
    raise refuse(message, code="invalid_type", param=name)


def check_range(name: str, value: int | None, low: int, high: int) -> None:
    """Refuses an integer outside a range."""
    if value is None or low <= value <= high:
        return
    side, bound, code = (
        ("below minimum", f">= {low}", "below_min")
        if value < low
        else ("above maximum", f"<= {high}", "above_max")
    )
    shown = str(value) if abs(value) < 10**18 else "a larger number"
    message = f"Invalid '{name}': integer {side} value. Expected a value {bound}, but got {shown} instead."
    raise refuse(message, code=f"integer_{code}_value", param=name)


def check_length(name: str, text: str, longest: int) -> None:
    """Refuses a string that is too long."""
    if len(text) <= longest:
        return
    message = (
        f"Invalid '{name}': string too long. Expected a string with maximum length {longest}, "
        f"but got a string with length {len(text)} instead."
    )
    raise refuse(message, code="string_above_max_length", param=name)


def one_of(given: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    """The value of a parameter that has only these."""
    value: str = given.get(name, default)
    if value in allowed:
        return value
    listed = ", ".join(f"'{one}'" for one in allowed[:-1])
    message = f"Invalid value: '{value[:200]}'. Supported values are: {listed}, and '{allowed[-1]}'."
    raise refuse(message, code="invalid_value", param=name)


def prompt_of(given: Mapping[str, Any], longest: int) -> str:
    """The prompt, which must be there and have a length from 1 to `longest`."""
    if "prompt" not in given:
        raise missing("prompt")
    prompt: str = given["prompt"]
    if not prompt:
        message = "Invalid 'prompt': empty string. Expected a string with minimum length 1, but got an empty string."
        raise refuse(message, code="empty_string", param="prompt")
    check_length("prompt", prompt, longest)
    return prompt
