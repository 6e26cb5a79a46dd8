"""The input file of a batch: finds its requests and its errors.

Invariants: blocking, so called in a thread; one line is in memory at a time; a file with an error has no requests.
Must not: check the bodies except for the model: the parameters are checked when a request is run.
"""

from array import array
from collections.abc import Container, Iterator
from typing import Any, BinaryIO, Final, cast

import attrs

from openai_images.server.requests.request_body import parse

MAX_REQUESTS: Final = 50_000
MAX_INPUT_BYTES: Final = 200 * 1024 * 1024
MAX_LINE_BYTES: Final = 64 * 1024 * 1024
MAX_ERRORS: Final = 100
"""Maximum number of listed errors of a file."""


@attrs.define
class ParsedInput:
    """The requests of a file, as the byte offsets of their lines; none if there are `errors`."""

    offsets: "array[int]" = attrs.field(factory=lambda: array("Q"))
    model: str | None = None
    errors: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])

    def add_error(
        self, code: str, message: str, *, param: str | None = None, line: int | None = None
    ) -> None:
        """Add an error in the API's words; `line` counts from 1."""
        self.errors.append({"code": code, "message": message, "param": param, "line": line})


@attrs.frozen
class _Rules:
    """The values that a line is checked against: the endpoint, the models that exist, and the ids so far."""

    endpoint: str
    models: Container[object]
    names: set[str] = attrs.field(factory=set[str])


def read_input(file: BinaryIO, endpoint: str, models: Container[object]) -> ParsedInput:
    """Read the whole file; `models` are those that exist."""
    found = ParsedInput()
    rules = _Rules(endpoint, models)
    for number, (offset, line) in enumerate(_lines(file), 1):
        if not line.strip():
            continue
        if len(found.offsets) == MAX_REQUESTS:
            found.add_error("too_many_tasks", f"The batch has more than {MAX_REQUESTS:,} requests.")
            break
        _check_line(found, line, number, rules)
        found.offsets.append(offset)
        if len(found.errors) >= MAX_ERRORS:
            break
    if not found.offsets:
        message = "The input file is empty. Please ensure that the batch contains at least one request."
        found.add_error("empty_file", message)
    return found


def read_request(file: BinaryIO, offset: int) -> dict[str, Any]:
    """Return the request in the line that begins at `offset`."""
    file.seek(offset)
    return cast("dict[str, Any]", parse(file.readline(MAX_LINE_BYTES)))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while line := file.readline(MAX_LINE_BYTES):
        yield offset, line
        offset += len(line)


def _check_line(found: ParsedInput, line: bytes, number: int, rules: "_Rules") -> None:
    try:
        request = parse(line)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        found.add_error("invalid_json_line", "This line is not parseable as valid JSON.", line=number)
        return
    values = cast("dict[str, Any]", request)
    body = values.get("body")
    _check_custom_id(found, values.get("custom_id"), number, rules.names)
    if values.get("method") != "POST":
        found.add_error("invalid_method", "The HTTP method must be POST.", param="method", line=number)
    if values.get("url") != rules.endpoint:
        message = f"The URL provided for this request does not match the batch endpoint '{rules.endpoint}'."
        found.add_error("invalid_url", message, param="url", line=number)
    if isinstance(body, dict):
        _check_model(found, cast("dict[str, Any]", body).get("model"), number, rules.models)
    else:
        message = "Missing required parameter: 'body'."
        found.add_error("missing_required_parameter", message, param="body", line=number)


def _check_custom_id(found: ParsedInput, custom_id: object, number: int, names: set[str]) -> None:
    if not isinstance(custom_id, str) or not custom_id:
        message = "Missing required parameter: 'custom_id'."
        found.add_error("missing_required_parameter", message, param="custom_id", line=number)
    elif custom_id in names:
        message = (
            f"The custom_id '{custom_id[:200]}' for this request is a duplicate of another request. The custom_id "
            "parameter must be unique for each request in a batch."
        )
        found.add_error("duplicate_custom_id", message, param="custom_id", line=number)
    else:
        names.add(custom_id)


def _check_model(found: ParsedInput, model: object, number: int, models: Container[object]) -> None:
    if model is not None and (not isinstance(model, str) or model not in models):
        message = f"The provided model '{str(model)[:200]}' is not supported by the Batch API."
        found.add_error("model_not_found", message, param="body.model", line=number)
    elif not found.offsets:
        found.model = model
    elif model != found.model:
        message = (
            f"The model '{model}' for this request does not match the rest of the batch. Each batch must contain "
            "requests for a single model."
        )
        found.add_error("mismatched_model", message, param="body.model", line=number)
