"""The bodies of edits, read back by parsers that are not ours."""

import base64
import json
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import pytest
from hypothesis import given, strategies as st

from openai_images.client.sources import BytesSource
from openai_images.errors import RequestInvalidError
from openai_images.models.requests import EditRequest, ImageReference
from openai_images.wire.codec import encode_json, request_params
from openai_images.wire.requests import (
    Base64Source,
    CompositeBody,
    EditImages,
    edit_request,
    json_edit_body,
    multipart_body,
)

BOUNDARY = "0f" * 16
PNG = BytesSource(memoryview(b"\x89PNG of nothing"), "image/png")
JPEG = BytesSource(memoryview(b"\xff\xd8 of nothing, longer"), "image/jpeg")


def joined(upload: CompositeBody) -> bytes:
    """All pieces, as they are written."""
    body = bytearray()
    for piece in upload.pieces:
        if isinstance(piece, bytes):
            body += piece
        elif isinstance(piece, Base64Source):
            body += base64.b64encode(bytes(piece.source.open().read(piece.source.nbytes)))
        else:
            body += bytes(piece.open().read(piece.nbytes))
    assert len(body) == len(upload)
    return bytes(body)


def fields(body: bytes, boundary: str = BOUNDARY) -> list[tuple[Any, ...]]:
    """Name, file name, type and bytes of each part, read by the standard library's mail parser."""
    head = f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    assert not message.defects
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type() if part.get_filename() else None,
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


def test_every_parameter_of_a_form() -> None:
    """Each travels by its name as text; nested ones in brackets; what was not set is not there; texts come first."""
    request = EditRequest(
        "make it night, ünïcödé",
        image=b"",
        model="gpt-image-2.6-flare",
        n=2,
        size="1024x1024",
        quality="high",
        background="opaque",
        output_format="svg",
        output_compression=80,
        moderation="low",
        partial_images=3,
        complexity="low",
        frame_count=4,
        frame_duration_ms=200,
        svg={"model": "m", "reasoning": {"effort": None, "more": [1, 2.5]}},
        safety_identifier="u-1",
        user="u",
        response_format="b64_json",
        style="vivid",
        input_fidelity="high",
        extra_body={"seed": 7, "tiled": False, "quality": "max"},
    )
    parts = fields(joined(multipart_body(request_params(request, stream=True), EditImages([PNG]), BOUNDARY)))
    assert [(name, value.decode()) for name, file, _, value in parts if file is None] == [
        ("prompt", "make it night, ünïcödé"),
        ("model", "gpt-image-2.6-flare"),
        ("n", "2"),
        ("size", "1024x1024"),
        ("quality", "max"),
        ("background", "opaque"),
        ("output_format", "svg"),
        ("output_compression", "80"),
        ("moderation", "low"),
        ("partial_images", "3"),
        ("complexity", "low"),
        ("frame_count", "4"),
        ("frame_duration_ms", "200"),
        ("svg[model]", "m"),
        ("svg[reasoning][more][]", "1"),
        ("svg[reasoning][more][]", "2.5"),
        ("safety_identifier", "u-1"),
        ("user", "u"),
        ("response_format", "b64_json"),
        ("style", "vivid"),
        ("input_fidelity", "high"),
        ("stream", "true"),
        ("seed", "7"),
        ("tiled", "false"),
    ]
    assert parts[-1] == ("image", "image-0.png", "image/png", bytes(PNG.view))


def test_nothing_that_was_not_set() -> None:
    """A prompt and an image, and no third part."""
    parts = fields(
        joined(
            multipart_body(
                request_params(EditRequest("x", image=b""), stream=False), EditImages([PNG]), BOUNDARY
            )
        )
    )
    assert [name for name, *_ in parts] == ["prompt", "image"]


def test_several_pictures() -> None:
    """Two are `image[]` each; mask and markup keep their names; each has its own type and ending."""
    parts = fields(joined(multipart_body({}, EditImages([PNG, JPEG], PNG, JPEG), BOUNDARY)))
    assert [(name, file, kind) for name, file, kind, _ in parts] == [
        ("image[]", "image-0.png", "image/png"),
        ("image[]", "image-1.jpg", "image/jpeg"),
        ("mask", "mask-2.png", "image/png"),
        ("markup", "markup-3.jpg", "image/jpeg"),
    ]
    assert [value for *_, value in parts] == [bytes(one.view) for one in (PNG, JPEG, PNG, JPEG)]


# A mail parser ends lines at a bare CR, and at some others, where a form does not.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\x85"), max_size=50
)


@given(
    st.dictionaries(TEXTS.filter(lambda name: name.isidentifier() and name.isascii()), TEXTS),
    st.binary(max_size=99),
)
def test_any_text_and_any_bytes(body: dict[str, str], data: bytes) -> None:
    """What goes in comes out, whatever characters and bytes there are."""
    source = BytesSource(memoryview(data + b"."), "image/png")
    parts = fields(joined(multipart_body(body, EditImages([source]), BOUNDARY)))
    assert [(name, value.decode()) for name, _, _, value in parts[:-1]] == list(body.items())
    assert parts[-1][3] == data + b"."


def test_a_name_cannot_break_out() -> None:
    """Quotes and line ends in a name of `extra_body` are spelled as the HTML standard has it."""
    body = joined(multipart_body({'a"\r\nContent-Type: text/evil\r\n\r\n': "x"}, EditImages([PNG]), BOUNDARY))
    assert b'name="a%22%0D%0AContent-Type: text/evil%0D%0A%0D%0A"\r\n\r\nx\r\n' in body


@pytest.mark.parametrize(
    ("body", "said"), [({"a": object()}, "a cannot be sent in a form"), ({"prompt": "\ud800"}, "surrogate")]
)
def test_what_no_form_can_hold(body: dict[str, Any], said: str) -> None:
    """It is refused, and not shown."""
    with pytest.raises(RequestInvalidError, match=said) as caught:
        multipart_body(body, EditImages([PNG]), BOUNDARY)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("encoded", [b"{}", encode_json({"prompt": "x", "n": 2})])
def test_the_json_form(encoded: bytes) -> None:
    """Images are `images` with a `data:` URL or what refers to them, mask and markup one such object each."""
    pictures = EditImages(
        [PNG, ImageReference(image_url="https://x.example/a.png?sig=1"), ImageReference(file_id="file-1")],
        JPEG,
        PNG,
    )
    body = json.loads(joined(json_edit_body(encoded, pictures)))
    png = {"image_url": "data:image/png;base64," + base64.b64encode(PNG.view).decode()}
    jpeg = {"image_url": "data:image/jpeg;base64," + base64.b64encode(JPEG.view).decode()}
    assert body == {
        **json.loads(encoded),
        "images": [png, {"image_url": "https://x.example/a.png?sig=1"}, {"file_id": "file-1"}],
        "mask": jpeg,
        "markup": png,
    }


def test_headers() -> None:
    """The form's content type is ours to name, the rest is as in a generation."""
    given = {"Authorization": "Bearer sk-sentinel", "content-type": "text/plain", "user-agent": "mine"}
    request = edit_request(
        "http://x/v1/images/edits", {}, EditImages([PNG]), given, stream=True, boundary=BOUNDARY
    )
    assert request.headers == {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Accept": "text/event-stream, application/json",
        "Accept-Encoding": "identity",
        "Authorization": "Bearer sk-sentinel",
        "user-agent": "mine",
    }
    assert "sentinel" not in repr(request)
    as_json = edit_request("http://x", {}, EditImages([PNG]), {}, stream=False, boundary=None)
    assert as_json.headers["Content-Type"] == "application/json"


def test_a_reference_cannot_be_in_a_form() -> None:
    """There is no field for it."""
    with pytest.raises(RequestInvalidError, match="ImageReference"):
        multipart_body({}, EditImages([ImageReference(file_id="file-1")]), BOUNDARY)
