"""`list_models`: the models that the server offers to the client's key (`GET /models`).

Invariants: key, headers, proxy, timeouts, retries and error classes are those of image requests; no error is
`maybe_billed`. Imported with the first such call.
Must not: wait for the rate limits of images, or check what a model accepts.
"""

from __future__ import annotations

import json

from openai_images._util.json import has_too_many_values
from openai_images._version import __version__
from openai_images.client.attempts import CallContext
from openai_images.errors import ConfigurationError, DecodeError, annotate
from openai_images.http.endpoint import Endpoint
from openai_images.http.get_requests import Document, get
from openai_images.models.results import ModelInfo, read_models
from openai_images.wire.error_mapping import ResponseContext, error_from_body
from openai_images.wire.requests import merge_headers

_AZURE = (
    "Azure's API does not list the deployments of a resource, only the models that could be deployed; "
    "`az cognitiveservices account deployment list` and the portal show the deployments"
)
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"openai-images/{__version__}",
}


async def list_models(endpoint: Endpoint, context: CallContext) -> tuple[ModelInfo, ...]:
    """Return the models in the server's order, with retries as the policy allows. Raises `ImagesError`."""
    if endpoint.is_azure:
        raise ConfigurationError(_AZURE)
    return await context.retried(lambda: _attempt(endpoint, context))


async def _attempt(endpoint: Endpoint, context: CallContext) -> tuple[ModelInfo, ...]:
    headers, key = await endpoint.headers(context.timeouts.total)
    url = endpoint.url("/models", None)
    document = await get(url, merge_headers(_HEADERS, headers), context.transport, context.timeouts)
    secrets = (*endpoint.secrets, key) if key else endpoint.secrets
    # `unsent`: a GET is never billed, and always safe to resend.
    response = ResponseContext(document.status, document.headers, secrets, context.timing.wall(), unsent=True)
    if document.status != 200:
        raise error_from_body(response, bytes(document.body[: 128 * 1024]))
    models = _read(document)
    if models is None:
        error = DecodeError("the server answered 200, but not with a list of models; check base_url")
        raise annotate(error, {"maybe_billed": False, "request_id": response.request_id})
    return models


def _read(document: Document) -> tuple[ModelInfo, ...] | None:
    if has_too_many_values(document.body):
        return None
    try:
        return read_models(json.loads(document.body))
    except (ValueError, RecursionError):
        return None
