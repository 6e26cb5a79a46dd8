"""The relay behind nginx with gzip on and its proxy buffering as it is by default."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from openai_images import ImagesClient
from openai_images.server import LocalImagesServer
from tests.helpers.tiny_images import png
from tests.helpers.web_apps import Shop, serve

PNG = png(bytes(range(256)) * 600)
SECONDS = 1  # nginx gives up on a silent upstream after these
CONFIG = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; gzip on; gzip_types *; gzip_proxied any;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {app}; proxy_read_timeout {seconds}s; }} }}
}}
"""


@asynccontextmanager
async def behind_nginx(app: str, folder: Path) -> AsyncGenerator[str]:
    """Yield the address of an nginx in front of an app."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert nginx is not None, "this test needs Debian's nginx: apt-get install nginx-light"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, port=port, app=app, seconds=SECONDS))
    process = subprocess.Popen([nginx, "-c", config, "-e", folder / "start.log"])
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0)
                else:
                    writer.close()
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


@pytest.mark.parametrize("framework", ["fastapi", "aiohttp", "django"])
async def test_partial_images_come_one_by_one(framework: str, tmp_path: Path) -> None:
    """A silence longer than the proxy's timeout is filled with heartbeats, and no event waits in a buffer."""
    async with (
        LocalImagesServer(pictures=PNG) as upstream,
        ImagesClient(base_url=upstream.base_url, api_key=upstream.api_key) as client,
        serve(framework, Shop(client, heartbeat=0.2)) as (app, _),
        behind_nginx(app, tmp_path) as url,
        aiohttp.ClientSession() as browser,
    ):
        upstream.script("stall_between_events")
        headers = {"Accept-Encoding": "gzip"}
        async with browser.post(
            f"{url}/v1/images/generations", json={"prompt": "an otter"}, headers=headers
        ) as response:
            assert response.status == 200
            body, heartbeats = b"", 0
            while heartbeats < 8 or b"partial_image" not in body:  # 1.6 seconds
                body += await response.content.readany()
                heartbeats = body.count(b": heartbeat")
            assert body.count(b"event: ") == 1
            upstream.release()
            body += await response.read()
        assert body.count(b"event: image_generation.completed\n") == 1
