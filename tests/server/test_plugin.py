"""The pytest plugin, run by a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ASYNC = '''
async def test_it(images_server, images_client):
    """One picture through both fixtures."""
    images_server.script("unknown_event")
    result = await images_client.generate("a lighthouse", size="1024x1024")
    assert result.image.data.startswith(b"\\x89PNG")
    assert images_server.posts == 1
'''
STALLED = '''
import asyncio

async def test_it(images_server, images_client):
    """A client that gives up is noticed, and a stalled one goes on."""
    images_server.script("stall", "stall")
    for end in ("cancel", "release"):
        asked = asyncio.ensure_future(images_client.generate("a fox", size="1024x1024"))
        while len(images_server.requests) < (1 if end == "cancel" else 2):
            await asyncio.sleep(0)
        if end == "cancel":
            asked.cancel()
            await images_server.wait_disconnected()
        else:
            images_server.release()
            assert (await asked).image.data
'''
MODULE = """
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")
"""
ANYIO = """
import pytest

pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
RUN_TWICE = """
import asyncio

def test_it(images_client):
    for _ in range(2):
        assert asyncio.run(images_client.generate("a", size="1024x1024")).image.data
"""
BLOCKING = """
import urllib.error
import urllib.request

import pytest

def test_it(images_server):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(images_server.base_url + "/models")
    with caught.value as error:
        assert error.code == 401
"""
USES = {
    "asyncio, a loop for each test": ("pytest_asyncio.plugin", ASYNC),
    "asyncio, a loop for a module": (
        "pytest_asyncio.plugin",
        MODULE + ASYNC + ASYNC.replace("test_it", "test_again"),
    ),
    "asyncio, stalls": ("pytest_asyncio.plugin", STALLED),
    "anyio": ("anyio.pytest_plugin", ANYIO + ASYNC),
    "asyncio.run, twice": (None, RUN_TWICE),
    "no loop at all": (None, BLOCKING),
}


@pytest.mark.parametrize("name", USES)
def test_the_fixtures_work_with_every_kind_of_test(tmp_path: Path, name: str) -> None:
    """A test gets a started server and a client bound to it, whatever its loop, and leaves nothing open."""
    plugin, code = USES[name]
    (tmp_path / "test_uses.py").write_text(code)
    command = [sys.executable, "-X", "dev", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    command += ["-p", "openai_images.pytest_plugin", *(["-p", plugin] if plugin else [])]
    command += [str(tmp_path), "-c", str(tmp_path / "none.ini"), f"--rootdir={tmp_path}"]
    if plugin == "pytest_asyncio.plugin":
        command += ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    (tmp_path / "none.ini").write_text("[pytest]\n")
    # By name alone: the installed package would bring the plugin a second time.
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert f"{code.count('def test_')} passed" in ran.stdout, ran.stdout + ran.stderr
    assert "warning" not in ran.stdout.lower()


def test_loading_the_plugin_loads_nothing_heavy() -> None:
    """Every pytest run loads the plugin, most of them for nothing."""
    code = "import sys, openai_images.pytest_plugin; print({'aiohttp', 'PIL', 'cattrs'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
