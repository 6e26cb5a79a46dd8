"""The generated reference is complete: every public name, parameter, option and fault, each with its documentation."""

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

import click
import pytest

import openai_images
from docs.generate import (
    commands,
    docstrings,
    error_table,
    faults,
    fixtures,
    members as members_module,
    model_tables,
    pages,
    parameters,
)
from docs.generate.contents import CONTENTS, DOCS, contents
from docs.generate.examples import example_of, examples
from docs.generate.members import members, undocumented
from docs.generate.objects import describe
from docs.generate.pages import expand, names_on
from docs.generate.public import PAGES, PublicName, page_of, public_names
from openai_images import ImagesClient, known_models, server
from openai_images.cli.commands import cli
from openai_images.models.parameters import DESCRIPTIONS
from openai_images.server import FAULTS

NAMES = [*public_names()]
MARKERS = {
    page.relative_to(DOCS).as_posix(): re.findall(
        r"^<!-- generate: (.*) -->$", page.read_text(), re.MULTILINE
    )
    for page in DOCS.rglob("*.md")
}


def test_everything_public_is_documented() -> None:
    """Each name, parameter and attribute has a text."""
    assert undocumented() == []


def test_every_name_is_on_one_page_that_exists() -> None:
    """Each public name is on a page of the reference, once, and each such page is generated once."""
    on_pages = Counter(public.name for page, public in NAMES if public.module == "openai_images")
    assert on_pages == Counter(name for name in openai_images.__all__ if name != "__version__")
    assert {public.name for _, public in NAMES if public.module == server.__name__} == set(server.__all__)
    written = Counter(
        marker for markers in MARKERS.values() for marker in markers if marker.startswith("names ")
    )
    assert written == Counter({f"names {page}" for page, _ in NAMES})


def test_a_name_of_a_new_module_has_a_page() -> None:
    """Names of modules that no page claims are on the fallback page."""
    assert page_of("openai_images.something.new") == "settings"
    assert page_of("openai_images.batch.new") == "batches"
    assert page_of("openai_images.batches") not in PAGES or page_of("openai_images.batches") == "settings"


@pytest.mark.parametrize("page", [page for page, markers in MARKERS.items() if markers])
def test_a_page_is_generated(page: str) -> None:
    """Nothing of its markers is left, and there is more text than before."""
    text = (DOCS / page).read_text()
    expanded = expand(text)
    assert "<!-- generate:" not in expanded
    assert "<!-- the example -->" not in expanded
    assert len(expanded) > len(text)
    for block in re.findall(r"^```python\n(.*?)^```", expanded, re.MULTILINE | re.DOTALL):
        compile(block, page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_an_unknown_marker_is_an_error() -> None:
    """A misspelt marker does not stay in the page."""
    with pytest.raises(KeyError, match="modles"):
        expand("<!-- generate: modles -->")


def test_a_row_about_a_page_that_may_not_exist() -> None:
    """It is a row of the table above, or nothing."""
    head = "| | |\n|---|---|\n"
    assert (
        expand(f"{head}<!-- if streaming: watch it -->\n")
        == f"{head}| watch it | [Streaming](streaming.md) |\n"
    )
    assert expand(f"{head}<!-- if no-such-page: nothing -->\n") == head


def test_the_links_of_the_changelog(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those to pages are the site's, those to other files are text."""
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n[a](docs/a.md#b) [x](docs/examples) [w](https://w.example)\n"
    )
    monkeypatch.setattr(pages, "DOCS", tmp_path / "docs")
    assert pages.changelog() == "[a](a.md#b) x [w](https://w.example)\n"


def test_every_name_has_an_example() -> None:
    """Classes, functions and the methods of what people use: an example, or a guide whose code uses it."""
    missing = {
        name
        for _, public in NAMES
        for name in [public.name, *(name for name, _ in members(public))]
        if not example_of(name)
        and not isinstance(getattr(public.value, name.partition(".")[2], None), property)
    }
    assert (
        missing
        - {
            "DaskEngine.start",  # called by `Batch`, as the next two and `Shard.select`
            "DaskEngine.stop",
            "DaskEngine.wait_reason",
            "Shard.select",
            "OnDisconnect",
            "OnResult",
            "Relay",
            "Relay.aclose",
            "StoredPicture",
            "RELAY_HEADERS",
            "POLL_SECONDS",
        }
        == set()
    )


def test_every_example_has_a_name() -> None:
    """An example whose name has gone is noticed."""
    known = {name for _, public in NAMES for name in [public.name, *(name for name, _ in members(public))]}
    assert examples().keys() - known == set()


def test_the_reference_of_a_method() -> None:
    """It has each keyword with its description, what it raises, and its example."""
    text = names_on("client")
    generate = text[text.index("{py:method} generate(") :].partition(":::::\n")[0]
    for keyword in ("prompt", "into", "model", "size", "output_compression", "timeout"):
        assert f":param {keyword}: {DESCRIPTIONS[keyword].split('`')[0]}" in generate
    assert "\nRaises {py:obj}`ImagesError`" in generate
    assert ":async:" in generate
    assert 'output_format="jpeg"' in generate


def test_something_without_documentation_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter that its docstring does not name, a class and a method without a docstring."""

    class Bare:
        def method(self, depth: int) -> None: ...

    def function(width: int, height: int) -> None:
        """Return nothing; `width` is in pixels."""

    Bare.__module__ = "openai_images.errors"
    found = [
        ("client", PublicName("Bare", "openai_images", Bare, "openai_images.errors")),
        ("client", PublicName("function", "openai_images", function, "openai_images.errors")),
    ]
    monkeypatch.setattr(members_module, "public_names", lambda: iter(found))
    assert undocumented() == [
        "openai_images.Bare has no docstring",
        "openai_images.Bare.method has no docstring",
        "openai_images.Bare.method: depth",
        "openai_images.function: height",
    ]


@pytest.mark.parametrize(
    ("prose", "name", "expected"),
    [
        ("`a` is one; `b` (1; 2) is two. More.", "b", "`b` (1; 2) is two"),
        ("Many. Uses `a=1.5`; ends.", "a", "Uses `a=1.5`"),
        ("Of `other` only.", "a", ""),
        ("First.\n\nThe `a`\nis here", "a", "The `a` is here"),
    ],
)
def test_what_a_docstring_says_of_a_name(prose: str, name: str, expected: str) -> None:
    """The part of the sentence that names it."""
    assert docstrings.clause(prose, name) == expected


def test_the_lines_of_parameters() -> None:
    """Those that `models/parameters.py` adds."""
    parsed = docstrings.parse(ImagesClient.generate.__doc__ or "")
    assert parsed.parameters["size"] == DESCRIPTIONS["size"]
    assert "Parameters:" not in parsed.prose


def test_every_parameter_has_a_section() -> None:
    """Of both endpoints, with models and cost."""
    text = parameters.page()
    for name in parameters.names():
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        assert "- **Models**: " in section
        assert "- **Cost**: " in section
        assert "```python" in section
    assert set(parameters.SAMPLES) == set(parameters.names())
    assert (
        "- **Models**: `gpt-image-2.6-sunburst`, `gpt-image-2.6-flare`"
        in text.partition("## complexity\n")[2][:400]
    )


def test_every_model_is_in_the_table() -> None:
    """With a section of its own, and the prices that the package estimates."""
    overview, details = model_tables.overview(), model_tables.details()
    for spec in known_models():
        assert f"**`{spec.name}`**" in overview
        assert f"### {spec.name}\n" in details
    assert "| 1024x1024 | $0.0060 | $0.0528 | $0.2108 |" in details
    assert "| 3840x2160 |" in details


def test_every_error_says_when_and_what_to_do() -> None:
    """Each public exception has all three facts."""
    facts = {each.name: each for each in error_table.error_facts()}
    assert facts.keys() == {public.name for page, public in NAMES if page == "errors"}
    assert all(each.when and each.billed and each.action for each in facts.values())
    assert facts["OutcomeUnknownError"].billed == facts["DecodeError"].billed == "perhaps"
    assert facts["DownloadError"].billed == "yes"
    assert facts["RateLimitError"].billed == "no"
    assert facts["APITimeoutError"].billed.startswith("no ")


def test_every_option_is_listed() -> None:
    """Of every command, as click knows it."""
    text = commands.page()
    for name, command in cli.commands.items():
        assert f"## openai-images {name}\n" in text
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert all(f"`{word}" in text for word in option.opts), option.opts
    assert "$ openai-images batch prompts.csv" in text


def test_every_fault_is_listed_once() -> None:
    """With its line."""
    text = faults.page()
    listed = Counter(re.findall(r"^\| `(\w+)", text, re.MULTILINE))
    assert listed == Counter([*FAULTS])
    assert "| `retry_after_seconds:S` | 429 with only Retry-After: S (without an argument: 1) |" in text


def test_every_fixture_is_listed() -> None:
    """By its name, with its docstring."""
    assert [*re.findall(r"^## (\w+)$", fixtures.page(), re.MULTILINE)] == [
        "images_server",
        "images_client",
        "images_env",
    ]


def test_every_page_is_in_the_contents() -> None:
    """Also one that nobody listed."""
    listed = re.findall(r"^[\w/-]+$", contents(), re.MULTILINE)
    existing = {
        page.relative_to(DOCS).with_suffix("").as_posix()
        for page in (*DOCS.glob("*.md"), *DOCS.glob("reference/*.md"))
    }
    assert Counter(listed) == Counter(existing - {"index"})
    assert len(set(CONTENTS)) == len(CONTENTS)


def test_a_typed_dict_and_an_alias(capsys: Any) -> None:
    """Keys with their types; the value of an alias."""
    by_name = {public.name: public for _, public in NAMES}
    assert "- `size`: `Size | None`: " in describe(by_name["GenerateParams"], {})
    assert "ApiKey = " in describe(by_name["ApiKey"], {})
