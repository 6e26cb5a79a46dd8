"""Images in web apps: `relay` sends a stream's events to a browser, a `PictureStore` serves their images.

The framework's response is in `web.starlette` (FastAPI, Starlette), `web.aiohttp` and `web.django`.
"""

from openai_images.web.background import OnDisconnect, OnResult, run_call, wait_for_background
from openai_images.web.relay import RELAY_HEADERS, Relay, relay
from openai_images.web.store import PictureStore, StoredPicture

__all__ = [
    "RELAY_HEADERS",
    "OnDisconnect",
    "OnResult",
    "PictureStore",
    "Relay",
    "StoredPicture",
    "relay",
    "run_call",
    "wait_for_background",
]
