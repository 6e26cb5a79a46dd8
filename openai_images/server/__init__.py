"""The local images server: the wire format of the OpenAI Images API on loopback, with placeholder images and faults.

Invariants: it shares no code with the client: a shared mistake would go unnoticed on both sides.
Must not: be reachable from another machine.
"""

from importlib.util import find_spec

if find_spec("PIL") is None:
    _MESSAGE = "the local images server needs Pillow: pip install 'openai-images[server]'"
    raise ModuleNotFoundError(_MESSAGE, name="PIL")

from openai_images.server.faults.queues import FAULTS
from openai_images.server.requests.records import (
    AnsweredRequest,
    RecordedBatch,
    RecordedBatchRequest,
    RecordedDownload,
    RecordedPart,
    RecordedRequest,
)
from openai_images.server.requests.settings import BatchPace
from openai_images.server.server import LocalImagesServer

__all__ = [
    "FAULTS",
    "AnsweredRequest",
    "BatchPace",
    "LocalImagesServer",
    "RecordedBatch",
    "RecordedBatchRequest",
    "RecordedDownload",
    "RecordedPart",
    "RecordedRequest",
]
