"""The plain reader of answers, against which the decoder is held, sees what is beyond doubt and no more."""

from benchmarks.fuzz_promises import images_of_events, images_of_json


def test_a_plain_reader_counts_what_is_beyond_doubt() -> None:
    """Whole events, base64 without any liberty; the rest is the decoder's business."""
    event = b'event: image_edit.completed\ndata: {"b64_json":"QQ=="}\n\n'
    assert images_of_events(event * 2) == [b"A", b"A"]
    for odd in (
        event[:-1],
        event.replace(b"\n", b"\r\n"),
        b"x" + event,
        event.replace(b"completed", b"partial_image"),
    ):
        assert images_of_events(odd) == []
    for text, found in (("QQ==", [b"A"]), ("QQ", []), ("QQ==\\n", []), ("*", []), ("", []), ("QUJD==", [])):
        assert images_of_json(f'{{"data":[null,{{"b64_json":"{text}"}},7]}}'.encode()) == found
    for body in (
        b"",
        b"{",
        b"[]",
        b'{"data":{}}',
        b'{"data":[{"b64_json":5}]}',
        b"\xff",
        b"{" * 100_000,
        b'{"a":"\xff"}',
    ):
        assert images_of_json(body) == []
