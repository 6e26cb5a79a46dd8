"""What README.md and docs/ print runs as it is printed, and what they link to is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.markdown import blocks, run_page
from tests.helpers.server_thread import serving

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))) if page.exists()]
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """The server that a page's code talks to in the place of the real one; no page looks at pixels."""
    with serving(pictures="small") as running:
        yield running


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_a_page_runs(
    page: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each block of the page runs, in order, in an empty folder, with a key and a server in the environment."""
    monkeypatch.chdir(tmp_path)
    if any(blocks(ROOT / page)):
        server = request.getfixturevalue("server")
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        monkeypatch.setenv("OPENAI_BASE_URL", str(server.base_url))
        run_page(ROOT / page)


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: str) -> None:
    """Each relative link of the page names a file of the project."""
    links = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


VERBS = ("generate", "stream", "edit", "stream_edit", "generate_many")


def calls_without_a_model(page: Path) -> Iterator[str]:
    """The calls of a page's code that OpenAI would refuse: neither they nor their client name a model."""
    clients: dict[str, bool] = {"images_client": False}
    for block in blocks(page):
        nodes = list(ast.walk(ast.parse(block.text))) if block.language == "python" else []
        for node in nodes:
            made = [node] if isinstance(node, ast.withitem) else []
            pairs = [(one.optional_vars, one.context_expr) for one in made]
            pairs += [(node.targets[0], node.value)] if isinstance(node, ast.Assign) else []
            for target, value in pairs:
                match target, value:
                    case ast.Name(id=name), ast.Call(func=ast.Name(id="ImagesClient")):
                        clients[name] = names_a_model(value)
        for node in nodes:
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=client), attr=verb)) if (
                    verb in VERBS and not clients.get(client, True) and not names_a_model(node)
                ):
                    yield f"{page.name}:{block.line + node.lineno - 1}: {ast.unparse(node)[:60]}"


def names_a_model(call: ast.Call) -> bool:
    """Whether it has the keyword, or others that are not written out."""
    return any(word.arg in ("model", None) for word in call.keywords)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_call_names_a_model(page: Path) -> None:
    """What is copied from a page to OpenAI is not refused there."""
    assert list(calls_without_a_model(page)) == []


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a page of blocks: (language, code) or (directive, language, code)."""

    def page(*parts: tuple[str, ...]) -> Path:
        text = "".join(
            "\n".join([*above, f"```{language}", code, "```", ""]) for *above, language, code in parts
        )
        (tmp_path / "page.md").write_text(text)
        return tmp_path / "page.md"

    monkeypatch.chdir(tmp_path)
    return page


def test_a_page_shares_names_and_one_loop(write: Any) -> None:
    """Names last from block to block; `await` and `async for` work at the top; `asyncio.run` works too."""
    page = write(
        ("python", "import asyncio\nloop = asyncio.get_running_loop\nfirst = await asyncio.sleep(0, loop())"),
        ("python", "async def main():\n    return 1\nassert asyncio.run(main()) == 1"),
        ("python", "async with asyncio.timeout(9):\n    assert await asyncio.sleep(0, loop()) is first"),
        ("json", "{}"),
    )
    assert run_page(page) == 3


def test_a_failing_block_fails_and_says_where(write: Any) -> None:
    """The traceback ends in the page, at the line that failed."""
    page = write(("python", "x = 1"), ("python", "y = 2\nassert x == y"))
    with pytest.raises(AssertionError) as caught:
        run_page(page)
    last = caught.traceback[-1]
    assert (last.path, last.lineno + 1) == (page, 6)


def test_a_failing_await_fails(write: Any) -> None:
    """So does a block that waits."""
    with pytest.raises(ZeroDivisionError):
        run_page(write(("python", "import asyncio\nawait asyncio.sleep(0)\n1 / 0")))


def test_a_block_may_be_left_out_with_a_reason(write: Any) -> None:
    """A `no-run` comment counts for the next block alone."""
    page = write(("<!-- no-run: needs a browser -->", "", "python", "1 / 0"), ("python", "ok = True"))
    assert run_page(page) == 1
    with pytest.raises(ZeroDivisionError):
        run_page(write(("<!-- no-run: -->", "python", "1 / 0")))


def test_an_unknown_language_is_an_error(write: Any) -> None:
    """A misspelt fence is not passed over in silence."""
    with pytest.raises(AssertionError, match="no such language: 'pyhton'"):
        run_page(write(("pyhton", "1 / 0")))


def test_files_are_written_and_tests_among_them_run(write: Any) -> None:
    """A block that begins with the name of a file is that file, and a page's tests have to pass."""
    page = (
        ("python", "# app.py\nx = 1"),
        ("python", "# test_app.py\nimport app\ndef test_x():\n    assert app.x == 1"),
    )
    assert run_page(write(*page)) == 2
    with pytest.raises(AssertionError, match="1 failed"):
        # Of another length, as Python takes a cached module for one of the same second and length.
        run_page(write(("python", "# app.py\nx = 22"), page[1]))


def test_commands_run_and_their_exit_codes_count(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only our own command is run, with its continuation lines, and exits as the page says."""
    tools = Path("bin").absolute()
    tools.mkdir()
    (tools / "openai-images").write_text('#!/bin/sh\necho "$@" $WORD >> calls.txt\nexit $1\n')
    (tools / "openai-images").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tools / "python"))
    good = """\
$ openai-images 0 one \\
    two
some output
$ pip install openai-images
$ WORD=x EMPTY= openai-images 0"""
    assert run_page(write(("console", good), ("<!-- exit: 2 -->", "console", "$ openai-images 2"))) == 2
    assert Path("calls.txt").read_text() == "0 one two\n0 x\n2\n"
    with pytest.raises(AssertionError, match="exited with 1, not 0"):
        run_page(write(("console", "$ openai-images 1")))
