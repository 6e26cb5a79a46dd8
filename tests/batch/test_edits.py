"""Edits in batches: their images come from columns, and their bytes are part of what a request is."""

import hashlib
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    BatchFolderError,
    BatchInputError,
    BatchItem,
    EditRequest,
    GenerateRequest,
    Image,
    ImageReference,
    ImagesClient,
    read_batch_items,
)
from openai_images.batch.items.models import BatchOptions
from openai_images.batch.items.resolved_item import resolve_items
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import MODEL, rows, run, states
from tests.helpers.edit_images import encoded, house, layer

FOX, HERON, MASK = encoded(house((64, 64))), encoded(house((64, 32))), encoded(layer((64, 64)))
DEFAULTS = {"model": MODEL, "size": "1024x1024", "quality": "low"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with an input's images below it."""
    folder = tmp_path / "in" / "photos"
    folder.mkdir(parents=True)
    for name, data in (("fox.png", FOX), ("heron.png", HERON), ("mask.png", MASK)):
        (folder / name).write_bytes(data)
    return folder


def items(photos: Path, text: str, suffix: str = "csv") -> list[BatchItem]:
    """The items of an input file beside the folder of the photos."""
    file = photos.parent / f"rows.{suffix}"
    file.write_text(text)
    return read_batch_items(file, defaults=DEFAULTS)


CSV = """key,prompt,image,mask
fox,night,photos/fox.png,photos/mask.png
both,day,"photos/fox.png
photos/heron.png",
none,a frog,,
"""


def sent(server: LocalImagesServer) -> list[list[tuple[str, str]]]:
    """The form fields of the edits that arrived: text, or the digest of an image."""
    return [
        [(part.name or "", part.text or part.sha256 or "") for part in request.parts]
        for request in server.requests
        if request.path.endswith("/edits")
    ]


def sha256(data: bytes) -> str:
    """As the server records it."""
    return hashlib.sha256(data).hexdigest()


async def test_columns(client: ImagesClient, server: LocalImagesServer, photos: Path, out: Path) -> None:
    """One image and a mask, several on lines of a cell; a row without is a generation. Nothing is sent twice."""
    given = items(photos, CSV)
    ran = await run(client, given, out)
    assert ran.done == ["both", "fox", "none"]
    edits = {dict(fields)["prompt"]: fields for fields in sent(server)}
    assert [field for field in edits["night"] if field[0] in ("image", "mask")] == [
        ("image", sha256(FOX)),
        ("mask", sha256(MASK)),
    ]
    assert [text for name, text in edits["day"] if name == "image[]"] == [sha256(FOX), sha256(HERON)]
    assert (await run(client, given, out)).outcomes == []
    assert (len(server.requests), len(edits)) == (3, 2)


BATCH_API = {
    "custom_id": "r",
    "url": "/v1/images/edits",
    "body": {"prompt": "a", "images": [{"image_url": "https://x"}]},
}


@pytest.mark.parametrize(
    ("suffix", "row", "expected"),
    [
        ("csv", 'prompt,image\na,"[""a.png"", ""b, c.png""]"\n', ["in/a.png", "in/b, c.png"]),
        ("csv", 'prompt,image\na,"[""a.png""]"\n', "in/a.png"),
        ("csv", "prompt,image\na,[1] a.png\n", "in/[1] a.png"),
        ("csv", "prompt,image\na,https://x.example/a.png\n", "https://x.example/a.png"),
        ("csv", "prompt,image\na,/abs/a.png\n", "/abs/a.png"),
        ("jsonl", '{"prompt": "a", "image": "a.png"}', "in/a.png"),
        (
            "jsonl",
            '{"prompt": "a", "image": ["a.png", {"file_id": "f"}]}',
            ["in/a.png", ImageReference(file_id="f")],
        ),
        ("jsonl", json.dumps(BATCH_API), [ImageReference(image_url="https://x")]),
    ],
)
def test_forms_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, row: str, expected: object
) -> None:
    """Text or a list, in a cell or in JSON; relative paths are relative to the input file, others stay."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    file = Path("in", f"rows.{suffix}")
    file.write_text(row)
    (item,) = read_batch_items(file)
    assert isinstance(item.request, EditRequest)
    assert item.request.image == expected


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"image": 3}, "image must be a path or a URL, for image also a list of them"),
        ({"image": []}, "image must be a path"),
        ({"image": ["a.png", None]}, "image must be a path"),
        ({"image": {"image_url": "x", "file_id": "y"}}, "image must be a path"),
        ({"image": {"file_id": 3}}, "image must be a path"),
        ({"image": "a.png", "mask": ["m.png", "n.png"]}, "mask must be a path"),
        ({"mask": "m.png"}, "mask is for edits, but the row has no image"),
        ({"input_fidelity": "high"}, "input_fidelity is for edits, but the row has no image"),
    ],
)
def test_bad_images(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    """What names no image is told with its line and column."""
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "a", **row}))
    with pytest.raises(BatchInputError) as caught:
        read_batch_items(file)
    (told,) = caught.value.problems
    assert told.startswith(f"line 1: {problem}")


async def test_files_that_are_not_there(
    client: ImagesClient, server: LocalImagesServer, photos: Path, out: Path
) -> None:
    """All of them are told, with line and column, before anything is sent."""
    text = (
        'prompt,image,mask\na,photos/fox.png,nowhere.png\nb,"photos/fox.png\nphotos/gone.png",\nc,photos,\n'
    )
    with pytest.raises(BatchInputError) as caught:
        await run(client, items(photos, text), out)
    mask, image, folder = caught.value.problems
    assert (
        mask == f"line 2: mask: '{photos.parent / 'nowhere.png'}' cannot be read (No such file or directory)"
    )
    assert image.startswith("line 3: image[1]: ")
    assert folder.startswith("line 5: image: ")
    assert server.posts == 0


async def test_a_changed_file_is_a_changed_request(
    client: ImagesClient, server: LocalImagesServer, photos: Path, out: Path
) -> None:
    """Nothing is sent then; the same bytes under another name or date are the same request."""
    await run(client, items(photos, CSV), out)
    (photos / "fox2.png").write_bytes(FOX)
    renamed = await run(client, items(photos, CSV.replace("fox.png", "fox2.png")), out)
    assert renamed.plan.to_send == ()
    (photos / "fox.png").write_bytes(HERON)
    with pytest.raises(BatchFolderError, match=r"2 items are changed.* 'fox', 'both'"):
        await run(client, items(photos, CSV), out)
    assert server.posts == 3


async def test_edits_of_equal_bytes_are_one(
    client: ImagesClient, server: LocalImagesServer, photos: Path, out: Path
) -> None:
    """`dedupe` looks at the bytes: a copy is the same, another image with the same prompt is not."""
    (photos / "copy.png").write_bytes(FOX)
    text = "prompt,image\na,photos/fox.png\na,photos/copy.png\na,photos/heron.png\na,\n"
    ran = await run(client, items(photos, text), out, dedupe=True)
    assert (len(ran.done), ran.plan.same, server.posts) == (4, {"00002": "00001"}, 3)


def test_a_file_is_read_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows name it."""
    read: list[str] = []
    digest = hashlib.file_digest

    def counted(file: Any, name: str) -> Any:
        read.append(Path(file.name).name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    text = "prompt,image,mask\n" + "".join(
        f"a{number},photos/fox.png,photos/mask.png\n" for number in range(50)
    )
    assert len(resolve_items(items(photos, text), None, BatchOptions())) == 50
    assert sorted(read) == ["fox.png", "mask.png"]


async def _chunks() -> AsyncIterator[bytes]:
    yield b""


def test_what_identifies_an_image(photos: Path) -> None:
    """Bytes, wherever they are, or a reference's text; what cannot be sent by a later run is refused."""

    def digests(**params: Any) -> str:
        request = EditRequest("a", **params)
        return resolve_items([BatchItem("k", request)], None, BatchOptions())[0].digest

    path = photos / "fox.png"
    same = [
        path,
        str(path),
        FOX,
        bytearray(FOX),
        memoryview(FOX),
        Image.from_bytes(FOX),
        Image(path=path),
        [path],
    ]
    assert len({digests(image=image) for image in same}) == 1
    others: list[dict[str, Any]] = [
        {"image": HERON},
        {"image": [FOX, FOX]},
        {"image": FOX, "mask": MASK},
        {"image": FOX, "markup": MASK},
        {"image": "https://x.example/a.png"},
        {"image": ImageReference(file_id="a")},
    ]
    assert len({digests(image=FOX), *(digests(**params) for params in others)}) == 7
    plain = resolve_items([BatchItem("k", GenerateRequest("a"))], None, BatchOptions())
    assert plain[0].digest != digests(image=FOX)
    with path.open("rb") as file:
        for once in (_chunks(), BytesIO(FOX), file):
            with pytest.raises(BatchInputError, match="which another run could not send again"):
                digests(image=once)
    with pytest.raises(BatchInputError, match=r"item \d: image: "):
        digests(image="a\0b")


async def test_an_edit_is_resumed(
    client: ImagesClient, server: LocalImagesServer, photos: Path, out: Path
) -> None:
    """One whose outcome is unknown waits for a word, and goes out with its images once more."""
    server.script("reset_after_body")
    given = items(photos, "key,prompt,image\nfox,night,photos/fox.png\n")
    first = await run(client, given, out)
    assert first.summary.unknown == 1
    assert (await run(client, given, out)).plan.to_send == ()
    again = await run(client, given, out, retry_unknown=True)
    assert again.done == ["fox"]
    assert states(out, "fox") == ["sent", "unknown", "sent", "done"]
    assert [dict(fields)["image"] for fields in sent(server)] == [sha256(FOX)] * 2


async def test_a_budget_of_edits(
    client: ImagesClient, server: LocalImagesServer, photos: Path, out: Path
) -> None:
    """What input images cost is not published: one at a time, until the next is not expected to fit."""
    text = "prompt,image\n" + "".join(f"a{number},photos/fox.png\n" for number in range(20))
    given = items(photos, text)
    ran = await run(client, given, out, budget=Decimal("0.05"), concurrency=4)
    assert ran.summary.reason == "budget"
    assert 2 < ran.summary.done < 20
    assert (ran.summary.spent or 0) <= Decimal("0.05")
    assert "may cost up to an unknown amount" in ran.summary.assumed_cost
    assert [row["state"] for row in rows(out)[1:]] == ["sent", "done"] * ran.summary.done
    server.script("missing_fields")
    lost = await run(client, given, out, budget=Decimal(1), concurrency=4)
    assert (lost.summary.reason, lost.summary.unpriced) == ("budget", 1)
    assert lost.summary.done == ran.summary.done + 1


async def test_with_a_cost_of_ones_own_edits_run_at_once(
    client: ImagesClient, photos: Path, out: Path
) -> None:
    """The user says what one costs at most."""
    text = "prompt,image\n" + "".join(f"a{number},photos/fox.png\n" for number in range(6))
    ran = await run(client, items(photos, text), out, budget=Decimal(1), max_image_cost=Decimal("0.1"))
    assert (len(ran.done), ran.summary.assumed_cost) == (6, "")


async def test_the_page_says_that_it_is_an_edit(client: ImagesClient, photos: Path, out: Path) -> None:
    """Of how many images; a row ends with the last of its fields that is set."""
    await run(client, items(photos, CSV), out)
    _, _, text = (out / "index.html").read_text().partition('type="application/json"')
    rows = json.loads(text[text.index("[") : text.index("</script>")])
    assert {row[0]: (row[16] if len(row) > 16 else None) for row in rows} == {
        "fox": 1,
        "both": 2,
        "none": None,
    }
