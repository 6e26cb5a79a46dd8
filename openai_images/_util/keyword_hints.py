"""Hints for unknown names: what to write instead of a misspelt name, or of a name of another package.

Invariants: a hint names what exists in this package, or says that it has no such thing
(`tests/models/test_keyword_hints.py`); no text contains a value; imported only when an error is raised.
Must not: accept, convert or correct a name.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

_CALL: Final = "timeout=, headers=, retry= and max_retries= are for the whole run: pass them to generate_many"
_QUERY: Final = "no query can be added to a request; ImagesClient.azure(api_version=…) adds Azure's"
_AZURE: Final = "ImagesClient.azure({}=…) makes a client for Azure"
_CLIENT: Final = "it belongs to the client: pass it to ImagesClient(…)"
_OWN_CLIENT: Final = "make another ImagesClient({}=…); connections and limits belong to one account"
_EDIT: Final = "client.edit(…), client.stream_edit(…) and EditRequest take {}"
_CONCURRENCY: Final = "write limits=Limits(concurrency=…), or generate_many(…, concurrency=…)"
_SIZE: Final = (
    'write size="WIDTHxHEIGHT", such as size="1536x1024"; size_of_ratio("16:9") returns one for a ratio'
)
_OTHER: Final = 'OpenAI has no such parameter; for a server that accepts it, write extra_body={{"{}": …}}'

KEYWORDS: Final[Mapping[str, str]] = {
    # of the official package
    "extra_headers": "write headers={…}",
    "default_headers": "write headers={…}",
    "extra_query": _QUERY,
    "default_query": _QUERY,
    "stream": "client.stream(…) and client.stream_edit(…) yield events, generate and edit return the result",
    "http_client": "pass session=aiohttp.ClientSession(…), or proxy= and ssl=, to ImagesClient(…)",
    "azure_endpoint": _AZURE.format("endpoint"),
    "azure_deployment": _AZURE.format("deployment"),
    "azure_ad_token": _AZURE.format("token_provider"),
    "azure_ad_token_provider": _AZURE.format("token_provider"),
    **{name: _AZURE.format(name) for name in ("endpoint", "deployment", "api_version", "token_provider")},
    # of this package, in another place
    "timeouts": "write timeout=, in seconds or as Timeouts(…)",
    "timeout": _CALL,
    "headers": _CALL,
    "retry": _CALL,
    "max_retries": _CALL,
    "image": _EDIT.format("images"),
    "mask": _EDIT.format("a mask"),
    "markup": _EDIT.format("a markup"),
    **{name: _EDIT.format(name) for name in ("input_fidelity", "as_json")},
    "into": "generate, edit, generate_many and download take into=, each for the whole call",
    "keep_partials": "client.stream(…) and client.stream_edit(…) yield and keep partial images",
    **dict.fromkeys(("concurrency", "max_concurrency"), _CONCURRENCY),
    **dict.fromkeys(("budget", "max_cost"), "a Batch has a budget, in its BatchOptions(…)"),
    "key": "a mapping of generate_many may have a key, which names its files",
    **{
        name: _OWN_CLIENT.format(name)
        for name in ("api_key", "base_url", "organization", "project", "limits")
    },
    **dict.fromkeys(
        ("session", "proxy", "ssl", "trust_env", "timing", "validate", "split", "show_prompts"), _CLIENT
    ),
    # of other packages and models
    **dict.fromkeys(("verify", "verify_ssl", "ssl_context"), "write ssl=…, in ImagesClient(…)"),
    **dict.fromkeys(("width", "height", "aspect_ratio", "resolution"), _SIZE),
    **dict.fromkeys(("num_images", "num_outputs", "number", "count"), "write n=…"),
    **dict.fromkeys(("engine", "model_name", "model_id"), "write model=…"),
    **dict.fromkeys(("format", "image_format"), "write output_format=…"),
    **dict.fromkeys(("path", "file", "filename", "output", "save_to"), "write into=…"),
    **dict.fromkeys(("images", "input_image"), "write image=…, in client.edit(…)"),
    **{name: _OTHER.format(name) for name in ("seed", "negative_prompt", "steps", "guidance_scale")},
}
"""What to write instead of a keyword."""

_VERBS: Final = "call client.generate(…), client.edit(…), client.stream(…) or client.stream_edit(…)"
_RAW: Final = (
    "results and errors have request_id, attempts, elapsed and extra; there is no access to the raw response"
)
_ABSENT: Final = "this package is for images only; use the official package for everything else"

ATTRIBUTES: Final[Mapping[str, str]] = {
    "images": _VERBS,
    "create": _VERBS,
    "models": "await client.list_models() lists what the server offers, and known_models() what this package knows",
    "create_variation": "variations are retired; client.edit(…) takes images",
    "with_raw_response": _RAW,
    "with_streaming_response": _RAW,
    "copy": "client.with_options(…) gives a client with other settings, and copy.copy one with its own connections",
    "close": "write await client.aclose(), or async with",
    "batch": "client.generate_many(…) sends many requests, and the class Batch survives a crash",
    "batches": "client.generate_many(…) sends many requests, and the class Batch survives a crash",
    **dict.fromkeys(("chat", "responses", "completions", "embeddings", "files", "audio"), _ABSENT),
    **dict.fromkeys(
        ("timeout", "max_retries", "default_headers", "api_key", "organization"),
        "a client does not show its settings; client.with_options(…) gives one with others",
    ),
}
"""What to write instead of an attribute of the client."""

_BYTES: Final = "image.data has the bytes, and image.data_url() base64"
_EVENT: Final = {
    **dict.fromkeys(("b64_json", "data"), "event.image.data has the bytes, not base64"),
    "type": "isinstance(event, CompletedImage) tells a finished image from a PartialImage",
}
VALUE_ATTRIBUTES: Final[Mapping[str, Mapping[str, str]]] = {
    "ImageResult": {
        "data": "result.images has the images, result.image the first one; the bytes are result.image.data",
        "b64_json": "result.image.data has the bytes, and result.image.data_url() base64",
        "save": "result.image.save(…) writes the first image, and into=… all of them, while they arrive",
        "_request_id": "it is result.request_id",
        **{name: f"it is result.image.{name}" for name in ("url", "path", "revised_prompt", "media_type")},
    },
    "Image": {
        **dict.fromkeys(("b64_json", "base64"), _BYTES),
        **dict.fromkeys(("bytes", "content", "image_bytes"), "it is image.data"),
        **dict.fromkeys(("format", "mime_type"), "it is image.media_type"),
        "size": "it is image.width and image.height, in pixels; image.nbytes is the number of bytes",
        **dict.fromkeys(("pil", "to_pil"), "image.open() returns a Pillow image"),
    },
    "PartialImage": _EVENT,
    "CompletedImage": _EVENT,
}
"""What to write instead of an attribute of a value, by its class."""

VERB_KEYWORDS: Final = ("into", "overwrite", "timeout", "headers", "retry", "max_retries")
"""Keywords of the client's methods in addition to the endpoint's parameters."""


def unknown_keyword(name: object, known: Iterable[str]) -> str:
    """Return the message about a keyword that is not in `known`."""
    hint = _hint(str(name), known)
    start = f"unknown parameter {str(name)[:40]!r}"
    if hint is None:
        return f"{start}: send parameters this version does not know with extra_body={{…}}"
    return f"{start}: {hint}"


def unknown_setting(name: str, known: Iterable[str], function: str) -> str:
    """Return the message about a setting that `function` does not have."""
    known = tuple(known)
    hint = _hint(name, known) or f"there are {', '.join(known)}"
    return f"{function} has no setting {name!r}: {hint}"


_OFFICIAL_NAMES: Final = {
    **dict.fromkeys(("OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI"), "ImagesClient"),
    **dict.fromkeys(("OpenAIError", "APIError"), "ImagesError"),
    "UnprocessableEntityError": "BadRequestError",
    "ConflictError": "APIStatusError",
    "APIResponseValidationError": "DecodeError",
}
"""Names of the official package, and what they are called here."""


def unknown_attribute(class_name: str, name: str) -> str:
    """Return the message about an attribute that a value, or the client (also of a subclass), does not have."""
    missing = f"{class_name!r} object has no attribute {name!r}"
    hint = VALUE_ATTRIBUTES.get(class_name, ATTRIBUTES).get(name)
    return missing if hint is None else f"{missing}: {hint}"


def unknown_field(class_name: str, name: str, names: Sequence[str]) -> TypeError:
    """Return the error that a constructor raises for a keyword `name` that is not one of its `names`."""
    matches = get_close_matches(name.lower(), names, 1)
    advice = f"did you mean {matches[0]!r}?" if matches else f"there are {', '.join(names)}"
    return TypeError(f"{class_name} has no keyword {name[:40]!r}; {advice}")


def missing_name(module: str, name: str, names: Sequence[str]) -> AttributeError | ImportError:
    """Return the error that `__getattr__` of `module` raises for a `name` that is not one of its public `names`.

    `from module import name` replaces an AttributeError by a message without the advice, so it gets an ImportError,
    except where `name` may be a submodule: after an AttributeError the statement looks for one.
    """
    matches = get_close_matches(name, names, 1) if not name.startswith("_") else []
    matches = [_OFFICIAL_NAMES[name]] if name in _OFFICIAL_NAMES else matches
    advice = f"; did you mean {matches[0]!r}?" if matches else ""
    if matches and _is_from_import() and importlib.util.find_spec(f"{module}.{name}") is None:
        return ImportError(f"cannot import name {name!r} from {module!r}{advice}", name=module)
    # With the module as `obj` the interpreter would add the same advice again.
    return AttributeError(f"module {module!r} has no attribute {name!r}{advice}", name=name, obj=None)


def _hint(name: str, known: Iterable[str]) -> str | None:
    if name in KEYWORDS:
        return KEYWORDS[name]
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else None


def _is_from_import() -> bool:
    """Whether the caller is `from module import name`, in which importlib's own function looks up the name."""
    frame = sys._getframe(3)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  documented, like inspect's
    return frame.f_code.co_name == "_handle_fromlist"
