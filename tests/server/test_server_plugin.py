"""The pytest plugin, run by a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

USES = '''
async def test_it(images_server, images_client):
    """One picture through both fixtures."""
    images_server.script("unknown_event")
    result = await images_client.generate("a lighthouse", size="1024x1024")
    assert result.image.data.startswith(b"\\x89PNG")
    assert images_server.posts == 1
'''


def test_the_fixtures_work_together(tmp_path: Path) -> None:
    """A test gets a started server and a client bound to it, and leaves nothing open."""
    (tmp_path / "test_uses.py").write_text(USES)
    command = [sys.executable, "-X", "dev", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    command += ["-p", "pytest_asyncio.plugin", "-p", "openai_images.pytest_plugin", str(tmp_path)]
    command += ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]
    # By name alone: the installed package would bring the plugin a second time.
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr


def test_loading_the_plugin_loads_nothing_heavy() -> None:
    """Every pytest run loads the plugin, most of them for nothing."""
    code = "import sys, openai_images.pytest_plugin; print({'aiohttp', 'PIL', 'cattrs'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
