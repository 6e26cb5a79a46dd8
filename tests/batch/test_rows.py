"""Rows whatever they are made of, and journals whatever stands in them: no value ends a batch, and JSON stays JSON."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hypothesis import example, given, settings, strategies as st

from openai_images import (
    BatchFolderError,
    DecodeError,
    Image,
    ImageResult,
    ImagesClient,
    SvgUsage,
    TokenDetails,
    Usage,
    cost_of,
)
from openai_images._util.json import json_value
from openai_images.batch.journal.journal import encode_row, error_fields, result_fields
from openai_images.batch.journal.journal_reader import parse_journal
from openai_images.batch.journal.ledger import Ledger
from openai_images.errors import ServerOutcomeUnknownError
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, many, posts, rows, run
from tests.helpers.clients import PNG, client_of
from tests.helpers.raw_server import RawServer, reply


def nested(levels: int, inside: object = 1) -> Any:
    """Lists in objects in lists."""
    value = inside
    for _ in range(levels // 2):
        value = [{"a": value}]
    return value


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(categories=None))
    | st.binary(max_size=5)
    | st.sampled_from(
        [
            10**4_000,
            -(2**70),
            1e999,
            "\ud800",
            Decimal("NaN"),
            Image.from_bytes(PNG),
            object(),
            nested(100),
            {1},
        ]
    )
)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.just("\udfff"), inner),  # type: ignore[arg-type]
    max_leaves=20,
)
NAMES = st.sampled_from(["cached_tokens", "cached_tokens_details", "input_tokens", "b64_json", "x"])
EXTRA = st.dictionaries(NAMES, ANYTHING)
DETAILS = st.builds(TokenDetails, ANYTHING, ANYTHING, EXTRA) | ANYTHING
USAGES = st.builds(Usage, ANYTHING, ANYTHING, ANYTHING, DETAILS, DETAILS, EXTRA)
COUNTS = st.builds(Usage, st.just(5), st.just(5), ANYTHING, DETAILS, DETAILS, EXTRA)
SVGS = st.builds(SvgUsage, st.just("gpt-5"), ANYTHING, ANYTHING, ANYTHING, ANYTHING, EXTRA)


def is_json(line: bytes) -> dict[str, Any]:
    """The row, as a strict reader has it."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    row: dict[str, Any] = json.loads(line, parse_constant=refuse)
    assert line.isascii()
    assert line.count(b"\n") == 1
    return row


@given(ANYTHING)
@example(float("nan"))
@example(["x" * 5_000] * 5_000)
def test_any_value_in_bounded_room(value: object) -> None:
    """What JSON has no word for is text, what is too much is cut, and nothing raises."""
    text = json.dumps(json_value(value), allow_nan=False)
    assert len(text) <= 16_000
    text.encode()


def test_nested_deeper_than_the_stack() -> None:
    """Neither a row nor an amount minds how deep a value is."""
    deep = Usage(5, 5, 10, extra={"x": nested(100_000), "cached_tokens": nested(5_000)})
    answer = ImageResult((Image.from_bytes(PNG),), usage=deep)
    row = is_json(encode_row({"state": "done", "key": "k", **result_fields(answer)}))
    assert "<nested deeper>" in json.dumps(row["usage"]["x"])
    assert cost_of(answer, "gpt-image-2") is None
    is_json(encode_row({"state": "failed", "key": "k", "odd": nested(100_000)}))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (1e999, "inf"),
        pytest.param(10**4_000, "<number of 13288 bits>", id="huge"),
        (b"GIF89a", "<bytes>"),
        ("half \ud83d", "half \ufffd"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        (Image.from_bytes(PNG), "<Image>"),
        ({1: {"a": None}}, {"<int>": {"a": None}}),
        (("a", True, 2**64 - 1), ["a", True, 2**64 - 1]),
        (Decimal("1.50"), "1.50"),
        ("x" * 4_001, "x" * 4_000 + "…"),
        (["x" * 4_000] * 9, "<36,036 characters of JSON, left out>"),
    ],
)
def test_what_odd_values_become(value: object, written: object) -> None:
    """Each kind of them."""
    assert json_value(value) == written


@settings(max_examples=40)
@given(USAGES | COUNTS | st.none(), SVGS | st.none(), ANYTHING, st.sampled_from(["gpt-image-2", "m", None]))
def test_any_usage(usage: Any, svg_usage: Any, odd: Any, model: str | None) -> None:
    """A result's row is JSON and its cost an amount or None, whatever the server counted."""
    answer = ImageResult(
        (Image.from_bytes(PNG),), usage=usage, svg_usage=svg_usage, size=odd, request_id=odd, model=odd
    )
    row = is_json(encode_row({"state": "done", "key": "k", **result_fields(answer)}))
    assert row["key"] == "k"
    for cost in (cost_of(answer, model), cost_of(answer, odd)):
        assert cost is None or (cost.is_finite() and cost >= 0)
    if usage is not None:
        is_json(json.dumps(usage.as_dict()).encode() + b"\n")


@given(st.text(st.characters(categories=None)), ANYTHING, ANYTHING)
def test_any_error(text: str, code: Any, request_id: Any) -> None:
    """An error's row is JSON, whatever the server said."""
    error = ServerOutcomeUnknownError(text, status_code=500, code=code, request_id=request_id)
    row = is_json(encode_row({"state": "unknown", "key": "k", **error_fields(error)}))
    assert row["error"] == "ServerOutcomeUnknownError"


@given(st.text(st.characters(categories=None), min_size=1), ANYTHING)
def test_a_key_stays_as_it_is(key: str, odd: Any) -> None:
    """A row is found again by its key, whatever else it holds."""
    (row,) = parse_journal(encode_row({"state": "failed", "key": key, "more": odd})).rows
    assert row["key"] == key


# Reading.

FIELDS = (
    "state",
    "key",
    "request",
    "stem",
    "pictures",
    "estimate",
    "cost",
    "billed",
    "files",
    "message",
    "error",
)
MORE_FIELDS = ("seconds", "adopted", "urls", "format", "same_as", "at", "usage")
FILE = {"name": "images/a.png", "nbytes": 1, "sha256": "00"}
JSON_ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["../../x", "a\0b", "/", ".", "1e999999", "-5", "NaN", 10**30, 1e308, float("inf"), FILE]
    )
    | st.sampled_from(["images/a.png", "1E-999999", 10**12, "a", ["https://i.test/1"], [FILE]]),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["name", "nbytes", "sha256", "width"]), inner)
    ),
    max_leaves=5,
)
ODD_ROWS = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["begun", "sent", "refused", "done", "away", "failed", "unknown"])
        | JSON_ODD,
        "key": st.sampled_from(["a", "b"]) | JSON_ODD,
    },
    optional=dict.fromkeys((*FIELDS[2:], *MORE_FIELDS), JSON_ODD),
)


@settings(max_examples=40)
@given(st.lists(ODD_ROWS, max_size=4))
@example(
    [{"state": "sent", "key": "a", "pictures": 10**9}, {"state": "done", "key": "a", "seconds": 10**400}]
)
@example([{"state": "done", "key": "a", "files": [{**FILE, "nbytes": 1e999}], "cost": "1E+999999"}])
def test_any_row(lines: list[dict[str, Any]]) -> None:
    """Whatever stands in a row, the journal adds up, in amounts that can be reckoned with."""
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    found = parse_journal(data)
    ledger = Ledger.from_journal(found, {"a": Decimal(1)})
    assert 0 <= ledger.spending.upper_bound < Decimal(10) ** 20
    assert len(found.rows) + len(found.notes) == len(lines)
    for record in ledger.records.values():
        assert (record.state != "away" or record.urls, 1 <= record.image_count <= 1_000) == (
            True,
            True,
        ) or record.urls
        assert all(isinstance(file.nbytes, int) and "\0" not in file.name for file in record.files)


@given(st.binary(max_size=200) | st.lists(ODD_ROWS, max_size=3).map(lambda some: json.dumps(some).encode()))
@example(b'{"state":' * 5_000)
@example(b'{"key":"a' * 5_000)
@example(b"[" * 100_000)
@example(b'{"state":"done","key":"a","n":' + b"9" * 10_000 + b"}\n")
@example(b'{"state":[],"key":"a"}\n')
@example(b'{"state":"done","key":"a","x":' + b"[" * 900 + b"]" * 900 + b"}\n")
def test_any_bytes(data: bytes) -> None:
    """Whatever stands in a journal, it is read, and what is no row is told."""
    found = parse_journal(data)
    Ledger.from_journal(found, {})
    assert len(found.notes) <= 21
    assert data.endswith(found.torn)


WHOLE = [
    {"state": "begun", "key": None, "format": 1},
    {"state": "sent", "key": "a", "request": "r", "stem": "a"},
    {"state": "done", "key": "a", "files": [FILE]},
    {"state": "sent", "key": "b", "request": "r", "stem": "b"},
    {"state": "failed", "key": "b"},
]
LINES = [encode_row(row) for row in WHOLE]


@pytest.mark.parametrize(
    "data",
    [
        b"".join(LINES),
        b"".join(LINES).replace(b"\n", b"\r\n"),
        b"".join(LINES).replace(b"\n", b"\r"),
        b"".join(LINES).replace(b"\n", b""),
        b"".join(LINES).replace(b"}\n{", b"} {"),
        b"\xef\xbb\xbf" + b"".join(LINES),
        b"\n\n".join(LINES),
    ],
    ids=["whole", "CRLF", "CR", "no line ends", "one line", "a mark of its encoding", "blank lines"],
)
def test_other_line_ends(data: bytes) -> None:
    """A journal that a tool wrote anew has the same rows, whatever became of its line ends."""
    found = parse_journal(data)
    assert (list(found.rows), found.notes, found.torn) == (WHOLE, [], b"")
    assert found.lacks_newline == (not data.endswith(b"\n"))


def test_a_line_of_several_that_breaks_off() -> None:
    """Its rows before the break count, and those behind it may have been sent."""
    data = b"".join(LINES[:3]).replace(b"\n", b"") + b"\0\0" + b"".join(LINES[3:])
    found = parse_journal(data)
    assert list(found.rows) == [*WHOLE[:3], WHOLE[4]]
    assert "it is about 'b', which may have been sent" in found.notes[0]
    torn = parse_journal(b"".join(LINES[:3]) + b"\0\0" + b"".join(LINES[3:]).replace(b"\n", b""))
    assert (list(torn.rows), Ledger.from_journal(torn, {}).get("b").state) == (WHOLE[:3], "unknown")


def test_names_that_lead_elsewhere() -> None:
    """A journal from somebody else writes nothing outside its folder."""
    sent = {"state": "sent", "key": "a", "stem": "../../x"}
    away = {"state": "away", "key": "b", "stem": "/etc/x", "urls": ["https://i.test/1"]}
    done = {"state": "done", "key": "c", "files": [{**FILE, "name": "../x.png"}]}
    ledger = Ledger.from_journal(parse_journal(b"".join(map(encode_row, (sent, away, done)))), {})
    assert [ledger.get(key).stem for key in "abc"] == ["", "", ""]
    assert ledger.get("c").state == "unknown"


# In a batch.

ODD_ANSWERS = [
    b'"more":1e999',
    b'"b64_json":"AAAA"',
    b'"more":' + b"9" * 4_000,
    b'"more":"\\ud800"',
    b'"more":' + b"[" * 60 + b"]" * 60,
    b'"input_tokens":"many","output_tokens":[],"total_tokens":{}',
    b'"input_tokens":1,"output_tokens":1,"total_tokens":2,"cached_tokens":{"a":[1]}',
    b'"input_tokens_details":{"image_tokens":1e308,"x":{"b64_json":"R0lGODlhAQABAAAAACw="}}',
]


@pytest.mark.parametrize("odd", ODD_ANSWERS, ids=range(len(ODD_ANSWERS)))
async def test_an_odd_answer_ends_nothing(out: Path, odd: bytes) -> None:
    """Its image is on the disk and so are the others', and the journal is JSON."""
    from base64 import b64encode

    answer = b'{"created":1,"data":[{"b64_json":"%s"}],"usage":{%s}}' % (b64encode(PNG), odd)
    async with RawServer([reply(answer)]) as server, client_of(server, model="gpt-image-2") as client:
        ran = await run(client, many(3), out, concurrency=1)
        assert (ran.error, ran.summary.done, len(server.bodies)) == (None, 3, 3)
        assert (await run(client, many(3), out)).plan.done == ("00001", "00002", "00003")
    for line in (out / "journal.jsonl").read_bytes().splitlines(keepends=True):
        is_json(line)


class Odd:
    """A value that looks like nothing."""

    def __repr__(self) -> str:
        """It cannot even be shown."""
        raise ZeroDivisionError


@frozen
class OddCall:
    """A call that is sent, and fails with an error that nobody has foreseen."""

    observer: Any

    async def result_or_raise(self) -> ImageResult:
        """It fails."""
        await self.observer.before_send(1)
        error = DecodeError("half \ud800")
        error.request_id = Odd()  # type: ignore[assignment]
        raise error


async def test_an_odd_error_ends_nothing(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that carries what no row can hold has its row, and the other items go on."""
    new = client._calls.new

    def odd(request: Any, **keywords: Any) -> Any:
        return OddCall(keywords["observer"]) if request.prompt.endswith("2") else new(request, **keywords)

    monkeypatch.setattr(client._calls, "new", odd)
    ran = await run(client, many(3), out, concurrency=1)
    assert (ran.error, ran.summary.done, ran.summary.unknown) == (None, 2, 1)
    assert rows(out)[-3]["request_id"] == "<Odd>"


@pytest.mark.parametrize(
    "odd",
    [
        '{"state":"sent","key":"00001","stem":"00001","pictures":1000000000}',
        '{"state":"done","key":"00001","files":[{"name":"images/a\\u0000b","nbytes":1,"sha256":""}]}',
        '{"state":"done","key":"00001","files":[{"name":"images/a","nbytes":1e999,"sha256":""}]}',
        '{"state":"done","key":"00001","files":{"name":1},"seconds":1e999}',
        '{"state":"away","key":"00001","urls":[]}',
        '{"state":"away","key":"00001","urls":7}',
        '{"state":["sent"],"key":"00001"}',
        '{"state":"unknown","key":"00001","cost":"1e999999999","message":[[]],"request":{}}',
    ],
)
async def test_an_odd_journal_buys_nothing_twice(
    client: ImagesClient, server: LocalImagesServer, out: Path, odd: str
) -> None:
    """The item such a row is about is not sent without a question; the others are."""
    out.mkdir()
    (out / "journal.jsonl").write_text(f'{{"state":"begun","key":null,"format":1}}\n{odd}\n')
    ran = await run(client, items_of("one", "two"), out)
    assert (ran.error, ran.done, list(posts(server))) == (None, ["00002"], ["two"])


async def test_an_odd_beginning(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """A journal whose format nobody can tell is refused."""
    out.mkdir()
    (out / "journal.jsonl").write_text('{"state":"begun","key":null,"format":"2"}\n')
    with pytest.raises(BatchFolderError, match="has no row of a batch"):
        await run(client, many(1), out)
    assert server.posts == 0
