"""The cluster that `batch --dask` names.

Invariants: nothing is sent where no scheduler answers.
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
    """Connect to the Dask scheduler at this address; None where none is named.

    `in_flight` requests are in flight in each worker. Raises `ConfigurationError` and `ClusterError`.
    """
    if address is None:
        yield None
        return
    from openai_images import DaskEngine

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # the engine raises what is wrong
    options: dict[str, Any] = {} if in_flight is None else {"in_flight": in_flight}
    async with DaskEngine.connect(address, **options) as engine:
        yield engine
