"""Makes the calls of one client: a request checked, completed with the client's settings, and split or not.

Invariants: what cannot be sent is rejected here, immediately; nothing is sent before the call is opened or read.
Must not: read a response.
"""

from __future__ import annotations

import logging
from copy import copy
from typing import TYPE_CHECKING

from attrs import evolve

from openai_images.client.attempts import Attempts, CallContext
from openai_images.client.call import Call, SingleCall
from openai_images.client.downloads import DownloadingCall
from openai_images.client.files import Output, OutputFiles
from openai_images.client.prepared import PreparedEdit, PreparedRequest
from openai_images.http.endpoint import Endpoint
from openai_images.models.requests import EditRequest, GenerateRequest
from openai_images.validation.validator import RequestValidator
from openai_images.wire.base64_decoder import MemorySinkFactory

if TYPE_CHECKING:
    from openai_images.client.remote_images import RemoteImages
    from openai_images.models.outcomes import CallObserver

_log = logging.getLogger("openai_images")


class CallFactory:
    """Makes calls with the settings of one client."""

    def __init__(
        self, endpoint: Endpoint, context: CallContext, model: str | None, validator: RequestValidator
    ) -> None:
        """`model` is for requests that name none; the validator says whether `n` is split."""
        self._endpoint = endpoint
        self._context = context
        self._model = model
        self._validator = validator
        self._new_memory_sink = MemorySinkFactory()
        self._remote_images: RemoteImages | None = None
        self._origin: CallFactory | None = None

    def with_settings(
        self, endpoint: Endpoint, context: CallContext, model: str | None, validator: RequestValidator | None
    ) -> CallFactory:
        """Return a factory with other settings that shares this one's connections; None keeps the validator."""
        other = copy(self)
        other._endpoint, other._context, other._model = endpoint, context, model  # noqa: SLF001  same class
        other._validator = validator or self._validator  # noqa: SLF001  likewise
        other._remote_images, other._origin = None, self._origin or self  # noqa: SLF001  likewise
        return other

    def new(
        self,
        request: GenerateRequest,
        output: Output | None = None,
        observer: CallObserver | None = None,
        *,
        stream: bool = False,
        wait_for_rate_limits: bool = False,
    ) -> Call:
        """Make a call, split if `n` is large; with an `output`, remote images are downloaded too.

        With `wait_for_rate_limits` there is no maximum wait for them. Raises `RequestInvalidError`.
        """
        prepared = self._prepare(request, stream=stream)
        context = self._context
        if wait_for_rate_limits:
            context = context._replace(retry=context.retry.patient)
        files = None if output is None else OutputFiles(output, several=prepared.image_count > 1)
        call = self._new_call(context, prepared, files, observer)
        if files is None:
            return call
        return DownloadingCall(call, self.remote_images, files)

    def remote_images(self) -> RemoteImages:
        """Return the client's `RemoteImages`, imported with the first remote image."""
        if self._remote_images is None:
            context, origin = self._context, self._origin
            self._remote_images = (
                self._new_remote_images()
                if origin is None
                else origin.remote_images().with_settings(self._endpoint, context.retry, context.timeouts)
            )
        return self._remote_images

    def _new_remote_images(self) -> RemoteImages:
        from openai_images.client.remote_images import RemoteImages  # noqa: PLC0415
        from openai_images.http.downloader import ImageDownloader  # noqa: PLC0415

        context = self._context
        downloader = ImageDownloader(
            self._endpoint,
            context.transport,
            retry=context.retry,
            timeouts=context.timeouts,
            timing=context.timing,
            max_bytes=context.max_image_bytes,
        )
        return RemoteImages(downloader, self._new_memory_sink)

    def _prepare(self, request: GenerateRequest, *, stream: bool) -> PreparedRequest:
        """Validate the request and add the client's model. Raises `RequestInvalidError`."""
        if request.model is None and self._model is not None:
            request = evolve(request, model=self._model)
        if not self._validator.has_checked(request, stream=stream):
            for doubt in self._validator(request, stream=stream):
                _log.warning("%s; it is sent all the same", doubt)
            for notice in self._validator.ending(request):
                _log.warning("%s", notice)
        if isinstance(request, EditRequest):
            return PreparedEdit(request, self._endpoint, self._validator, stream=stream)
        return PreparedRequest(request, self._endpoint, stream=stream)

    def _new_call(
        self,
        context: CallContext,
        prepared: PreparedRequest,
        files: OutputFiles | None,
        observer: CallObserver | None,
    ) -> Call:
        def single_call(
            part: PreparedRequest, files: OutputFiles | None, observer: CallObserver | None
        ) -> SingleCall:
            new_sink = self._new_memory_sink if files is None else files.new_sink
            return SingleCall(Attempts(context, part, observer), part, new_sink, files)

        if prepared.image_count > 1 and self._validator.split:
            # Imported when it is needed: calls of one image never load it.
            from openai_images.client.split import split_call  # noqa: PLC0415

            call = split_call(prepared, files, observer, single_call)
            if call is not None:
                return call
        return single_call(prepared, files, observer)
