"""`BatchService`: the calls of the provider's Batch API, with the client's key, connections and retries.

Invariants: only creating a batch costs money: it is sent again only after a status that proves that it was rejected, or
if nothing was sent; after any other failure the batch may exist, whatever the response says about retries. Uploads,
status requests and cancellations are free, and sent again after any failure. Every wait is bounded, and ends when the
run is stopped; then nothing more is sent, and only the response to a creation that was sent is awaited.
Must not: decide what is sent.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from attrs import evolve

from openai_images._util.json import has_too_many_values, is_object
from openai_images._util.stop_signal import StoppedError, StopSignal
from openai_images._version import __version__
from openai_images.batch.provider.files import InputFile
from openai_images.batch.provider.provider_batch import TAG, ProviderBatch, are_older, expect_batch, read_page
from openai_images.client.attempts import CallContext
from openai_images.client.sources import FileSource
from openai_images.errors import (
    APIConnectionError,
    APIStatusError,
    ConfigurationError,
    DecodeError,
    NotFoundError,
    OutcomeUnknownError,
    ResponseTooLargeError,
    StatusOutcomeUnknownError,
    annotate,
)
from openai_images.http.endpoint import Endpoint
from openai_images.http.get_requests import FileDownload, get, open_file
from openai_images.http.request_body import RequestProgress
from openai_images.wire.error_mapping import ResponseContext, error_from_body
from openai_images.wire.requests import CompositeBody, HTTPRequest, merge_headers

MAX_BYTES: Final = 4 * 1024 * 1024
"""The most bytes of a response, which describes up to 100 batches."""

_PAGE = 100
_MAX_PAGES = 1_000
"""100,000 batches: the provider accepts 2,000 per hour."""

_CLOCK_MARGIN = 24 * 3600
"""The most seconds by which the provider's clock and this machine's differ."""

_SLOWEST_UPLOAD = 50_000
"""The slowest upload in bytes per second: an upload has this much time in addition to `Timeouts.total`."""

_T = TypeVar("_T")

_SUCCESS = range(200, 300)
_REFUSALS: Final = frozenset({400, 401, 402, 403, 404, 405, 413, 422, 429})
"""Statuses that prove that a batch was not created; a 429 is decided before the creation, and is the only one that is
retried. After other statuses, such as a gateway's 409 or 503, the batch may exist."""

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"openai-images/{__version__}",
}


class BatchService:
    """Files and batches of one server; all calls raise `StoppedError` once the `stop` signal is set."""

    def __init__(self, endpoint: Endpoint, context: CallContext, stop: StopSignal | None = None) -> None:
        """Raise `ConfigurationError` for Azure, whose batches need a deployment and another URL."""
        if endpoint.is_azure:
            raise ConfigurationError(
                "economy needs OpenAI's Batch API; Azure's differs: send to OpenAI, or leave economy out"
            )
        self._endpoint = endpoint
        self._stop = stop or StopSignal()
        self._wait = context.timing.sleep
        self._context = context._replace(
            retry=evolve(context.retry, retry_unknown=False),
            timing=evolve(context.timing, sleep=self._sleep),
        )
        self._creation: RequestProgress | None = None

    async def upload(self, file: InputFile) -> str:
        """Upload a file in constant memory, and return its id. Raises `ImagesError`."""
        return await self._free(lambda: self._upload(file))

    async def create(self, input_file_id: str, endpoint: str, tag: str) -> ProviderBatch:
        """Create a batch. Raises `ImagesError`; an `OutcomeUnknownError` if the batch may exist.

        After a `StoppedError` it does not exist.
        """
        body = {
            "input_file_id": input_file_id,
            "endpoint": endpoint,
            "completion_window": "24h",
            "metadata": {TAG: tag},
        }
        self._creation = None
        try:
            with self._stop.waiting(unless=self._may_be_created):
                return await self._context.retried(lambda: self._create(body))
        except StoppedError:
            if self._may_be_created():  # it was sent at the same moment
                msg = "the run was stopped while a batch was created; the batch may exist"
                raise StatusOutcomeUnknownError(msg) from None
            raise

    async def retrieve(self, batch_id: str) -> ProviderBatch:
        """Get the state of a batch. Raises `ImagesError`."""
        return await self._free(lambda: self._retrieve(batch_id))

    async def cancel(self, batch_id: str) -> ProviderBatch:
        """Cancel a batch; requests that were executed are billed. Raises `ImagesError`."""
        path = f"/batches/{quote(batch_id, safe='')}/cancel"
        return await self._free(lambda: self._post(path, None, is_free=True))

    async def has_file(self, file_id: str) -> bool:
        """Return whether the project of this key has the file. Raises `ImagesError`."""
        try:
            await self._free(lambda: self._get(f"/files/{quote(file_id, safe='')}"))
        except NotFoundError:
            return False
        return True

    async def find(self, tag: str, since: float, input_file_id: str = "") -> list[ProviderBatch]:
        """Return the batches with this tag or input file that were created after `since` (Unix seconds), oldest first.

        Raises `ImagesError`, also if the list could not be read to its end.
        """
        seen: set[str] = set()
        found: dict[str, ProviderBatch] = {}
        after: str | None = None
        for _ in range(_MAX_PAGES):
            page, has_more = await self._free(partial(self._list, after))
            found |= {batch.id: batch for batch in page if batch.is_of(tag, input_file_id)}
            has_new = not seen.issuperset(batch.id for batch in page)
            seen.update(batch.id for batch in page)
            is_end = has_more is False or not page or (has_more is None and not has_new)
            if is_end or are_older(page, since - _CLOCK_MARGIN):
                return sorted(found.values(), key=lambda batch: batch.created_at or 0)
            if not has_new:
                break
            after = page[-1].id
        raise DecodeError(f"the server's list of batches does not end ({len(seen):,} were read)")

    async def open_file(self, file_id: str, start: int = 0) -> FileDownload:
        """Open the download of a file from byte `start`; the caller closes it. Raises `ImagesError`."""
        return await self._free(lambda: self._open_file(file_id, start))

    async def _free(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Make a call that costs nothing, and may therefore be interrupted at any time."""
        with self._stop.waiting():
            return await self._context.retried(attempt)

    async def _sleep(self, seconds: float) -> None:
        with self._stop.waiting():
            await self._wait(seconds)

    def _note_creation(self, progress: RequestProgress) -> None:
        self._creation = progress

    def _may_be_created(self) -> bool:
        return self._creation is not None and self._creation.may_be_executed

    async def _headers(self, headers: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return the headers, authorization included, and the texts to redact in errors."""
        own, key = await self._endpoint.headers(self._context.timeouts.total)
        known = self._endpoint.secrets
        return merge_headers({**_HEADERS, **headers}, own), ((*known, key) if key else known)

    async def _get(self, path: str) -> Any:
        headers, known = await self._headers({})
        document = await get(
            self._endpoint.url(path, None), headers, self._context.transport, self._context.timeouts
        )
        return self._read(document.status, document.headers, bytes(document.body), known, is_free=True)

    async def _create(self, body: Mapping[str, Any]) -> ProviderBatch:
        self._creation = None
        try:
            return await self._post("/batches", body, is_free=False)
        except APIStatusError as error:
            if error.status_code in _REFUSALS:
                self._creation = None
                raise
            if isinstance(error, OutcomeUnknownError):
                raise
            raise StatusOutcomeUnknownError(
                f"{error}; the batch may exist nevertheless",
                status_code=error.status_code,
                code=error.code,
                request_id=error.request_id,
            ) from None

    async def _retrieve(self, batch_id: str) -> ProviderBatch:
        return expect_batch(await self._get(f"/batches/{quote(batch_id, safe='')}"))

    async def _list(self, after: str | None) -> tuple[list[ProviderBatch], bool | None]:
        """Return a page of the list, and whether the server says that there are more."""
        query = urlencode({"limit": _PAGE, **({"after": after} if after else {})})
        return read_page(await self._get(f"/batches?{query}"))

    async def _upload(self, file: InputFile) -> str:
        boundary = secrets.token_hex(16)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        body = _form(file.source(), boundary)
        doc = await self._send("/files", headers, body, is_free=True)
        name = doc.get("id") if is_object(doc) else None
        if not isinstance(name, str) or not name:
            error = DecodeError("the server's response to the upload has no file id; check base_url")
            raise annotate(error, {"maybe_billed": False})
        return name

    async def _post(self, path: str, body: Mapping[str, Any] | None, *, is_free: bool) -> ProviderBatch:
        data = b"" if body is None else json.dumps(body).encode()
        return expect_batch(
            await self._send(path, {"Content-Type": "application/json"}, data, is_free=is_free)
        )

    async def _send(
        self, path: str, headers: Mapping[str, str], body: bytes | CompositeBody, *, is_free: bool
    ) -> Any:
        context, timeouts = self._context, self._context.timeouts
        if timeouts.total is not None:
            timeouts = evolve(timeouts, total=timeouts.total + len(body) / _SLOWEST_UPLOAD)
        sent_headers, known = await self._headers(headers)
        request = HTTPRequest(self._endpoint.url(path, None), sent_headers, body)
        try:
            response = await context.transport.open(
                request, timeouts, lambda progress: None if is_free else self._note_creation(progress)
            )
            try:
                data = await response.read_error_body() if response.status not in _SUCCESS else b""
                while response.status in _SUCCESS and (chunk := await response.read()):
                    data += chunk
                    if len(data) > MAX_BYTES:
                        raise ResponseTooLargeError(f"the response has more than {MAX_BYTES:,} bytes")
            finally:
                response.close()
        except OutcomeUnknownError as error:
            if not is_free:
                raise
            msg = f"{error.args[0]}".replace("; it may have been billed", "; nothing is billed for it")
            raise annotate(APIConnectionError(msg), {"safe_to_resend": True}) from error
        return self._read(response.status, response.headers, data, known, is_free=is_free)

    def _read(
        self, status: int, headers: Mapping[str, str], body: bytes, known: tuple[str, ...], *, is_free: bool
    ) -> Any:
        """Return the JSON document of a response. Raises `ImagesError`."""
        if status not in _SUCCESS:
            context = ResponseContext(status, headers, known, self._context.timing.wall(), unsent=is_free)
            raise error_from_body(context, body[: 128 * 1024])
        try:
            return None if has_too_many_values(bytearray(body)) else json.loads(body)
        except (ValueError, RecursionError):
            return None

    async def _open_file(self, file_id: str, start: int) -> FileDownload:
        headers, known = await self._headers({"Accept": "application/binary"})
        url = self._endpoint.url(f"/files/{quote(file_id, safe='')}/content", None)
        context = self._context
        download = await open_file(url, headers, context.transport, context.timeouts, start)
        if download.status in _SUCCESS:
            return download
        try:
            body = await download.read_error()
        finally:
            download.close()
        response = ResponseContext(
            download.status, download.headers, known, context.timing.wall(), unsent=True
        )
        raise error_from_body(response, body)


def _form(source: FileSource, boundary: str) -> CompositeBody:
    """Return the multipart form that uploads an input file."""
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="requests.jsonl"\r\n'
        f"Content-Type: {source.media_type}\r\n\r\n"
    )
    return CompositeBody((head.encode(), source, f"\r\n--{boundary}--\r\n".encode()))
