"""Input files of provider batches: one request per line, within the provider's limits, without a trace on the disk."""

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from openai_images.batch.provider.files import InputFile, custom_id_of
from openai_images.client.sources import BytesSource, PathSource
from openai_images.errors import RequestInvalidError
from openai_images.wire.requests import Base64Source, CompositeBody, EditImages, json_edit_body

BODY = b'{"model":"gpt-image-2","prompt":"an otter"}'


def lines_of(file: InputFile) -> list[dict[str, Any]]:
    """The lines, decoded."""
    source = file.source()
    data = source.open().read(source.nbytes + 1)
    assert len(data) == file.nbytes
    return [json.loads(line) for line in data.splitlines()]


def test_lines(tmp_path: Path) -> None:
    """As the provider wants them."""
    file = InputFile("/images/generations", tmp_path)
    assert file.add("a", BODY)
    assert file.add("b", BODY)
    assert file.endpoint == "/v1/images/generations"
    assert lines_of(file) == [
        {"custom_id": name, "method": "POST", "url": "/v1/images/generations", "body": json.loads(BODY)}
        for name in "ab"
    ]
    file.close()


def test_it_is_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not in the system's, which may be in memory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    file = InputFile("/images/generations", tmp_path)
    assert file.add("a", BODY)
    assert len(lines_of(file)) == 1
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_images_are_written_in_base64(tmp_path: Path) -> None:
    """From memory and from files, whatever their length."""
    data = bytes(range(256)) * 4_001
    (tmp_path / "image").write_bytes(data[:-1])
    sources = [
        BytesSource(memoryview(data), "image/png"),
        PathSource(str(tmp_path / "image"), len(data) - 1, "image/webp"),
    ]
    file = InputFile("/images/edits", tmp_path)
    assert file.add("a", json_edit_body(BODY, EditImages(sources)))
    (line,) = lines_of(file)
    first, second = (image["image_url"].partition(",") for image in line["body"]["images"])
    assert (first[0], base64.b64decode(first[2])) == ("data:image/png;base64", data)
    assert (second[0], base64.b64decode(second[2])) == ("data:image/webp;base64", data[:-1])
    file.close()


def test_no_more_lines_than_allowed(tmp_path: Path) -> None:
    """Nor more bytes: what has no room is for the next file."""
    file = InputFile("/images/generations", tmp_path, max_lines=2)
    assert [file.add(str(number), BODY) for number in range(3)] == [True, True, False]
    assert len(lines_of(file)) == 2
    file.close()
    size = file.nbytes // 2
    file = InputFile("/images/generations", tmp_path, max_bytes=size * 3 - 1)
    assert [file.add(str(number), BODY) for number in range(3)] == [True, True, False]
    assert file.nbytes == size * 2
    file.close()


def test_a_line_larger_than_a_file(tmp_path: Path) -> None:
    """It never fits."""
    file = InputFile("/images/generations", tmp_path, max_bytes=50)
    with pytest.raises(RequestInvalidError, match="use smaller images"):
        file.add("a", BODY)
    file.close()


def test_an_image_that_cannot_be_read_leaves_no_half_line(tmp_path: Path) -> None:
    """The file goes on as it was."""
    file = InputFile("/images/edits", tmp_path)
    assert file.add("a", BODY)
    missing = CompositeBody(
        (b'{"x":"', Base64Source(PathSource(str(tmp_path / "none"), 5, "image/png")), b'"}')
    )
    with pytest.raises(RequestInvalidError):
        file.add("b", missing)
    assert file.add("c", BODY)
    assert [line["custom_id"] for line in lines_of(file)] == ["a", "c"]
    file.close()


def test_ids() -> None:
    """Short, plain, and different for keys that differ."""
    keys = [str(number) for number in range(10_000)] + ["a/b", "ä", "\ud800", "x" * 500]
    ids = {custom_id_of(key) for key in keys}
    assert len(ids) == len(keys)
    assert all(len(name) == 24 and name.isalnum() for name in ids)
