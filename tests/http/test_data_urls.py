"""An image inside its URL, as relays write it: `"url": "data:image/png;base64,…"`."""

import json
import time
from collections.abc import Iterable

import pytest

from openai_images.errors import DecodeError
from openai_images.models.image import Image
from openai_images.wire.json_decoder import JSONImageDecoder
from tests.helpers.decoding import fed, pieces
from tests.helpers.reading import EVENT_STREAM, JSON, reading
from tests.helpers.tiny_images import gif, text


def value(chunks: Iterable[bytes]) -> object:
    """The only value of a document, an image as its bytes."""
    scanner = JSONImageDecoder()
    for chunk in chunks:
        scanner.feed(chunk)
    [value] = scanner.finish().values()
    return value.data if isinstance(value, Image) else value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"url":"data:image/png;base64,QQ=="}', b"A"),
        ('{"url":"data:;base64,QQ"}', b"A"),
        ('{"\\u0075rl" : "data:image\\/png;base64,QQ\\u003d="}', b"A"),
        ('{"url":"data:image/png;base64,"}', None),
        ('{"url":"https://example.com/data:"}', "https://example.com/data:"),
        ('{"url":""}', ""),
        ('{"url":"d"}', "d"),
        ('{"url":"data"}', "data"),
        ('{"url":"\\u0064ata:x"}', "data:x"),
        ('{"url":"dat\\"a:"}', 'dat"a:'),
        ('{"url":null}', None),
        ('{"url":["data:x"]}', ["data:x"]),
        ('{"urls":"data:x"}', "data:x"),
        ('{"URL":"data:x"}', "data:x"),
    ],
)
def test_a_data_url_is_a_picture(text: str, found: object) -> None:
    """Under `url` and nothing else, and only where the text begins so; every other URL is a text."""
    assert fed(value, text.encode()) == found


@pytest.mark.parametrize("text", ["data:text/plain,hello", "data:", "data:image/png;base64,*"])
def test_a_data_url_that_is_no_base64_is_an_error(text: str) -> None:
    """As under `b64_json`."""
    with pytest.raises(DecodeError, match="base64"):
        value([f'{{"url":"{text}"}}'.encode()])


@pytest.mark.parametrize("text", ['{"url":"', '{"url":"d', '{"url":"data:', '{"url":"data:;base64,QQ=='])
def test_one_that_is_cut_is_cut(text: str) -> None:
    """More was due."""
    scanner = JSONImageDecoder()
    scanner.feed(text.encode())
    with pytest.raises(DecodeError):
        scanner.finish()
    assert scanner.is_cut


def test_one_of_many_megabytes_takes_no_room_in_the_envelope() -> None:
    """It is decoded while it arrives, as an image under its own name is."""
    text = b'{"data":[{"url":"data:image/png;base64,' + b"QUJD" * 2_000_000 + b'"}]}'
    scanner = JSONImageDecoder()
    for piece in pieces(text, 65_536):
        scanner.feed(piece)
        assert len(scanner.text) < 100
    assert scanner.finish()["data"][0]["url"].nbytes == 6_000_000


def test_both_at_once() -> None:
    """The image under its own name comes first; in an event as in an answer, one is enough."""
    url = "data:image/png;base64," + text("B")
    item = json.dumps({"b64_json": text("A"), "url": url})
    assert reading(JSON)([f'{{"data":[{item}]}}'.encode()]).result.image.data == gif("A")
    for fields in (f'"b64_json":null,"url":"{url}"', f'"url":"{url}"'):
        event = f'data: {{"type":"image_generation.completed",{fields}}}\n\n'
        image = fed(reading(EVENT_STREAM), event.encode()).result.image
        assert (image.data, image.url) == (gif("B"), None)


def seconds(urls: int) -> float:
    """The processor time that so many URLs take."""
    text = b'{"data":[' + b'{"url":"https://x"},' * urls + b"{}]}"
    begun = time.process_time()
    JSONImageDecoder().feed(text)
    return time.process_time() - begun


def test_the_time_is_linear() -> None:
    """Four times as many in one piece take at most six times as long, in the best of five tries on a busy machine."""
    assert any(seconds(80_000) <= 6 * seconds(20_000) for _ in range(5))
