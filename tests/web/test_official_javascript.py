"""The official `openai` package for JavaScript reads a relay as if it were the API."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from openai_images import ImagesClient, RetryPolicy
from openai_images.server import LocalImagesServer
from tests.helpers.edit_images import encoded, house
from tests.helpers.web_apps import Shop, serve

PACKAGE = "openai@7.59.0"
PNG = encoded(house((96, 64)))
READ = """
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "browser", maxRetries: 0 });
const seen = [];
try {
  const order = { prompt: "an otter", model: "gpt-image-2", stream: true, partial_images: 2 };
  const stream = await client.images.generate(order);
  for await (const event of stream) seen.push(event);
} catch (error) {
  seen.push({ isAPIError: error instanceof OpenAI.APIError, code: error.code, message: error.message });
}
console.log(JSON.stringify(seen));
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module beside the installed package, which prints what it reads; `.ci/run` must have node and npm."""
    problem = "node and npm are needed"
    if shutil.which("node") and (npm := shutil.which("npm")):
        folder = tmp_path_factory.mktemp("javascript")
        (folder / "package.json").write_text('{"private": true}')
        (folder / "read.mjs").write_text(READ)
        flags = ("--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1")
        done = subprocess.run(
            [npm, "install", *flags, PACKAGE], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return folder / "read.mjs"
        problem = f"npm could not install {PACKAGE}: {done.stderr.strip()[-300:]}"
    if os.environ.get("CI"):
        pytest.fail(problem)
    pytest.skip(problem)


async def read(script: Path, url: str) -> list[dict[str, Any]]:
    """What the package has read: its events, and the error at their end."""
    process = await asyncio.create_subprocess_exec("node", str(script), f"{url}/v1", stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    seen: list[dict[str, Any]] = json.loads(output)
    return seen


@pytest.mark.parametrize("framework", ["fastapi", "aiohttp", "django"])
async def test_events_and_errors(framework: str, script: Path) -> None:
    """Its events have their types and their images, and the error event is its `APIError`."""
    async with (
        LocalImagesServer(pictures=PNG) as upstream,
        ImagesClient(
            base_url=upstream.base_url, api_key=upstream.api_key, retry=RetryPolicy(max_retries=0)
        ) as client,
        serve(framework, Shop(client)) as (url, _),
    ):
        events = await read(script, url)
        assert [event["type"] for event in events] == [
            "image_generation.partial_image",
            "image_generation.partial_image",
            "image_generation.completed",
        ]
        assert [event.get("partial_image_index") for event in events] == [0, 1, None]
        assert [base64.b64decode(event["b64_json"]) for event in events] == [PNG] * 3
        assert events[-1]["usage"]["total_tokens"] > 0

        upstream.script("moderation_mid_stream")
        *partial, error = await read(script, url)
        assert {event["type"] for event in partial} <= {"image_generation.partial_image"}
        assert (error["isAPIError"], error["code"]) == (True, "moderation_blocked")
        assert "safety system" in error["message"]
