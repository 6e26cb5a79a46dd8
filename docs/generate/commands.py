"""The page of the command line: every command with its arguments and options, read from click."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import click

from docs.generate.text import one_line, table
from openai_images.cli.commands import cli

_OPTION: Final = re.compile(r"(?<![\w`-])--?[a-zA-Z][\w-]*")


def page() -> str:
    """Return a section for the command itself and for each subcommand."""
    context = click.Context(cli, info_name="openai-images", **cli.context_settings)
    sections = [_section(cli, context, "openai-images")]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command is not None and not command.hidden:
            sections.append(_section(command, click.Context(command, context, name), f"openai-images {name}"))
    return "\n\n".join(sections)


def _section(command: click.Command, context: click.Context, name: str) -> str:
    return "\n".join(_lines(command, context, name))


def _lines(command: click.Command, context: click.Context, name: str) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"```text\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```\n"
    paragraphs = (command.help or "").replace("\b", "").split("\n\n")
    yield from (f"{_escape(one_line(paragraph))}\n" for paragraph in paragraphs if paragraph.strip())
    records = (parameter.get_help_record(context) for parameter in command.get_params(context))
    rows = [(_option(record[0]), _escape(one_line(record[1]))) for record in records if record and record[1]]
    if rows:
        yield f"{table(('Option', ''), rows)}\n"
    examples = list(_examples(command, context))
    if examples:
        yield "```console\n" + "\n".join(f"$ {each}" for each in examples) + "\n```"


def _option(text: str) -> str:
    return ", ".join(f"`{part}`" for part in text.replace(" / ", ", ").split(", "))


def _escape(text: str) -> str:
    """Return a help text with its options as code, and without Markdown of its own."""
    escaped = re.sub(r"([<*\[\]])", r"\\\1", text.replace("@@", "`@@`"))
    return _OPTION.sub(lambda match: f"`{match[0]}`", escaped)


def _examples(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the examples that stand at the end of the help."""
    formatter = click.HelpFormatter()
    command.format_epilog(context, formatter)
    for line in formatter.getvalue().splitlines():
        if line.strip().startswith("openai-images"):
            yield line.strip()
