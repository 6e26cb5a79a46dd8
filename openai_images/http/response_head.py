"""How much of an answer's head aiohttp takes, and what it says where it refuses one.

Invariants: no text from here holds bytes of the answer. Must not: loosen the grammar of HTTP.
"""

from __future__ import annotations

import re
from typing import Final, TypedDict

import aiohttp


class _Limits(TypedDict):
    max_line_size: int
    max_field_size: int


HEAD_LIMITS: Final = _Limits(max_line_size=64 * 1024, max_field_size=64 * 1024)
"""For the package's own sessions. Gateways send policies and echo prompts in headers beyond aiohttp's 8,190 bytes."""

_BYTES = re.compile(
    r"(?: when reading)?:?\s*(?:b['\"]|bytearray\().*", re.DOTALL
)  # aiohttp quotes the answer


def head_flaw(error: BaseException) -> str | None:
    """What is wrong with the head that aiohttp refused; None where the error is another one."""
    if not isinstance(error, aiohttp.ClientResponseError) or isinstance(error, aiohttp.ClientHttpProxyError):
        return None
    return " ".join(_BYTES.sub("", error.message).split()) or "aiohttp cannot parse it"
