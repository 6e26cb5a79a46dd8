"""What a local server remembers of requests and downloads.

Must not: keep the bytes of uploads.
"""

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class RecordedPart:
    """One part of a multipart request as it arrived; `text` is None for a file, whose bytes are not kept.

    `filename` and `content_type` are None where the part did not say, `sha256` is of its bytes, in hexadecimal.
    """

    name: str
    """The name of the form field."""
    filename: str | None
    content_type: str | None
    """Its media type, None where the part did not name one."""
    nbytes: int
    """How many bytes it has."""
    sha256: str
    """The SHA-256 of its bytes, in hexadecimal."""
    text: str | None = attrs.field(
        repr=lambda text: "None" if text is None else f"<{len(text):,} characters>"
    )
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The headers of the part."""


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """One request for images as it arrived: `json` is None if the body was not JSON, `fault` is its fault's name.

    Of a multipart body there are `parts`, in order, and `body` is empty.
    """

    method: str
    """The HTTP method."""
    path: str
    """The path of the URL, without its query."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The request's headers."""
    body: bytes = attrs.field(repr=lambda body: f"<{len(body):,} bytes>")
    """Its bytes; empty for multipart, which has `parts`."""
    json: Any
    peer_port: int | None
    """The client's port: requests on one connection have the same."""
    fault: str
    """The name of its fault."""
    parts: tuple[RecordedPart, ...] = ()


@attrs.frozen(kw_only=True)
class RecordedDownload:
    """One GET of an image behind a URL as its headers arrived; `path` has its query, `fault` is its fault's name."""

    method: str
    """The HTTP method."""
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The request's headers."""
    peer_port: int | None
    """The client's port: requests on one connection have the same."""
    fault: str
    """The name of its fault."""

    @property
    def host(self) -> str:
        """The Host header: the name under which the server was asked."""
        return self.headers.get("Host", "")

    @property
    def with_key(self) -> bool:
        """Whether a key came along."""
        return any(name.lower() in {"authorization", "api-key", "x-api-key"} for name in self.headers)


@attrs.frozen(kw_only=True)
class AnsweredRequest:
    """One answered request, whatever its path; `status` is 0 if the connection was closed without a response."""

    method: str
    """The HTTP method."""
    path: str
    """The path of the URL."""
    status: int
    fault: str
    """The name of its fault, "ok" for none."""


@attrs.frozen(kw_only=True)
class RecordedBatch:
    """One batch that was created, as it stands now; `metadata` is None if none came along.

    `total`, `completed` and `failed` count its requests as the API does; a request that was not run has failed.
    """

    id: str
    """The id that the server gave it."""
    status: str
    """Its status now, such as "in_progress" or "completed"."""
    endpoint: str
    """The path of its requests."""
    input_file_id: str
    """The id of the file with its requests."""
    metadata: Mapping[str, str] | None = attrs.field(repr=False)
    total: int
    completed: int
    failed: int


@attrs.frozen(kw_only=True)
class RecordedBatchRequest:
    """One request of a batch that was run: `json` is its body, `status` that of its response.

    Requests with status 200 are billed; those that expired or were cancelled are not run and not here.
    """

    batch_id: str
    """The id of its batch."""
    custom_id: str
    """The caller's name of it."""
    json: Any = attrs.field(repr=False)
    status: int

    @property
    def billed(self) -> bool:
        """Whether the API would have an image paid for."""
        return self.status == 200
