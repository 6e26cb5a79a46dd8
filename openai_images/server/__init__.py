"""The local images server: the wire format of the OpenAI Images API on loopback, with stand-in images and faults.

Invariants: it shares no code with the client, so that one mistake cannot hide on both sides.
Must not: be reachable from another machine.
"""

from openai_images.server.faults import FAULTS
from openai_images.server.server import LocalImagesServer
from openai_images.server.state import AnsweredRequest, RecordedDownload, RecordedPart, RecordedRequest

__all__ = [
    "FAULTS",
    "AnsweredRequest",
    "LocalImagesServer",
    "RecordedDownload",
    "RecordedPart",
    "RecordedRequest",
]
