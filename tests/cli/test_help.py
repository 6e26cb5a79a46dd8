"""The help of every command: examples that work, and an address that exists."""

import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images.cli.command_parts import DOCS
from openai_images.cli.commands import cli as group

ROOT = Path(__file__).parents[2]
COMMANDS = ["", *group.commands]


def examples(text: str) -> list[str]:
    """The lines of the last part but one."""
    return [line.strip() for line in text.split("\nExamples:\n")[1].split("\n\n", maxsplit=1)[0].splitlines()]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_parse(cli: Callable[..., Any], name: str) -> None:
    """Each is the command itself, with options and arguments that it takes."""
    done = cli(*filter(None, [name]), "--help")
    assert (done.code, done.err) == (0, "")
    found = examples(done.out)
    assert found
    for example in found:
        program, command, *argv = shlex.split(example)
        assert (program, name or command) == ("openai-images", command)
        group.commands[command].make_context(command, argv)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_where_the_documentation_is(cli: Callable[..., Any], name: str) -> None:
    """Its last line is an address, whose section exists."""
    last = cli(*filter(None, [name]), "--help").out.splitlines()[-1]
    found = re.fullmatch(r"Documentation: (docs/[\w-]+\.md)(?:#([\w-]+))? in the source code", last)
    assert found is not None
    assert (found[2] or "") == name
    headings = re.findall("(?m)^#+ (.+)$", (ROOT / found[1]).read_text())
    assert not name or name in headings


def test_the_address_is_the_public_one_once_there_is_one() -> None:
    """Whoever publishes the documentation changes the help as well."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    assert DOCS.startswith(urls.get("Documentation", "docs/"))
