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

    endpoint: str
    models: Container[object]
    """The AI models that exist."""
    offsets: "array[int]" = attrs.field(init=False, factory=lambda: array("Q"))
    model: str | None = attrs.field(init=False, default=None)
    errors: list[dict[str, Any]] = attrs.field(init=False, factory=list[dict[str, Any]])
    _custom_ids: set[str] = attrs.field(init=False, factory=set[str])

    def read(self, file: BinaryIO) -> None:
        """Read the whole file."""
        for number, (offset, line) in enumerate(_lines(file), 1):
            if not line.strip():
                continue
            if len(self.offsets) == MAX_REQUESTS:
                self._add_error("too_many_tasks", f"The batch has more than {MAX_REQUESTS:,} requests.")
                break
            self._check_line(line, number)
            self.offsets.append(offset)
            if len(self.errors) >= MAX_ERRORS:
                break
        if not self.offsets:
            message = "The input file is empty. Please ensure that the batch contains at least one request."
            self._add_error("empty_file", message)

    def _add_error(
        self, code: str, message: str, *, param: str | None = None, line: int | None = None
    ) -> None:
        """Add an error in the API's words; `line` counts from 1."""
        self.errors.append({"code": code, "message": message, "param": param, "line": line})

    def _check_line(self, line: bytes, number: int) -> None:
        try:
            request = parse(line)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            message = "This line is not parseable as valid JSON."
            self._add_error("invalid_json_line", message, line=number)
            return
        values = cast("dict[str, Any]", request)
        body = values.get("body")
        self._check_custom_id(values.get("custom_id"), number)
        if values.get("method") != "POST":
            self._add_error("invalid_method", "The HTTP method must be POST.", param="method", line=number)
        if values.get("url") != self.endpoint:
            message = (
                f"The URL provided for this request does not match the batch endpoint '{self.endpoint}'."
            )
            self._add_error("invalid_url", message, param="url", line=number)
        if isinstance(body, dict):
            self._check_model(cast("dict[str, Any]", body).get("model"), number)
        else:
            self._add_missing("body", number)

    def _add_missing(self, name: str, number: int) -> None:
        message = f"Missing required parameter: '{name}'."
        self._add_error("missing_required_parameter", message, param=name, line=number)

    def _check_custom_id(self, custom_id: object, number: int) -> None:
        if not isinstance(custom_id, str) or not custom_id:
            self._add_missing("custom_id", number)
        elif custom_id in self._custom_ids:
            message = (
                f"The custom_id '{custom_id[:200]}' for this request is a duplicate of another request. The custom_id "
                "parameter must be unique for each request in a batch."
            )
            self._add_error("duplicate_custom_id", message, param="custom_id", line=number)
        else:
            self._custom_ids.add(custom_id)

    def _check_model(self, model: object, number: int) -> None:
        if model is not None and (not isinstance(model, str) or model not in self.models):
            message = f"The provided model '{str(model)[:200]}' is not supported by the Batch API."
            self._add_error("model_not_found", message, param="body.model", line=number)
        elif not self.offsets:
            self.model = model
        elif model != self.model:
            message = (
                f"The model '{model}' for this request does not match the rest of the batch. Each batch must contain "
                "requests for a single model."
            )
            self._add_error("mismatched_model", message, param="body.model", line=number)


def read_request(file: BinaryIO, offset: int) -> dict[str, Any]:
    """Return the request in the line that begins at `offset`."""
    file.seek(offset)
    return cast("dict[str, Any]", parse(file.readline(MAX_LINE_BYTES)))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while line := file.readline(MAX_LINE_BYTES):
        yield offset, line
        offset += len(line)
