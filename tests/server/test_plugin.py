"""The pytest plugin, run by a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

ASYNC = '''
async def test_it(images_server, images_client):
    """One image through both fixtures."""
    images_server.script("unknown_event")
    result = await images_client.generate("a lighthouse", size="1024x1024")
    assert result.image.data.startswith(b"\\x89PNG")
    assert images_server.posts == 1
'''
STALLED = '''
import asyncio

async def test_stalls(images_server, images_client):
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

def test_no_loop(images_server):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(images_server.base_url + "/models")
    with caught.value as error:
        assert error.code == 401
"""
USES = {
    "asyncio, a loop for each test": ("pytest_asyncio.plugin", ASYNC + STALLED),
    "asyncio, a loop for a module": (
        "pytest_asyncio.plugin",
        MODULE + ASYNC + ASYNC.replace("test_it", "test_again"),
    ),
    "no plugin": (None, RUN_TWICE + BLOCKING),
}


def run_pytest(folder: Path, code: str, *options: str, plugin: str | None = None) -> str:
    """What a pytest of its own says of a test module, with our plugin and perhaps one more."""
    (folder / "test_uses.py").write_text(code)
    command = [sys.executable, "-X", "dev", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    command += ["-p", "openai_images.pytest_plugin", *(["-p", plugin] if plugin else []), *options]
    command += [str(folder), "-c", str(folder / "none.ini"), f"--rootdir={folder}", "--strict-markers"]
    (folder / "none.ini").write_text("[pytest]\n")
    # By name alone: the installed package would bring the plugin a second time.
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("name", USES)
def test_the_fixtures_work_with_every_kind_of_test(tmp_path: Path, name: str) -> None:
    """A test gets a started server and a client bound to it, whatever its loop, and leaves nothing open."""
    plugin, code = USES[name]
    options = []
    if plugin == "pytest_asyncio.plugin":
        options = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    said = run_pytest(tmp_path, code, *options, plugin=plugin)
    assert f"{code.count('def test_')} passed" in said, said
    assert "warning" not in said.lower()


APP = """
import asyncio
import subprocess
import sys
import unittest

import pytest

from openai_images import ImagesClient, RateLimitError, RetryPolicy

client = ImagesClient(retry=RetryPolicy(max_retries=0, max_rate_limit_wait=0))
fixed = ImagesClient(base_url="http://127.0.0.1:9/v1", api_key="wrong")
addresses = []


def generate(client=client):
    return asyncio.run(client.generate("a fox", size="1536x1024", output_format="jpeg")).image


@pytest.mark.images_server(script=["rate_limited"])
def test_script(images_env):
    with pytest.raises(RateLimitError):
        generate()
    addresses.append(images_env.base_url)


@pytest.mark.parametrize("number", range(3))
def test_client_of_the_module(images_env, number):
    image = generate()
    assert (image.width, image.height, image.media_type) == (1536, 1024, "image/jpeg")
    assert (images_env.posts, images_env.pictures, images_env.faults) == (1, "small", ())
    addresses.append(images_env.base_url)


@pytest.fixture
def patched(images_server):
    with images_server.patch(client, fixed):
        yield


@pytest.mark.anyio
@pytest.mark.usefixtures("patched")
async def test_patch(images_server):
    for each in (client, fixed):
        await each.generate("a fox", size="1024x1024")
    assert images_server.posts == 2


@pytest.mark.anyio
async def test_client(images_server, images_client):
    result = await images_client.generate("a lighthouse", size="1024x1024")
    assert result.image.data.startswith(b"\\x89PNG")
    assert images_server.posts == 1


def test_command(images_env):
    command = "import os; print(os.environ['OPENAI_BASE_URL'], os.environ['OPENAI_API_KEY'])"
    ran = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [images_env.base_url, images_env.api_key]


@pytest.mark.images_server(pace=0.01)
class TestMarks(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _server(self, images_server):
        self.server = images_server

    def test_class(self):
        assert (self.server.pace, self.server.picture_links) == (0.01, None)

    @pytest.mark.images_server(picture_links="absolute", script="ok")
    def test_both(self):
        assert (self.server.pace, self.server.picture_links, self.server.faults) == (0.01, "absolute", ("ok",))


def test_scope(pytestconfig):
    shared = pytestconfig.getini("images_server_scope") == "session"
    assert (len(addresses), len(set(addresses))) == (4, 1 if shared else 4)


@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
WRONG = """
import pytest


@pytest.mark.images_server(pictuers="full")
def test_name(images_server): ...


@pytest.mark.images_server(script=["stal"])
def test_fault(images_server): ...


@pytest.mark.images_server(["stall"])
def test_place(images_server): ...


@pytest.mark.images_server(port=1)
def test_port(images_server): ...


def test_none(images_server): ...
"""


@pytest.mark.parametrize("scope", ["function", "session"])
def test_scopes_marks_and_clients_of_an_app(tmp_path: Path, scope: str) -> None:
    """With anyio alone: a server for each test, or one for all that begins anew; marks last for one test."""
    said = run_pytest(tmp_path, APP, "-o", f"images_server_scope={scope}", plugin="anyio.pytest_plugin")
    assert "10 passed" in said, said
    assert "warning" not in said.lower()


def test_a_wrong_mark_fails_its_test_alone(tmp_path: Path) -> None:
    """The sentence names the near option or fault, and a shared server serves the next test."""
    said = run_pytest(tmp_path, WRONG, "-o", "images_server_scope=session")
    for sentence in (
        "images_server: there is no option 'pictuers'; did you mean pictures?",
        "images_server: unknown fault 'stal'; did you mean 'stall'?",
        "images_server: give its options by name",
        "images_server: port cannot change",
        "1 passed, 4 errors",
    ):
        assert sentence in said
    assert "Traceback" not in said


def test_a_scope_that_does_not_exist(tmp_path: Path) -> None:
    """Pytest does not start, and says what there is."""
    said = run_pytest(tmp_path, BLOCKING, "-o", "images_server_scope=sesion")
    assert "ERROR: images_server_scope = sesion: there is no such scope; use one of function, class," in said
    assert "INTERNALERROR" not in said


@pytest.mark.parametrize("use", ["fixture", "import", "command"])
def test_without_its_extra(tmp_path: Path, use: str) -> None:
    """Whoever needs the server is told what to install."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['PIL'] = None\n")
    (tmp_path / "test_it.py").write_text("def test_it(images_server): ...\n")
    argv = {
        "fixture": ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path), f"--rootdir={tmp_path}"],
        "import": ["-c", "import openai_images.server"],
        "command": ["-m", "openai_images", "serve"],
    }[use]
    if use == "fixture":
        argv += ["-p", "openai_images.pytest_plugin", "-c", str(tmp_path / "none.ini")]
        (tmp_path / "none.ini").write_text("[pytest]\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, *argv]
    ran = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    said = ran.stdout + ran.stderr
    assert ran.returncode != 0
    assert "needs Pillow" in said
    assert "pip install 'openai-images[" in said
    assert "No module named" not in said


def test_loading_the_plugin_loads_nothing_heavy() -> None:
    """Every pytest run loads the plugin, most of them for nothing."""
    code = "import sys, openai_images.pytest_plugin; print({'aiohttp', 'PIL', 'cattrs'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
