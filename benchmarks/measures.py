"""All that is measured, by the name of the measure."""

from benchmarks.cases import Case
from benchmarks.cpu import GROWTH, JSON, PACED, STREAM, TINY, TLS
from benchmarks.delays import LATENCY, STALL
from benchmarks.imports import IMPORTS
from benchmarks.many import EFFICIENCY, GENERATE_MANY, LIMIT
from benchmarks.memory import CROWD, MEMORY

MEASURES: dict[str, tuple[Case, ...]] = {
    "paced": PACED,
    "tls": TLS,
    "stream": STREAM,
    "json": JSON,
    "memory": MEMORY,
    "stall": STALL,
    "tiny": TINY,
    "latency": LATENCY,
    "growth": GROWTH,
    "crowd": CROWD,
    "generate_many": GENERATE_MANY,
    "import": IMPORTS,
    "limit": LIMIT,
    "efficiency": EFFICIENCY,
}
AT_ONCE = ("limit",)
"""Measures whose contenders wait rather than compute."""


def case_of(key: str) -> Case:
    return next(case for cases in MEASURES.values() for case in cases if case.key == key)
