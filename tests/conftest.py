"""What every test shares: an environment free of the machine's settings, repeatable property tests."""

import copyreg
import logging
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from benchmarks.redis_server import RedisServer

# A key, a proxy or a terminal setting of the machine would change what the code under test does.
MACHINE_SETTINGS = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "OPENAI_API_VERSION",
    "AZURE_OPENAI_ENDPOINT",
    "AZURE_OPENAI_API_KEY",
    "AZURE_OPENAI_AD_TOKEN",
    "AZURE_OPENAI_API_VERSION",
    "AZURE_OPENAI_DEPLOYMENT",
    "AZURE_OPENAI_DEPLOYMENT_NAME",
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "NETRC",
    "OPENAI_IMAGES_SHARED_LIMIT",
    "COLUMNS",
    "LINES",
    "FORCE_COLOR",
    "NO_COLOR",
)

# A shell ignores SIGINT for a background command and nohup SIGHUP: every process of the tests would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# In development mode asyncio logs what takes a tenth of a second: on a busy machine anything may.
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))

# No deadline: a shared machine stalls, and speed has tests of its own.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away the machine's keys, proxies and terminal settings while a test runs."""
    for name in MACHINE_SETTINGS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Restore the levels of loggers: commands that overlap in several threads restore each other's."""
    loggers = (logging.getLogger(), logging.getLogger("openai_images"))
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def plain_exceptions() -> None:
    """Undo what importing distributed does (by tblib): exceptions would be pickled with aiohttp's, which cannot be."""
    for kind in [kind for kind in copyreg.dispatch_table if issubclass(kind, BaseException)]:
        del copyreg.dispatch_table[kind]


@pytest.fixture(scope="session")
def redis_server() -> "Iterator[RedisServer]":
    """A Redis server for tests of shared limits; each takes a name of its own there."""
    from benchmarks.redis_server import RedisServer

    with RedisServer() as server:
        yield server
