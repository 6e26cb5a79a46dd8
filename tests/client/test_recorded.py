"""Wrappers of sessions that copy what is sent: a recorder of requests keeps plain bytes."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from openai_images import ImagesClient, Timeouts, Timing
from openai_images.client.sources import _BytesReader
from openai_images.http.request_body import BytesBody, RequestProgress
from openai_images.server import LocalImagesServer
from openai_images.wire.requests import Base64Source, CompositeBody
from tests.helpers.clients import BOTH, PNG, Call, client_of, generate

vcr = pytest.importorskip("vcr")


async def edit(client: ImagesClient) -> Any:
    """An upload."""
    return await client.edit("an otter", image=PNG, model="gpt-image-2")


@pytest.mark.parametrize("call", [generate, edit])
async def test_recorded_and_replayed(call: Any, server: LocalImagesServer, tmp_path: Path) -> None:
    """The second time nothing is sent, and the image is the same."""
    images = []
    for _ in range(2):
        with vcr.VCR(cassette_library_dir=str(tmp_path)).use_cassette("otter.yaml"):
            async with client_of(server) as client:
                images.append((await call(client)).image.data)
    assert server.posts == 1
    assert images[0] == images[1]


@BOTH
async def test_matched_by_its_body(call: Call, server: LocalImagesServer, tmp_path: Path) -> None:
    """A cassette that tells requests apart by their JSON can read it."""
    for _ in range(2):
        recorder = vcr.VCR(cassette_library_dir=str(tmp_path), match_on=["method", "path", "body"])
        with recorder.use_cassette("otter.yaml"):
            async with client_of(server) as client:
                await call(client)
    assert server.posts == 1


async def test_a_body_is_its_bytes() -> None:
    """To whoever looks at it, in every copy."""
    sending = RequestProgress(b'{"a": 1}', Timeouts(), Timing())
    body = sending.body
    assert isinstance(body, BytesBody)
    assert json.loads(body) == {"a": 1}
    for other in (copy.copy(body), copy.deepcopy(body), pickle.loads(pickle.dumps(body))):
        assert (type(other), other) == (bytes, b'{"a": 1}')


class Source:
    """An image in memory."""

    nbytes, blocks = 5, False

    def open(self) -> _BytesReader:
        """Read it from the start."""
        return _BytesReader(b"otter")


async def test_an_upload_is_copied_as_its_bytes() -> None:
    """All of it."""
    source: Any = Source()
    upload = CompositeBody((b"<", source, b"|", Base64Source(source), b">"))
    body = RequestProgress(upload, Timeouts(), Timing()).body
    assert copy.deepcopy(body) == b"<otter|b3R0ZXI=>"
