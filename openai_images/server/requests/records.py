"""Records that a local server keeps of requests and downloads, and of the last requests for its page.

Invariants: for the page `RECENT_REQUESTS` are kept, each with at most a few hundred bytes, without bodies and headers.
Must not: keep the bytes of uploads, or keys.
"""

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class RecordedPart:
    """One part of a multipart request as it arrived; `text` is None for a file, whose bytes are not kept.

    `filename` and `content_type` are None if the part has none.
    """

    name: str
    """The name of the form field."""
    filename: str | None
    content_type: str | None
    """Its media type, None if the part has none."""
    nbytes: int
    """Its size in bytes."""
    sha256: str
    """The SHA-256 of its bytes, in hexadecimal."""
    text: str | None = attrs.field(
        repr=lambda text: "None" if text is None else f"<{len(text):,} characters>"
    )
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The headers of the part."""


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """One image request as it arrived; `json` is None if the body was not JSON.

    For a multipart body there are `parts`, in order, and `body` is empty.
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
    """One GET of an image by its URL, recorded when its headers arrived; `path` includes the query."""

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
        """The Host header: the server's name in the request."""
        return self.headers.get("Host", "")

    @property
    def with_key(self) -> bool:
        """Whether the request had a key."""
        return any(name.lower() in {"authorization", "api-key", "x-api-key"} for name in self.headers)


@attrs.frozen(kw_only=True)
class AnsweredRequest:
    """One answered request, of any path; `status` is 0 if the connection was closed without a response."""

    method: str
    """The HTTP method."""
    path: str
    """The path of the URL."""
    status: int
    fault: str
    """The name of its fault, "ok" for none."""


@attrs.frozen(kw_only=True)
class RecordedBatch:
    """One batch that was created, in its present state; `metadata` is None if the request had none.

    `total`, `completed` and `failed` count its requests as the API does; a request that was not run has failed.
    """

    id: str
    """The id of the batch."""
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

    Requests with status 200 are billed. Requests that expired or were cancelled are not run, and have no record.
    """

    batch_id: str
    """The id of its batch."""
    custom_id: str
    """The caller's id of the request."""
    json: Any = attrs.field(repr=False)
    status: int

    @property
    def billed(self) -> bool:
        """Whether the API would bill an image for it."""
        return self.status == 200
