"""The cluster that `batch --dask` names.

Invariants: nothing is sent if the scheduler cannot be reached.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openai_images import DaskEngine


@asynccontextmanager
async def open_engine(address: str | None, in_flight: int | None) -> AsyncGenerator[DaskEngine | None]:
    """Connect to the Dask scheduler at this address; None if there is no address.

    Each worker has up to `in_flight` requests in flight. Raises `ConfigurationError` and `ClusterError`.
    """
    if address is None:
        yield None
        return
    from openai_images import DaskEngine

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # the engine raises the errors
    options: dict[str, Any] = {} if in_flight is None else {"in_flight": in_flight}
    async with DaskEngine.connect(address, **options) as engine:
        yield engine
