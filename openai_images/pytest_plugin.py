"""Pytest fixtures: `images_server`, its client `images_client`, and `images_env` for clients that read the environment.

Invariants: the server runs on a loopback socket in its own thread, so synchronous tests and any async plugin can use
it; each test has its own server, or, with the ini option `images_server_scope`, a shared one that is reset before each
test; large imports wait until a test needs them, as pytest imports this module in every run.
Must not: connect to the network, or need a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai_images import ImagesClient
    from openai_images.server import LocalImagesServer

_MARKER = "images_server"
_SCOPE = "images_server_scope"
_SCOPES = ("function", "class", "module", "package", "session")
_options = pytest.StashKey[dict[str, Any]]()
_running = pytest.StashKey["LocalImagesServer"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option."""
    parser.addini(_SCOPE, f"scope of the fixture images_server: {', '.join(_SCOPES)}", default="function")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker. Raises `pytest.UsageError` for a scope that does not exist."""
    if config.getini(_SCOPE) not in _SCOPES:
        raise pytest.UsageError(
            f"{_SCOPE} = {config.getini(_SCOPE)}: there is no such scope; use one of {', '.join(_SCOPES)}"
        )
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(**options): options of LocalImagesServer for this test, such as "
        "script=['rate_limited'], pictures='full', pace=0.1, images_per_minute=5",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Reset a running server before a fixture of the test uses it."""
    item.config.stash[_options] = _marked_options(item)
    if _running in item.config.stash:
        item.config.stash[_running].reset(**item.config.stash[_options])


def _scope(fixture_name: str, config: pytest.Config) -> Any:  # noqa: ARG001  pytest passes it by name
    return config.getini(_SCOPE)


@pytest.fixture(scope=_scope)
def images_server(pytestconfig: pytest.Config) -> Iterator[LocalImagesServer]:
    """A running local images server with small images; set `faults`, read `requests` and `posts`.

    The marker `images_server(**options)` sets options of `LocalImagesServer` for one test; `script` sets its `faults`.
    """
    from openai_images.server import LocalImagesServer  # noqa: PLC0415  # only loaded when a test uses it

    with LocalImagesServer.in_thread(pictures="small") as server:
        server.reset(**pytestconfig.stash[_options])
        pytestconfig.stash[_running] = server
        yield server
        del pytestconfig.stash[_running]


@pytest.fixture
def images_client(images_server: LocalImagesServer) -> ImagesClient:
    """A client of `images_server`; each event loop that uses it gets its own session, which is closed with the loop."""
    from openai_images import ImagesClient  # noqa: PLC0415  # as above

    return ImagesClient(base_url=images_server.base_url, api_key=images_server.api_key, trust_env=False)


@pytest.fixture
def images_env(images_server: LocalImagesServer, monkeypatch: pytest.MonkeyPatch) -> LocalImagesServer:
    """`images_server`, with OPENAI_BASE_URL and OPENAI_API_KEY set to it for this test and the programs it starts."""
    for name, value in images_server.environment.items():
        monkeypatch.setenv(name, value)
    return images_server


def _marked_options(item: pytest.Item) -> dict[str, Any]:
    """Return the options of a test's markers, of which the closest wins; fail the test for an invalid one."""
    options: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers(_MARKER))):
        if marker.args:
            pytest.fail(
                f"{_MARKER}: give its options by name, such as script=['rate_limited']", pytrace=False
            )
        options |= marker.kwargs
    if not options:
        return options
    if "script" in options:
        script = options.pop("script")
        options["faults"] = [script] if isinstance(script, str) else script
    problem = _problem(options)
    if problem:
        pytest.fail(f"{_MARKER}: {problem}", pytrace=False)
    return options


def _problem(options: dict[str, Any]) -> str | None:
    """Return what is wrong with these options, or None."""
    from difflib import get_close_matches  # noqa: PLC0415  # few tests have a marker
    from inspect import signature  # noqa: PLC0415  # likewise

    from openai_images.server import LocalImagesServer  # noqa: PLC0415  # likewise

    known = ["script", *signature(LocalImagesServer).parameters]
    for name in options:
        if name not in known:
            near = "".join(f"; did you mean {match}?" for match in get_close_matches(name, known, 1))
            return f"there is no option {name!r}{near}"
    try:
        LocalImagesServer().reset(**options)
    except (TypeError, ValueError) as error:
        return str(error)
    return None
