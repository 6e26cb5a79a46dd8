"""What a batch is asked for: items with a key each, and what is known of an item before it is sent.

Rules: pure. Two requests are the same if their bodies are, the client's model included; the digest of a body stands
for it in the journal, so that a journal holds no prompt. `repr` never shows a prompt.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from attrs import evolve, field, frozen

from openai_images.batch.models import BatchItem
from openai_images.catalog.prices import Prices
from openai_images.errors import BatchInputError, RequestInvalidError
from openai_images.models.cost import estimate_cost
from openai_images.models.requests import GenerateRequest
from openai_images.wire.codec import encode_request

__all__ = ["Asked", "asked_of", "input_error"]

_SHOWN = 20
_MOST = 1_000


@frozen
class Asked:
    """An item as it will be sent: its place, the whole `request`, its body's digest, its estimate in US dollars."""

    index: int
    key: str
    request: GenerateRequest
    digest: str
    estimate: Decimal | None = field(default=None)

    @property
    def pictures(self) -> int:
        """How many are asked for."""
        return self.request.n or 1

    def rest(self, kept: int, prices: Prices) -> Asked | None:
        """The same item, asking only for what is missing when so many are kept; None where it must ask for all."""
        missing = self.pictures - kept
        if not 0 < kept < self.pictures or "n" in (self.request.extra_body or {}):
            return None
        request = evolve(self.request, n=missing)
        return evolve(self, request=request, estimate=estimate_cost(request, prices))


def asked_of(items: Iterable[BatchItem], model: str | None, prices: Prices) -> list[Asked]:
    """The items as they will be sent, `model` where one names none. Raises `BatchInputError` with all that is wrong."""
    asked: list[Asked] = []
    problems: list[str] = []
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        where = f"item {index + 1}" if item.line is None else f"line {item.line}"
        if item.key in first:
            problems.append(
                f"{where}: the key {item.key[:40]!r} is that of item {first[item.key] + 1} already"
            )
        first.setdefault(item.key, index)
        request = item.request
        if request.path != GenerateRequest.path:
            problems.append(f"{where}: a batch takes no {type(request).__name__}; generate_many does")
            continue
        if request.model is None and model is not None:
            request = GenerateRequest.of(request, {"model": model})
        try:
            _check_number(request)
            asked.append(Asked(index, item.key, request, _digest(request), estimate_cost(request, prices)))
        except RequestInvalidError as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise input_error("the items", problems)
    return asked


def _check_number(request: GenerateRequest) -> None:
    """Refuse a number of pictures that nobody could name files for. Raises `RequestInvalidError`."""
    number: Any = request.n  # callers may be untyped
    if number is not None and (
        isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= _MOST
    ):
        msg = f"n must be a whole number from 1 to {_MOST:,}"
        raise RequestInvalidError(msg)


def input_error(where: str, problems: Sequence[str]) -> BatchInputError:
    """The exception that tells what is wrong: all of it in `problems`, the beginning in its text."""
    shown = "".join(f"\n  {problem}" for problem in problems[:_SHOWN])
    more = f"\n  … and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    rows = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    return BatchInputError(
        f"{where} cannot be used, and nothing was sent: {rows}{shown}{more}", problems=problems
    )


def _digest(request: GenerateRequest) -> str:
    """The SHA-256 of the request's body, in one spelling. Raises `RequestInvalidError`."""
    body = json.loads(encode_request(request, stream=False))
    canonical = json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
