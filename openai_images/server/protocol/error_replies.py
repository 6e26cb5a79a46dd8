"""Complete replies in the form of the OpenAI API, the exception with a reply, and the checks that raise it.

Invariants: an error body is `{"error": {message, type, param, code}}` in that order; every reply has an `x-request-id`;
JSON is ASCII, so that any text of a caller can be encoded; a check returns or raises the 400.
Must not: know about images, AI models or faults.
"""

import hmac
import json
import uuid
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs
from aiohttp import web

JSON_TYPE = "application/json"
USER_ERROR = "image_generation_user_error"
INVALID_REQUEST = "invalid_request_error"


@attrs.frozen
class Reply:
    """One complete response: status, body, and headers in addition to the common ones."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


class RequestRejectedError(Exception):
    """Raised to answer the request with `reply` instead of an image."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def compact_json(value: object) -> bytes:
    """Return JSON without spaces, in ASCII."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def error_reply(  # noqa: PLR0913  # the fields of the envelope
    status: int,
    message: str | None,
    error_type: str = INVALID_REQUEST,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Reply:
    """Return an error in the API's form; `more` is added at the end of the error object."""
    error = {"message": message, "type": error_type, "param": param, "code": code, **more}
    return Reply(status, compact_json({"error": error}), headers=headers or {})


def bad_request(
    message: str, *, code: str | None, param: str | None = None, error_type: str = INVALID_REQUEST
) -> RequestRejectedError:
    """Return a 400 to raise."""
    return RequestRejectedError(error_reply(400, message, error_type, code=code, param=param))


def new_request_id() -> str:
    """Return a request id in the API's form."""
    return f"req_{uuid.uuid4().hex}"


def common_headers(request_id: str, elapsed: float) -> dict[str, str]:
    """Return the headers that every response of the API has; `elapsed` is in seconds."""
    return {
        "server": "openai-images-local",
        "openai-organization": "org-local",
        "openai-project": "proj_local",
        "openai-version": "2020-10-01",
        "openai-processing-ms": str(max(1, round(elapsed * 1000))),
        "x-content-type-options": "nosniff",
        "x-request-id": request_id,
    }


def describe(value: object) -> str:
    """Return the type of a value in JSON or a form, in the API's words."""
    return _TYPE_NAMES.get(type(value), "a file")


Types = Mapping[str, type]
"""The type of each parameter that exists; `object` is a file."""
_TYPE_NAMES: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    str: "a string",
    list: "an array",
    dict: "an object",
    object: "a file",
}


def check_names_and_types(values: Mapping[str, Any], known: Types) -> dict[str, Any]:
    """Return the values that are not null; reject unknown names and values of a wrong type."""
    for name, value in values.items():
        if name not in known:
            raise unknown_parameter(name)
        # bool is an int in Python, not in JSON.
        if value is not None and type(value) is not known[name]:
            raise wrong_type(name, _TYPE_NAMES[known[name]], value)
    return {name: value for name, value in values.items() if value is not None}


def check_members(name: str, value: object, known: Types) -> dict[str, Any]:
    """Return the members of an object that are not null, by names such as `svg.model`; `known` has short names."""
    if not isinstance(value, dict):
        raise wrong_type(name, "an object", value)
    members = {f"{name}.{key}": member for key, member in cast("dict[str, Any]", value).items()}
    return check_names_and_types(members, {f"{name}.{key}": expected for key, expected in known.items()})


def unknown_parameter(name: str) -> RequestRejectedError:
    """Return the 400 for a parameter that does not exist."""
    return bad_request(f"Unknown parameter: '{name[:200]}'.", code="unknown_parameter", param=name[:200])


def missing_parameter(name: str) -> RequestRejectedError:
    """Return the 400 for a missing parameter."""
    return bad_request(
        f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name
    )


def require_parameters(values: Mapping[str, Any], *names: str) -> None:
    """Reject values that lack one of the parameters."""
    for name in names:
        if name not in values:
            raise missing_parameter(name)


def invalid_value(name: str, message: str) -> RequestRejectedError:
    """Return the 400 for a value that cannot be combined with the others."""
    return bad_request(message, code="invalid_value", param=name, error_type=USER_ERROR)


def wrong_type(name: str, expected: str, value: object) -> RequestRejectedError:
    """Return the 400 for a value that does not have the `expected` type."""
    message = f"Invalid type for '{name}': expected {expected}, but got {describe(value)} instead."
    return bad_request(message, code="invalid_type", param=name)


def check_range(name: str, value: int | None, low: int, high: int) -> None:
    """Reject an integer outside a range."""
    if value is None or low <= value <= high:
        return
    side, bound, code = (
        ("below minimum", f">= {low}", "below_min")
        if value < low
        else ("above maximum", f"<= {high}", "above_max")
    )
    text = str(value) if abs(value) < 10**18 else "a larger number"
    message = f"Invalid '{name}': integer {side} value. Expected a value {bound}, but got {text} instead."
    raise bad_request(message, code=f"integer_{code}_value", param=name)


def check_length(name: str, text: str, longest: int) -> None:
    """Reject a string that is too long."""
    if len(text) <= longest:
        return
    message = (
        f"Invalid '{name}': string too long. Expected a string with maximum length {longest}, "
        f"but got a string with length {len(text)} instead."
    )
    raise bad_request(message, code="string_above_max_length", param=name)


def choice(values: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    """Return the value of a parameter; reject a value that is not in `allowed`."""
    value: str = values.get(name, default)
    if value in allowed:
        return value
    *first, last = (f"'{item}'" for item in allowed)
    listed = f"{', '.join(first)}, and {last}" if first else last
    message = f"Invalid value: '{value[:200]}'. Supported values are: {listed}."
    raise bad_request(message, code="invalid_value", param=name)


def check_prompt(values: Mapping[str, Any], longest: int) -> str:
    """Return the prompt, whose length must be from 1 to `longest`."""
    require_parameters(values, "prompt")
    prompt: str = values["prompt"]
    if not prompt:
        message = "Invalid 'prompt': empty string. Expected a string with minimum length 1, but got an empty string."
        raise bad_request(message, code="empty_string", param="prompt")
    check_length("prompt", prompt, longest)
    return prompt


def invalid_api_key(key: str) -> Reply:
    """Return the 401 for a wrong key, whose message shows both ends of the key as the API does."""
    masked = key if len(key) < 12 else f"{key[:6]}{'*' * 8}{key[-4:]}"
    message = (
        f"Incorrect API key provided: {masked}. "
        "You can find your API key at https://platform.openai.com/account/api-keys."
    )
    return error_reply(401, message, code="invalid_api_key")


def check_api_key(request: web.Request, api_key: str) -> None:
    """Reject a request without the right key."""
    header = request.headers.get("authorization")
    if header is None:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer "
            "auth (i.e. Authorization: Bearer YOUR_KEY). You can obtain an API key from "
            "https://platform.openai.com/account/api-keys."
        )
        raise RequestRejectedError(error_reply(401, message))
    scheme, _, key = header.partition(" ")
    right = hmac.compare_digest(key.strip().encode("utf-8", "replace"), api_key.encode())
    if scheme.lower() != "bearer" or not right:
        raise RequestRejectedError(invalid_api_key(key.strip()))


def too_large(limit: int) -> RequestRejectedError:
    """Return the 413 of a body over the limit."""
    message = f"413: Maximum content size limit ({limit}) exceeded"
    return RequestRejectedError(error_reply(413, message, "server_error"))


def to_response(reply: Reply, common: Mapping[str, str]) -> web.Response:
    """Return a reply as a response, with the common headers."""
    headers = {"content-type": reply.content_type, **common, **reply.headers}
    return web.Response(status=reply.status, body=reply.body, headers=headers)
