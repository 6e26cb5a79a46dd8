"""Files as people have them: columns of their own, comments, a JSON array."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from openai_images import BatchInputError, BatchItem, GenerateRequest, read_batch_items

SHEET = "id,caption,notes,size\n7,a fox,by the sea,auto\n8,a crow,,\n"


def read(text: str, kind: str = "csv", **options: Any) -> list[BatchItem]:
    """Read from an open text."""
    return read_batch_items(io.StringIO(text), format=kind, **options)


def problems(text: str, kind: str = "csv", **options: Any) -> tuple[str, ...]:
    """All that is wrong."""
    with pytest.raises(BatchInputError) as caught:
        read(text, kind, **options)
    return caught.value.problems


def pairs(items: list[BatchItem]) -> list[tuple[str, str]]:
    """Keys and prompts."""
    return [(item.key, item.request.prompt) for item in items]


def test_columns_of_a_spreadsheet() -> None:
    """Two of them are the key and the prompt, known ones are parameters, the others are skipped."""
    items = read(SHEET, key_column="ID ", prompt_column="Caption", ignore_unknown=True)
    assert items == [
        BatchItem("7", GenerateRequest("a fox", size="auto"), 2),
        BatchItem("8", GenerateRequest("a crow"), 3),
    ]


@pytest.mark.parametrize(
    ("header", "options", "said"),
    [
        (
            "id,prompt,notes",
            {},
            (
                "columns 'id', 'notes' are unknown: key_column='id' uses one as the key, ignore_unknown=True ignores "
                "the others"
            ),
        ),
        (
            "Notes,prompt",
            {},
            "column 'Notes' is unknown: key_column='Notes' uses it as the key, ignore_unknown=True ignores it",
        ),
        (
            "key,prompt,a,b",
            {},
            "columns 'a', 'b' are unknown: ignore_unknown=True ignores them",
        ),
        (
            "key,prompt,id",
            {"key_column": "id"},
            "column 'key' is unknown: ignore_unknown=True ignores it",
        ),
        (
            "n,caption",
            {},
            "the header has no column prompt: prompt_column='caption' uses that column",
        ),
        ("n,caption", {"prompt_column": "captoin"}, "there is no column 'captoin'; did you mean 'caption'?"),
        (
            "id,prompt",
            {"key_column": "no", "ignore_unknown": True},
            "there is no column 'no'; there are 'id', 'prompt'",
        ),
        ("prompt,qualty", {}, "unknown parameter 'qualty'; did you mean 'quality'?"),
        ("prompt,stream", {"ignore_unknown": True}, "stream: a batch does not stream; leave it out"),
        (
            "prompt,caption,caption",
            {"prompt_column": "caption", "ignore_unknown": True},
            "there are two columns",
        ),
    ],
)
def test_one_error_says_which_option_to_give(header: str, options: dict[str, Any], said: str) -> None:
    """It names the columns, and the keyword as it is to be written."""
    (told,) = problems(f"{header}\n{','.join('x' for _ in header.split(','))}\n", **options)
    assert told.startswith(f"line 1: {said}")


def test_all_that_a_spreadsheet_needs_is_one_error() -> None:
    """The column of the prompts, and what is to become of the others."""
    assert problems(SHEET) == (
        "line 1: the header has no column prompt: prompt_column='caption' uses that column",
        (
            "line 1: columns 'id', 'notes' are unknown: key_column='id' uses one as the key, ignore_unknown=True "
            "ignores the others"
        ),
    )


def test_a_first_row_that_is_a_prompt_is_not_shown() -> None:
    """A file without a header has a prompt in its first row."""
    (told,) = problems("a secret otter, and more words than a heading has\na,b\n")
    assert told == "line 1: the header has no column prompt; the first line names the columns"


def test_ignored_columns_are_free() -> None:
    """They may be there twice; a likely misspelling among them is logged."""
    assert pairs(read("a,prompt,a\n1,fox,2\n", ignore_unknown=True)) == [("00001", "fox")]


def test_an_ignored_misspelling_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """For a quality that is not sent costs money."""
    with caplog.at_level(logging.WARNING, "openai_images"):
        read("prompt,qualty,notes\nfox,low,x\n", ignore_unknown=True)
    assert [record.getMessage() for record in caplog.records] == [
        "'the input': column 'qualty' is ignored; did you mean 'quality'?"
    ]


def test_one_column_is_the_prompt_and_the_key() -> None:
    """The key names the file, and a prompt may be its name."""
    assert pairs(read("prompt\nfox\n", key_column="prompt")) == [("fox", "fox")]


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_names_of_objects(kind: str) -> None:
    """Objects have columns, too; what all of them have in excess is one problem."""
    rows = [{"id": 7, "caption": "a fox", "size": None}, {"id": 8, "caption": "a crow", "notes": "x"}]
    text = json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))
    options = {"key_column": "id", "prompt_column": "caption"}
    assert pairs(read(text, kind, **options, ignore_unknown=True)) == [("7", "a fox"), ("8", "a crow")]
    (told,) = problems(text, kind, **options)
    assert told.endswith(
        "parameter 'notes' is unknown: ignore_unknown=True ignores it; other parameters of the server go into "
        "extra_body"
    )
    (told,) = problems(text, kind, prompt_column="caption", key_column="name", ignore_unknown=True)
    assert told == "line 1: there is no column 'name'; there are 'id', 'caption', 'size', 'notes'"


def test_text_has_no_columns() -> None:
    """An option that means nothing is refused."""
    said = "it is text without columns: leave key_column out, or set another format"
    assert problems("a", "txt", key_column="id") == (said,)


@pytest.mark.parametrize(
    ("kind", "text", "line"),
    [
        ("txt", "# foxes\na fox\n  # crows\n\na #1 crow\n", 5),
        ("csv", '# foxes, "or so\nprompt,n\na fox,\n#,2,3,4\na #1 crow,\n', 5),
        ("csv", "# a; b, c\nprompt;n\na fox;\na #1 crow;\n", 4),
        ("jsonl", '# foxes\n{"prompt": "a fox"}\n{"prompt": "a #1 crow"}', 3),
    ],
)
def test_comments(kind: str, text: str, line: int) -> None:
    """Lines that begin with # count for nothing, and lines are counted with them."""
    items = read(text, kind, comments=True)
    assert pairs(items) == [("00001", "a fox"), ("00002", "a #1 crow")]
    assert items[1].line == line


def test_a_json_array(tmp_path: Path) -> None:
    """Prompts and objects, with the lines on which they begin."""
    file = tmp_path / "prompts.json"
    file.write_text(
        '\n[\n  "a fox",\r\n  {"prompt": "a\\ncrow",\n   "n": 2}\n, {"key": "k", "prompt": "a hen"}]\n'
    )
    assert read_batch_items(file) == [
        BatchItem("00001", GenerateRequest("a fox"), 3),
        BatchItem("00002", GenerateRequest("a\ncrow", n=2), 4),
        BatchItem("k", GenerateRequest("a hen"), 6),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "it contains no prompt"),
        ('{"prompt": "secret"}', 'line 1: it is not a JSON array: [{"prompt": …}, …]'),
        ("", 'line 1: it is not a JSON array: [{"prompt": …}, …]'),
        ('["a",\n\n"b" "c"]', "line 3: a comma or ] is missing here"),
        ('["a",\n', "line 2: it cannot be read as JSON (Expecting value)"),
        ('["a",\n]', "line 2: it cannot be read as JSON (Expecting value)"),
        (
            '["a",\n{"prompt":\n"b", "prompt": "c"}]',
            "line 2: it cannot be read as JSON ('prompt' occurs twice)",
        ),
        ('["a"]\n\n["b"]', "line 3: there is text after the end of the array"),
        ('["a",\n7]', 'line 2: an element is neither a prompt nor an object; write {"prompt": …}'),
        ('["a",\n" "]', "line 2: the prompt is empty"),
        ('["a", ' + "[" * 100_000, "line 1: it cannot be read as JSON ("),
    ],
)
def test_a_bad_json_array(text: str, said: str) -> None:
    """What is wrong is reported with its line."""
    (told,) = problems(text, "json")
    assert told.startswith(said)


def test_lines_of_the_batch_api_with_columns() -> None:
    """Their key and prompt have places of their own; a row whose text is its `body` is none of them."""
    line = {"custom_id": "r", "url": "/v1/images/generations", "body": {"prompt": "fox"}, "region": "eu"}
    assert pairs(read(json.dumps(line), "jsonl", ignore_unknown=True)) == [("r", "fox")]
    assert pairs(read(json.dumps(line), "jsonl", ignore_unknown=True, key_column="custom_id")) == [
        ("r", "fox")
    ]
    plain = json.dumps({"custom_id": 7, "body": "a fox"})
    assert pairs(read(plain, "jsonl", prompt_column="body", key_column="custom_id")) == [("7", "a fox")]


def test_edits_of_the_batch_api() -> None:
    """The JSON form of an edit names its images by URL or by id."""
    images = [{"file_id": "file-1"}, {"image_url": "https://pictures.example/otter.png"}]
    body = {"prompt": "a hat", "model": "m", "images": images, "mask": {"file_id": "file-2"}}
    line = {"custom_id": "r", "method": "POST", "url": "/v1/images/edits", "body": body}
    (item,) = read(json.dumps(line), "jsonl")
    request: Any = item.request
    assert (item.key, request.path, len(request.image)) == ("r", "/images/edits", 2)
    assert (request.image[0].file_id, request.mask.file_id) == ("file-1", "file-2")
