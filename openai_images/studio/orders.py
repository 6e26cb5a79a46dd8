"""The orders of the page: reads their parameters from JSON, lists the values of each model, and shows the call as code.

Invariants: only parameters of the page are accepted, each with its type; the code names a model and never a key.
Must not: send anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pprint import pformat
from shlex import join, quote
from typing import Any, Final, TypeGuard, cast

from attrs import frozen

from openai_images import (
    GenerateRequest,
    ImagesClient,
    RequestInvalidError,
    estimate_cost,
    known_models,
)

__all__ = ["Order", "OrderError", "model_choices", "parse_order"]

OPENAI: Final = "https://api.openai.com/v1"
_TYPES: Final[Mapping[str, type]] = {
    **dict.fromkeys(
        ("model", "size", "quality", "background", "output_format", "moderation", "complexity", "style"), str
    ),
    **dict.fromkeys(("n", "output_compression", "partial_images"), int),
    "input_fidelity": str,
}
_OPTIONS: Final = {
    **{f"{name}": f"--{name.replace('_', '-')}" for name in _TYPES},
    "output_format": "--format",
    "output_compression": "--compression",
}
_MOST: Final = 10
"""Maximum images of one generation, as in one request of the API."""
_MOST_CHARACTERS: Final = 100_000
"""Maximum characters of an order as JSON: its estimate and its code take some 30 ms then."""
_STREAMED: Final = ("png", "jpeg", "webp")
"""Formats that can be streamed."""


class OrderError(ValueError):
    """The data from the page is not a valid order; the message is the reason."""


@frozen
class Order:
    """A prompt and its parameters; `sources` and `mask` are names or paths of images."""

    prompt: str
    params: Mapping[str, Any]
    sources: tuple[str, ...] = ()
    mask: str | None = None

    @classmethod
    def read(cls, order: Any) -> Order:
        """Return the order in a JSON object. Raises `OrderError`."""
        fields = _object(order)
        prompt, params = fields.get("prompt"), _object(fields.get("params", {}))
        if not isinstance(prompt, str) or not prompt.strip():
            raise OrderError("write a prompt")
        for name, value in params.items():
            if type(value) is not _TYPES.get(name):
                raise OrderError(f"{name[:40]!r} is not a parameter of the studio, or has the wrong type")
        if not 1 <= params.get("n", 1) <= _MOST:
            raise OrderError(f"n must be within 1 to {_MOST}")
        sources, mask = fields.get("sources", ()), fields.get("mask")
        if not _are_names(sources) or not (mask is None or isinstance(mask, str)):
            raise OrderError("the images to edit are not names")
        return cls(prompt.strip(), params, tuple(sources), mask or None)

    def describe(self, client: ImagesClient, *, local: bool) -> dict[str, Any]:
        """Return the maximum cost without the sources, the problems, and the same call as code."""
        params = {name: value for name, value in self.params.items() if name != "input_fidelity"}
        problem = None
        cost = estimate_cost(GenerateRequest(self.prompt, **params))
        try:
            client.with_options(validate="strict").stream(self.prompt, **params)
        except RequestInvalidError as error:
            problem = str(error).removesuffix('; validate="off" sends it anyway')
        base_url = OPENAI if local else client.base_url
        return {
            "estimate": None if cost is None else f"{cost.normalize():f}",
            "problem": problem,
            "code": {
                "python": self._python(base_url),
                # Azure's credentials and paths differ.
                **({} if ".azure." in base_url else {"curl": "\n".join(self._curl(base_url))}),
                "command line": self._command(base_url, local=local),
            },
        }

    def _python(self, base_url: str) -> str:
        call = {name: value for name, value in self.params.items() if name not in {"model", "partial_images"}}
        images: dict[str, object] = {}
        if self.sources:
            images["image"] = self.sources[0] if len(self.sources) == 1 else list(self.sources)
        if self.mask:
            images["mask"] = self.mask
        options = {"model": self.params.get("model")} | ({} if base_url == OPENAI else {"base_url": base_url})
        arguments = "".join(f"            {name}={value!r},\n" for name, value in {**images, **call}.items())
        prompt = pformat(self.prompt, width=90).replace("\n", "\n            ")
        return (
            "import asyncio\n\nfrom openai_images import ImagesClient\n\n\nasync def main() -> None:\n"
            f"    async with ImagesClient({', '.join(f'{k}={v!r}' for k, v in options.items())}) as client:\n"
            f"        result = await client.{'edit' if self.sources else 'generate'}(\n"
            f"            {prompt},\n{arguments}"
            f'            into="image",\n        )\n        for image in result.images:\n'
            "            print(image.path)\n\n\nasyncio.run(main())\n"
        )

    def _curl(self, base_url: str) -> Iterator[str]:
        params = {name: value for name, value in self.params.items() if name != "partial_images"}
        yield f"curl {quote(base_url)}/images/{'edits' if self.sources else 'generations'} \\"
        if not self.sources:
            body = json.dumps({"prompt": self.prompt, **params}, ensure_ascii=False)
            yield '  -H "Authorization: Bearer $OPENAI_API_KEY" \\'
            yield "  -H 'Content-Type: application/json' \\"
            yield f"  -d {quote(body)}"
            return
        yield '  -H "Authorization: Bearer $OPENAI_API_KEY" \\'
        files = [("image[]", name) for name in self.sources] + [("mask", self.mask)] * bool(self.mask)
        for field, name in files:
            yield f"  -F {quote(f'{field}=@{json.dumps(name, ensure_ascii=False)}')} \\"
        for name, value in params.items():
            yield f"  -F {quote(f'{name}={value}')} \\"
        yield f"  --form-string {quote(f'prompt={self.prompt}')}"

    def _command(self, base_url: str, *, local: bool) -> str:
        prompt = f"@{self.prompt}" if self.prompt.startswith("@") else self.prompt
        words = ["openai-images", *(("edit", *self.sources) if self.sources else ("generate",))]
        words.append(f"--prompt={prompt}" if self.sources else prompt)
        if not self.sources and prompt.startswith("-"):
            words[-1:] = ["--", prompt]
        options = [word for name, value in self.params.items() for word in _option(name, value)]
        options += ["--mask", self.mask] if self.mask else []
        options += ["--local"] if local else [] if base_url == OPENAI else ["--base-url", base_url]
        at = len(words) - 2 if "--" in words else len(words)
        return join([*words[:at], *options, *words[at:]])


def parse_order(text: str) -> Order:
    """Return the order in a JSON text. Raises `OrderError`."""
    if len(text) > _MOST_CHARACTERS:
        raise OrderError(f"the prompt is too long: at most {_MOST_CHARACTERS:,} characters")
    try:
        order: object = json.loads(text)
    except (ValueError, RecursionError):
        raise OrderError("this is not JSON") from None
    return Order.read(order)


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OrderError("the order is not a JSON object")
    return cast("dict[str, Any]", value)


def _are_names(value: object) -> TypeGuard[list[str] | tuple[()]]:
    return value == () or (
        isinstance(value, list) and all(isinstance(name, str) for name in cast("list[object]", value))
    )


def _option(name: str, value: object) -> tuple[str, str]:
    if name in {"complexity", "style"}:
        return "--param", f"{name}={value}"
    return _OPTIONS[name], str(value)


def model_choices(default: str, today: date | None = None) -> list[dict[str, Any]]:
    """Return the models that have not ended, with the values that each accepts; `default` is included if unknown."""
    today = today or datetime.now(UTC).date()
    live = [spec for spec in known_models() if not spec.has_ended(today) and spec.streams]
    choices: list[dict[str, Any]] = [
        {
            "name": spec.name,
            "values": {
                name: [value for value in values if name != "output_format" or value in _STREAMED]
                for name, values in spec.values.items()
                if name in _TYPES and (name, "transparent") not in spec.unsure
            },
            "sizes": list(spec.sizes),
            "edits": spec.edits,
            "ends": spec.ends and spec.ends.isoformat(),
        }
        for spec in live
    ]
    names = {name for spec in live for name in (spec.name, *spec.snapshots)}
    if default not in {choice["name"] for choice in choices}:
        family = next((spec.name for spec in live if default in spec.snapshots), "gpt-image-2")
        similar = next(choice for choice in choices if choice["name"] == family)
        choices.insert(0, {**similar, "name": default, "ends": similar["ends"] if default in names else None})
    return choices
