"""The validated request of one call, built again for each attempt, and the secrets that no error may repeat.

Invariants: `prepare` opens the images of an edit once for all sub-requests and attempts, as some can be read only once;
each attempt gets the key again.
Must not: send, or wait for rate limits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, Final, Self

from openai_images._util.json import is_mapping
from openai_images.catalog.models import MAX_IMAGES_PER_CALL, find_model
from openai_images.http.endpoint import Endpoint
from openai_images.models.requests import EditRequest, GenerateRequest, as_list, reference_of
from openai_images.validation.validator import RequestValidator
from openai_images.wire.codec import request_params
from openai_images.wire.requests import EditImages, HTTPRequest, edit_request, generate_request

_MAX_PARTIALS = 10
"""The most partial images of one image that are kept for an error; the API sends up to 3."""


class PreparedRequest:
    """A request to generate images; `request` includes the client's model, `secrets` are those of the last attempt."""

    def __init__(self, request: GenerateRequest, endpoint: Endpoint, *, stream: bool) -> None:
        """Raise `RequestInvalidError` if the endpoint cannot send the request."""
        self.stream = stream
        self.endpoint = endpoint
        self._set(request)

    def _set(self, request: GenerateRequest) -> None:
        self.request = request
        self._url = self.endpoint.url(request.path, request.model)
        self._adapted = self.endpoint.adapt(request)
        self._known = (*self._texts(), *self.endpoint.secrets)
        self.secrets = self._known

    def with_request(self, request: GenerateRequest) -> Self:
        """Return a copy for a sub-request; opened images are shared."""
        prepared = copy(self)
        prepared._set(request)  # noqa: SLF001  same class
        return prepared

    @property
    def image_count(self) -> int:
        """The number of requested images."""
        number: Any = (self.request.extra_body or {}).get("n", self.request.n)  # callers may be untyped
        return max(number, 1) if isinstance(number, int) else 1

    @property
    def partial_count(self) -> int:
        """The number of requested partial images."""
        if not self.stream:
            return 0
        per_image: Any = (self.request.extra_body or {}).get("partial_images", self.request.partial_images)
        return self.image_count * min(max(per_image, 0), _MAX_PARTIALS) if isinstance(per_image, int) else 0

    @property
    def result_fields(self) -> dict[str, Any]:
        """The fields of a result that come from the request."""
        return {"model": self.request.model, "edited": isinstance(self.request, EditRequest)}

    async def prepare(self) -> None:
        """Do everything that must be done before the wait for a slot. Raises `RequestInvalidError`."""

    async def build(self, longest: float | None) -> HTTPRequest:
        """Return the HTTP request of an attempt; `longest` limits the seconds of a function that returns the key.

        Raises `ConfigurationError` and `APITimeoutError`.
        """
        headers, key = await self.endpoint.headers(longest)
        self.secrets = (*self._known, key) if key else self._known
        return await self._build(headers)

    async def _build(self, headers: Mapping[str, str]) -> HTTPRequest:
        return generate_request(self._url, self._adapted, headers, stream=self.stream)

    def _texts(self) -> Iterator[str]:
        overriding_prompt = (self.request.extra_body or {}).get("prompt")
        yield self.request.prompt
        if isinstance(overriding_prompt, str):
            yield overriding_prompt


class PreparedEdit(PreparedRequest):
    """A request to edit images, which `prepare` opens."""

    request: EditRequest

    def __init__(
        self, request: EditRequest, endpoint: Endpoint, validator: RequestValidator, *, stream: bool
    ) -> None:
        """Raise `RequestInvalidError` if the endpoint cannot send the request."""
        super().__init__(request, endpoint, stream=stream)
        self._images = _OpenedImages(request, validator)

    async def prepare(self) -> None:
        """Open the images. Raises `RequestInvalidError`."""
        await self._images.open()

    async def _build(self, headers: Mapping[str, str]) -> HTTPRequest:
        images = await self._images.open()
        as_json = self.request.as_json or images.referred
        # 128 random bits: no image contains this boundary.
        boundary = None if as_json else os.urandom(16).hex()
        body = request_params(self._adapted, stream=self.stream)
        return edit_request(self._url, body, images, headers, stream=self.stream, boundary=boundary)

    def _texts(self) -> Iterator[str]:
        yield from super()._texts()
        for image in (*as_list(self.request.image), self.request.mask, self.request.markup):
            reference = reference_of(image)
            if reference is not None and reference.image_url is not None:
                yield reference.image_url  # it may be signed


class _OpenedImages:
    """Opens the images of a request once, for all attempts and sub-calls."""

    def __init__(self, request: EditRequest, validator: RequestValidator) -> None:
        self._request = request
        self._validator = validator
        self._lock = asyncio.Lock()
        self._opened: EditImages | None = None

    async def open(self) -> EditImages:
        # Imported here: generations start faster without it.
        from openai_images.client.open_sources import open_images  # noqa: PLC0415

        async with self._lock:
            if self._opened is None:
                self._opened = await open_images(self._request, self._validator)
            return self._opened


_DEFAULT_MAX_IMAGES: Final = 10
"""The most images of one request: the default for an unknown model, and the maximum for known ones."""


def split_counts(request: GenerateRequest, *, stream: bool) -> tuple[int, ...]:
    """Return the number of images of each sub-request; empty if the request is not split."""
    number: Any = request.n  # callers may be untyped
    extra = request.extra_body or {}
    if (
        type(number) is not int
        or not 1 < number <= MAX_IMAGES_PER_CALL
        or not is_mapping(extra)
        or "n" in extra
    ):
        return ()
    max_images = 1 if stream or extra.get("stream") is True else _max_images(request, extra)
    full, rest = divmod(number, max_images)
    counts = (max_images,) * full + ((rest,) if rest else ())
    return counts if len(counts) > 1 else ()


def global_index(index: int, first: int, count: int) -> int:
    """Return the index among all images of a sub-request's image index, clamped to its range."""
    return first + min(max(index, 0), count - 1)


def _max_images(request: GenerateRequest, extra: Mapping[str, Any]) -> int:
    """Return the most images of one request that is not a stream."""
    if extra.get("output_format", request.output_format) == "svg":
        return 1
    name = extra.get("model", request.model)
    model = find_model(name)[0] if isinstance(name, str) else None
    return _DEFAULT_MAX_IMAGES if model is None else min(model.max_images, _DEFAULT_MAX_IMAGES)
