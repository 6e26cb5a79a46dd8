"""Makes the calls of one client: validates a request, adds the client's settings, and splits a large `n`.

Invariants: an invalid request is rejected here, immediately; nothing is sent before the call is opened or read.
Must not: read a response.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve

from openai_images.client.attempts import Attempts, CallContext
from openai_images.client.call import Call, SingleCall
from openai_images.client.endpoint_source import EndpointSource
from openai_images.client.files import Output, OutputFiles
from openai_images.client.prepared_request import PreparedEdit, PreparedRequest
from openai_images.client.wrapping_calls import DownloadingCall
from openai_images.errors import ConfigurationError
from openai_images.http.endpoint import Endpoint
from openai_images.models.options import Limits, RetryPolicy, Timeouts
from openai_images.models.requests import EditRequest, GenerateRequest
from openai_images.ratelimit.new_limiter import new_limiter
from openai_images.validation.validator import RequestValidator
from openai_images.wire.base64_decoder import MemorySinkFactory
from openai_images.wire.requests import CompositeBody

if TYPE_CHECKING:
    from openai_images.client.remote_images import RemoteImages
    from openai_images.models.outcomes import CallObserver, RunObserver

_log = logging.getLogger("openai_images")


class _Server:
    """An endpoint with its own limits (in `context`), validation rules and downloads."""

    def __init__(
        self,
        endpoint: Endpoint,
        context: CallContext,
        validator: RequestValidator,
        base: _Server | None = None,
    ) -> None:
        """Share the connections for downloads of `base`, if there is one."""
        self.endpoint = endpoint
        self.context = context
        self.validator = validator.for_server(official=endpoint.is_openai, azure=endpoint.is_azure)
        self.base = base
        self.patient = context._replace(retry=context.retry.patient)
        """The context of one of many calls."""
        self.remote_images: RemoteImages | None = None


class CallFactory:
    """Makes calls with the settings of one client, to the server that its endpoint currently names."""

    def __init__(
        self,
        source: EndpointSource,
        context: CallContext,
        model: str | None,
        validator: RequestValidator,
        limits: Limits,
    ) -> None:
        """Set the default `model`; `validator.split` decides whether `n` is split."""
        self._source = source
        self._context = context
        self._model = model
        self._validator = validator
        self._limits = limits
        self._new_memory_sink = MemorySinkFactory()
        self._last: _Server | None = None
        self._origin: CallFactory | None = None
        self._has_own_rules = False

    def derive(
        self,
        source: EndpointSource,
        model: str | None,
        retry: RetryPolicy,
        timeouts: Timeouts,
        validator: RequestValidator | None,
    ) -> CallFactory:
        """Return a factory with other settings and the same connections and limits; None keeps the validator."""
        context = self._context._replace(retry=retry, timeouts=timeouts)
        other = CallFactory(source, context, model, validator or self._validator, self._limits)
        other._new_memory_sink, other._origin = self._new_memory_sink, self
        other._has_own_rules = validator is not None
        return other

    @property
    def context(self) -> CallContext:
        """The context of the last call."""
        if self._last is None and self._origin is not None:
            return self._origin.context
        return self._context if self._last is None else self._last.context

    @property
    def model(self) -> str | None:
        """The default model of requests. Raises `ConfigurationError`."""
        return self._model or self._server().endpoint.default_model

    def from_keywords(
        self,
        kind: type[GenerateRequest],
        prompt: Any,
        params: Mapping[str, Any],
        output: Output | None,
        *,
        stream: bool = False,
    ) -> Call:
        """Make a call from a prompt, or a request of this kind, and keywords. Raises TypeError, and as `new` does."""
        if self._model is not None and isinstance(prompt, str):  # set at once, not in a copy
            params = {"model": self._model, **params}
        return self.new(kind.of(prompt, params), output, stream=stream)

    def new(
        self,
        request: GenerateRequest,
        output: Output | None = None,
        observer: CallObserver | None = None,
        *,
        stream: bool = False,
        wait_for_rate_limits: bool = False,
    ) -> Call:
        """Make a call, split if `n` is large; with an `output`, remote images are downloaded.

        With `wait_for_rate_limits` the wait for rate limits has no maximum. Raises `RequestInvalidError`, and
        `ConfigurationError` without a key.
        """
        server = self._server()
        prepared = self._prepare(request, server, stream=stream)
        context = server.patient if wait_for_rate_limits else server.context
        new_call = partial(self._call_into, output, server, context, prepared)
        if context.telemetry is None:
            return new_call(observer)
        # Imported here: calls without telemetry never load it.
        from openai_images.client.traced_call import trace_call  # noqa: PLC0415

        return trace_call(new_call, observer, prepared, context.timing, context.telemetry)

    def connection(self) -> tuple[Endpoint, CallContext]:
        """Return the current endpoint and its context, for other calls than images. Raises `ConfigurationError`."""
        server = self._server()
        return server.endpoint, server.context

    async def json_body(self, request: GenerateRequest) -> bytes | CompositeBody:
        """Return a request's body in JSON, input images included; nothing is sent. Raises `RequestInvalidError`."""
        if isinstance(request, EditRequest):
            request = evolve(request, as_json=True)
        prepared = self._prepare(request, self._server(), stream=False)
        await prepared.prepare()
        return (await prepared.build(self.context.timeouts.total)).body

    def remote_images(self) -> RemoteImages:
        """Return the downloader of images from the current server. Raises `ConfigurationError`."""
        return self._remote_images(self._server())

    def _remote_images(self, server: _Server) -> RemoteImages:
        if server.remote_images is None and server.base is not None:
            context, shared = server.context, self._remote_images(server.base)
            server.remote_images = shared.with_settings(server.endpoint, context.retry, context.timeouts)
        if server.remote_images is None:
            # Imported with the first remote image.
            from openai_images.client.remote_images import RemoteImages  # noqa: PLC0415
            from openai_images.http.downloader import ImageDownloader  # noqa: PLC0415

            context = server.context
            downloader = ImageDownloader(
                server.endpoint,
                context.transport,
                retry=context.retry,
                timeouts=context.timeouts,
                timing=context.timing,
                waits=context.waits,
                max_bytes=context.max_image_bytes,
            )
            server.remote_images = RemoteImages(downloader, self._new_memory_sink)
        return server.remote_images

    def _server(self) -> _Server:
        base = None
        if self._origin is not None:
            with suppress(ConfigurationError):  # no key: the headers of this call may have one
                base = self._origin._server()  # noqa: SLF001  same class
        endpoint, server = self._source.current(), self._last
        if server is None or server.endpoint is not endpoint or server.base is not base:
            context = self._context
            if base is not None:
                context = context._replace(limiter=base.context.limiter)
            elif server is not None and self._limits.shared is None:
                # Limits belong to a server and a key; shared ones belong to their name.
                context = context._replace(limiter=new_limiter(self._limits, context.timing))
            rules = self._validator if base is None or self._has_own_rules else base.validator
            server = self._last = _Server(endpoint, context, rules, base)
        return server

    def _prepare(self, request: GenerateRequest, server: _Server, *, stream: bool) -> PreparedRequest:
        """Add the client's model and validate the request. Raises `RequestInvalidError`."""
        model, validator = self._model or server.endpoint.default_model, server.validator
        if request.model is None and model is not None:
            request = evolve(request, model=model)
        if not validator.has_checked(request, stream=stream):
            for doubt in validator(request, stream=stream):
                _log.warning("%s; the server decides", doubt)
            for notice in validator.ending(request):
                _log.warning("%s", notice)
        if isinstance(request, EditRequest):
            return PreparedEdit(request, server.endpoint, validator, stream=stream)
        return PreparedRequest(request, server.endpoint, stream=stream)

    def _call_into(
        self,
        output: Output | None,
        server: _Server,
        context: CallContext,
        prepared: PreparedRequest,
        observer: CallObserver | None,
    ) -> Call:
        files = None if output is None else OutputFiles(output, several=prepared.image_count > 1)
        call = self._new_call(context, prepared, files, observer)
        if files is None:
            return call
        return DownloadingCall(call, partial(self._remote_images, server), files)

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
            # Imported here: calls of one image never load it.
            from openai_images.client.split import split_call  # noqa: PLC0415

            call = split_call(prepared, files, observer, single_call)
            if call is not None:
                return call
        return single_call(prepared, files, observer)


def run_observer(context: CallContext, name: str) -> RunObserver | None:
    """Return the telemetry of a run of many calls by the method `name`, or None."""
    if context.telemetry is None:
        return None
    # Imported here: runs without telemetry never load it.
    from openai_images.telemetry.call_trace import RunTrace  # noqa: PLC0415

    return RunTrace(context.telemetry, name)
