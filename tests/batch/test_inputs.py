"""The input of a batch: what is read from text, CSV and JSON Lines, and how what is wrong is told."""

import codecs
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    Batch,
    BatchInputError,
    BatchItem,
    EditRequest,
    GenerateRequest,
    ImagesClient,
    RequestInvalidError,
    expand_matrix,
    read_batch_items,
)

Read = Callable[..., list[BatchItem]]


def read(data: str | bytes, kind: str, **options: Any) -> list[BatchItem]:
    """Read from an open text; bytes come as standard input has them."""
    if isinstance(data, bytes):
        return read_batch_items(io.TextIOWrapper(io.BytesIO(data), encoding="ascii"), format=kind, **options)
    return read_batch_items(io.StringIO(data), format=kind, **options)


def problems(data: str | bytes, kind: str, **options: Any) -> tuple[str, ...]:
    """All that is wrong."""
    with pytest.raises(BatchInputError) as caught:
        read(data, kind, **options)
    return caught.value.problems


def item(key: str, prompt: str, line: int, **params: Any) -> BatchItem:
    """What is expected."""
    return BatchItem(key, GenerateRequest(prompt, **params), line)


def test_text() -> None:
    """A prompt a line; blank lines are skipped, a # is nothing special, keys count the prompts."""
    text = "an otter  \r\n\n  # 1: a raft\n   \nth\u2028ree\x0bparts"
    assert read(text, "txt") == [
        item("00001", "an otter", 1),
        item("00002", "# 1: a raft", 3),
        item("00003", "th\u2028ree\x0bparts", 5),
    ]


def test_csv() -> None:
    """A column for each parameter; cells become what the parameter is, empty ones set nothing."""
    text = (
        "\ufeffkey, Prompt ,n,size,output_compression,svg,extra_body\n"
        'otter,"an ""otter"",\non a raft",2,1024x1024,90,,"{""seed"": 1}"\n'
        ",,,,,,\n"
        "\n"
        ' ,a raft, 3.0 ,,,"{""model"": ""x""}",\n'
        "raft,short\n"
    )
    assert read(text, "csv") == [
        item(
            "otter",
            'an "otter",\non a raft',
            2,
            n=2,
            size="1024x1024",
            output_compression=90,
            extra_body={"seed": 1},
        ),
        item("00002", "a raft", 6, n=3, svg={"model": "x"}),
        item("raft", "short", 7),
    ]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_separators(mark: str) -> None:
    """A header with semicolons or tabs and no comma says what separates the columns."""
    assert read(f"prompt{mark}n\na, b{mark}2\n", "csv") == [item("00001", "a, b", 2, n=2)]


@pytest.mark.parametrize(
    ("first", "mark"),
    [
        ("sep=;", ";"),
        ("SEP=,", ","),
        ("sep=\t", "\t"),
        ("sep=|", "|"),
        ('"sep=;"', ";"),
        ("sep=;;;;", ";"),
        ("\n\nsep=;", ";"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_first_line_that_names_the_separator(first: str, mark: str, end: str) -> None:
    """Excel obeys it and never shows it; lines are counted with it."""
    text = f"\ufeff{first}{end}prompt{mark}n{end}a: b{mark}2{end}"
    assert read(text.encode(), "csv") == [item("00001", "a: b", 3 + first.count("\n"), n=2)]


def test_only_a_whole_first_line_names_the_separator() -> None:
    """A column or a prompt that begins so is one."""
    assert read("prompt\nsep=;", "csv") == [item("00001", "sep=;", 2)]
    assert problems("sep=;prompt\na", "csv")[0].startswith("line 1: column 'sep=' is unknown: key_column=")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("kind", "lines", "line"),
    [
        ("txt", ["ä, b", "", "c"], 1),
        ("csv", ["prompt;n", "ä, b;", "c;"], 2),
        ("csv", ["n,prompt", ',"ä, b"', ",c"], 2),
        ("jsonl", ['{"prompt": "ä, b"}', "", '{"prompt": "c"}'], 1),
    ],
)
def test_every_end_of_line(kind: str, lines: list[str], line: int, end: str, encoding: str) -> None:
    """Those of old Macs too, in each encoding with a mark."""
    one, two = read((end.join(lines) + end).encode(encoding), kind)
    assert (one.request.prompt, one.line, two.request.prompt) == ("ä, b", line, "c")


def test_lines_that_end_in_cr_are_counted() -> None:
    """Also where a byte is no text."""
    assert problems(b"a\rb\xff\rc", "txt") == ("line 2: byte 2 is not UTF-8; save the file as UTF-8",)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_an_encoding_without_a_mark(encoding: str) -> None:
    """It would be prompts full of NULs."""
    assert problems("prompt\na".encode(encoding), "csv") == (
        "it contains NUL characters, like UTF-16 without a byte order mark; save it as UTF-8",
    )


@pytest.mark.parametrize("url", ["/v1/images/generations", "/openai/v1/images/generations", None])
def test_lines_of_the_batch_api(url: str | None) -> None:
    """`custom_id` is the key, `body` the request; defaults hold as for every row."""
    body = {"model": "m", "prompt": "a fox", "n": None}
    row = {"custom_id": "r-1", "method": "POST", "url": url, "body": body}
    rows = [row, {"body": {"prompt": "a crow", "size": "auto"}}, {"prompt": "a hen"}]
    assert read("\n".join(map(json.dumps, rows)), "jsonl", defaults={"size": "1024x1024"}) == [
        item("r-1", "a fox", 1, model="m", size="1024x1024"),
        item("00002", "a crow", 2, size="auto"),
        item("00003", "a hen", 3, size="1024x1024"),
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"url": "/v1/chat/completions"}, "its url must be /v1/images/generations or /v1/images/edits"),
        (
            {"url": "/v1/images/edits"},
            "it must have images in its body if its url ends in /images/edits, and only",
        ),
        ({"url": "http://x/v1/images/generations"}, "its url must be /v1/images/generations or"),
        ({"url": ["secret"]}, "its url must be /v1/images/generations or /v1/images/edits"),
        ({"method": "GET"}, "its method must be POST"),
        ({"body": "secret"}, "its body must be a JSON object, the request"),
        ({"body": None}, "its body must be a JSON object, the request"),
        ({"params": "secret"}, "it has only custom_id, method, url, body, not 'params'"),
    ],
)
def test_bad_lines_of_the_batch_api(row: dict[str, Any], problem: str) -> None:
    """One problem each, in the words of that form."""
    whole = {"custom_id": "r", "method": "POST", "body": {"prompt": "secret"}, **row}
    (told,) = problems(json.dumps(whole), "jsonl")
    assert told.startswith(f"line 1: as a line of the Batch API {problem}")
    assert "secret" not in told


def test_what_is_wrong_in_a_body() -> None:
    """It is told as for every row."""
    rows = [
        {"custom_id": "r", "body": {"prompt": "", "seed": 1}},
        {"custom_id": True, "body": {"prompt": "a"}},
    ]
    assert problems("\n".join(map(json.dumps, rows)), "jsonl") == (
        (
            "line 1: parameter 'seed' is unknown: ignore_unknown=True ignores it; other parameters of the server go "
            "into extra_body"
        ),
        "line 1: the prompt is empty",
        "line 2: key must be text",
    )


def test_jsonl() -> None:
    """An object a line; null sets nothing, a number may be a key."""
    text = (
        '{"prompt": "an otter", "key": 7, "n": 2, "size": null, "extra_body": {"seed": 1, "x": [1.5]}}\n'
        "\n"
        '{"prompt": " a raft ", "svg": {"model": "x"}, "n": 1.0}'
    )
    assert read(text, "jsonl") == [
        item("7", "an otter", 1, n=2, extra_body={"seed": 1, "x": [1.5]}),
        item("00002", " a raft ", 3, svg={"model": "x"}, n=1),
    ]


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl"])
def test_defaults(kind: str) -> None:
    """Defaults hold where a row sets nothing else."""
    text = {
        "txt": "one\ntwo",
        "csv": "prompt,size\none,\ntwo,auto",
        "jsonl": '{"prompt": "one"}\n{"prompt": "two", "size": "auto"}',
    }[kind]
    one, two = read(text, kind, defaults={"size": "1024x1024", "n": 2, "quality": None})
    assert (one.request.size, one.request.n, one.request.quality) == ("1024x1024", 2, None)
    assert two.request.size == ("1024x1024" if kind == "txt" else "auto")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", b"an \xc3\xb6tter\n"),
        ("a.CSV", b"prompt\nan \xc3\xb6tter"),
        ("a.tsv", b"key\tprompt\n00001\tan \xc3\xb6tter"),
        ("a.jsonl", b'{"prompt": "an \\u00f6tter"}'),
        ("a.ndjson", b'\xef\xbb\xbf{"prompt": "an \xc3\xb6tter"}'),
        ("a.csv", codecs.BOM_UTF16_LE + "prompt\nan ötter".encode("utf-16-le")),
    ],
)
def test_files(tmp_path: Path, name: str, data: bytes) -> None:
    """The suffix says what it is, marks at the beginning how it is encoded."""
    (tmp_path / name).write_bytes(data)
    (only,) = read_batch_items(tmp_path / name)
    assert (only.key, only.request.prompt) == ("00001", "an ötter")
    assert read_batch_items(str(tmp_path / name)) == [only]


def test_standard_input() -> None:
    """Bytes are read as UTF-8, however standard input would decode them."""
    assert read("an ötter".encode(), "txt") == [item("00001", "an ötter", 1)]


def test_no_format(tmp_path: Path) -> None:
    """A name that says nothing needs a format, and an unknown one is told."""
    file = tmp_path / "prompts"
    file.write_text("an otter")
    with pytest.raises(
        BatchInputError, match="is not known from its name; set format=txt, csv, json or jsonl"
    ):
        read_batch_items(file)
    with pytest.raises(BatchInputError, match="its format 'xlsx' is unknown"):
        read_batch_items(file, format="xlsx")
    assert len(read_batch_items(file, format="txt")) == 1


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there is the system's error."""
    with pytest.raises(FileNotFoundError):
        read_batch_items(tmp_path / "nothing.txt")


@pytest.mark.parametrize(
    ("kind", "text"),
    [("txt", ""), ("txt", " \n\n"), ("csv", ""), ("csv", "prompt\n\n"), ("jsonl", "\n")],
)
def test_nothing_in_it(kind: str, text: str) -> None:
    """An input without a prompt is a mistake."""
    assert problems(text, kind) == ("it contains no prompt",)


LONG = "x" * 32_001
BAD_LINES = {
    '{"prompt": ""}': "the prompt is empty",
    '{"n": 1}': "the prompt is empty",
    '{"prompt": ["secret"]}': "the prompt is empty",
    f'{{"prompt": "{LONG}"}}': "the prompt has 32,001 characters; 32,000 are allowed",
    '{"prompt": "secret \\ud800"}': "the prompt contains half of a surrogate pair, which is not a character",
    '{"prompt": "secret", "n": "2"}': "n must be a whole number",
    '{"prompt": "secret", "n": true}': "n must be a whole number",
    '{"prompt": "secret", "n": 1.5}': "n must be a whole number",
    '{"prompt": "secret", "size": 1024}': "size must be text",
    '{"prompt": "secret", "svg": "secret"}': "svg must be a JSON object",
    '{"prompt": "secret", "key": true}': "key must be text",
    '{"prompt": "secret", "key": {}}': "key must be text",
    f'{{"prompt": "secret", "key": "{"k" * 401}"}}': "key must be text of at most 400 characters",
    '{"prompt": "secret", "seed": 1}': "parameter 'seed' is unknown: key_column='seed' uses it as the key,",
    '{"prompt": "secret", "qualiti": 1}': "unknown parameter 'qualiti'; did you mean 'quality'?",
    '{"prompt": "secret", "stream": true}': "stream: a batch does not stream; leave it out",
    '{"prompt": "secret", "partial_images": 2}': (
        "partial_images: a batch does not stream, so there are no partial images; leave it out"
    ),
    '["secret"]': 'it is not a JSON object; write {"prompt": …}',
    '"secret"': 'it is not a JSON object; write {"prompt": …}',
    "secret": "it is not a JSON object (Expecting value)",
    '{"prompt": "secret", "prompt": "b"}': "it is not a JSON object ('prompt' occurs twice)",
    '{"prompt": "secret", "n": NaN}': "it is not a JSON object (NaN is not a JSON number)",
    '{"prompt": "secret", "extra_body": ' + "[" * 100_000: "it is not a JSON object (",
}


@pytest.mark.parametrize(("line", "problem"), BAD_LINES.items(), ids=range(len(BAD_LINES)))
def test_bad_lines(line: str, problem: str) -> None:
    """Each is told with its line, and without repeating what may be a prompt."""
    (told,) = problems(f'{{"prompt": "fine"}}\n{line}\n', "jsonl")
    assert told.startswith(f"line 2: {problem}")
    assert "secret" not in told


def test_all_bad_lines_together() -> None:
    """Everything that is wrong is told at once, in the order of the lines; the error's text shows the first twenty."""
    text = "\n".join(['{"prompt": "a", "key": "k"}', *BAD_LINES, '{"prompt": "b", "key": "k"}'])
    with pytest.raises(BatchInputError) as caught:
        read(text, "jsonl")
    told = caught.value.problems
    assert len(told) == len(BAD_LINES) + 1
    assert [int(problem.split()[1].rstrip(":")) for problem in told] == list(range(2, len(BAD_LINES) + 3))
    assert told[-1].endswith("its key 'k' is already used on line 1")
    message = str(caught.value)
    assert f"{len(BAD_LINES) + 1} problems" in message
    assert message.count("\n") == 21
    assert message.endswith(f"… and {len(BAD_LINES) - 19} more")
    assert "secret" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a secret otter\na raft",
            ("line 1: the header has no column prompt; the first line names the columns",),
        ),
        ("prompt,promt\na,b", ("line 1: unknown parameter 'promt'; did you mean 'prompt'?",)),
        ("prompt,n,prompt\na,1,b", ("line 1: there are two columns 'prompt'",)),
        (
            "prompt,n\na,b,c\nsecret, d\nx,1",
            (
                "line 2: it has 3 columns, but the header 2; quote cells with a comma",
                "line 3: n must be a whole number",
            ),
        ),
        ("key,prompt\na,", ("line 2: the prompt is empty",)),
        ("prompt,n\nx,1e3\n", ("line 2: n must be a whole number",)),
        ("prompt,svg\nx,[1]\n", ("line 2: svg must be a JSON object",)),
        ("prompt,svg\nx,{\n", ("line 2: svg must be a JSON object",)),
        ("key,prompt\nk,a\n\nk,b\n", ("line 4: its key 'k' is already used on line 2",)),
        ("key,prompt\n00002,a\n,b\n", ("line 3: its key '00002' is already used on line 2",)),
    ],
)
def test_bad_tables(text: str, expected: tuple[str, ...]) -> None:
    """What is wrong with a table, with its lines."""
    assert problems(text, "csv") == expected


def test_a_quotation_without_end() -> None:
    """A forgotten quotation mark does not make one prompt of all that follows."""
    (told,) = problems('prompt\na\n"an otter\na raft\n' + "more\n" * 100, "csv")
    assert told.startswith("line 3: it cannot be read as CSV (unexpected end of data)")


def test_not_utf_8() -> None:
    """Bytes that are no text are told by line and place, beside everything else."""
    data = b'{"prompt": "\xff"}\n{"prompt": ""}\n{"prompt": "a\xe4"}\n'
    assert problems(data, "jsonl") == (
        "line 1: byte 13 is not UTF-8; save the file as UTF-8",
        "line 2: the prompt is empty",
        "line 3: byte 14 is not UTF-8; save the file as UTF-8",
    )
    (told,) = problems(codecs.BOM_UTF16_LE + b"a", "txt")
    assert told.startswith("it starts like UTF-16 but is not valid UTF-16")


def test_bad_defaults() -> None:
    """Defaults are checked as rows are."""
    assert problems("a\nb", "txt", defaults={"n": "2"}) == ("defaults: n must be a whole number",)
    assert problems("a", "txt", defaults={"prompt": "b", "sise": "auto", "partial_images": 1}) == (
        "defaults: unknown parameter 'prompt'",
        "defaults: unknown parameter 'sise'; did you mean 'size'?",
        "defaults: partial_images: a batch does not stream, so there are no partial images; leave it out",
    )


def test_no_prompt_is_shown() -> None:
    """An item's `repr` tells how long its prompt is."""
    (only,) = read("a secret otter", "txt")
    assert "secret" not in repr(only)
    assert "<14 characters>" in repr(only)


async def test_what_is_no_item(tmp_path: Path) -> None:
    """Prompts and requests, as `generate_many` takes them, have no key: what to write is told, and no prompt."""
    items: Any = ["a secret otter", GenerateRequest("a secret otter"), BatchItem("a", GenerateRequest("b"))]
    told = (
        "item 0: it must be a BatchItem(key, GenerateRequest(…)), not str",
        "item 1: it must be a BatchItem(key, GenerateRequest(…)), not GenerateRequest",
    )
    with pytest.raises(BatchInputError) as caught:
        async with Batch(ImagesClient(api_key="k"), items, tmp_path / "out"):
            pass
    assert caught.value.problems == told
    with pytest.raises(BatchInputError) as caught:
        expand_matrix(items, {"quality": ["low"]})
    assert caught.value.problems == told


def test_an_item_of_no_sense() -> None:
    """Its key is text, and its request is one."""
    wrong: Any = 5
    with pytest.raises(RequestInvalidError, match="key of a BatchItem must be text, not int"):
        BatchItem(wrong, GenerateRequest("an otter"))
    prompt: Any = "a secret otter"
    with pytest.raises(RequestInvalidError, match=r"must be a GenerateRequest or an EditRequest, not str$"):
        BatchItem("a", prompt)
    assert BatchItem("a", EditRequest("an otter", image=b"")).line is None
