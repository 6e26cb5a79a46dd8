"""`ray_stage`: a stage for `Dataset.map_batches` of Ray Data, which runs items in actors.

Invariants: only small rows come back; an item that fails is a row, never an exception, which would fail the Ray job. One
client and one semaphore in each actor's process.
Must not: be imported before it is used (Ray is an extra), or hold an image.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from openai_images.cluster.worker import ItemSpec, Job, Row, run_items

if TYPE_CHECKING:
    from ray.data import Dataset

_ROWS_PER_BLOCK = 8
_OVERLAP = 32
"""Blocks that an actor runs at once: with 8 rows in each, four times the 64 requests that are in flight."""

_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("id", pa.string()),
        ("state", pa.string()),
        ("images", pa.list_(pa.string())),
        ("cost", pa.string()),
        ("error", pa.string()),
        ("message", pa.string()),
    ]
)
