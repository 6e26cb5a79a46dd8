"""The classes of commands and parameters: help that ends in examples, and values that a shell can complete.

Invariants: each command has an example that can be typed as it stands; the documentation's address is that of a section
that exists; a parameter needs nothing to be completed, its name says what it takes (`completion.py`).
Must not: import anything but click: `--help` answers in a blink (`importlib.metadata` alone takes 30 ms).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click.shell_completion import CompletionItem

DOCS: Final = "docs/command-line.md in the source code"
"""Where the documentation of the command line is."""

_EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "openai-images": (
        'openai-images generate "a lighthouse at dusk" --size 1536x1024 -o lighthouse.png',
        'openai-images generate "a lighthouse at dusk" --local',
        "openai-images batch prompts.csv --out pictures --budget 5",
    ),
    "generate": (
        'openai-images generate "a lighthouse at dusk" --size 1536x1024 -o lighthouse.png',
        'openai-images generate "a red fox" --quality low --n 4 -o foxes/ --json',
    ),
    "edit": (
        'openai-images edit otter.png --prompt "make it night" -o night.png',
        'openai-images edit otter.png fox.png -p "both, side by side"',
    ),
    "batch": (
        "openai-images batch prompts.csv --out pictures --dry-run",
        "openai-images batch prompts.csv --out pictures --images-per-minute 50 --budget 5",
    ),
    "costs": ("openai-images costs pictures drafts", "openai-images costs pictures --json"),
    "models": ("openai-images models", "openai-images models --check --json"),
    "serve": (
        "openai-images serve --port 8123 --pace 0.5",
        "openai-images serve --fault status:503 --images-per-minute 50",
    ),
    "demo": ("openai-images demo --out demo-output",),
}


class Command(click.Command):
    """A command whose help ends in its examples."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog, the examples and the address."""
        super().format_epilog(ctx, formatter)
        write_examples(self.name or "", formatter)


class Group(click.Group):
    """The group of the commands."""

    command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog, the examples and the address."""
        super().format_epilog(ctx, formatter)
        write_examples("openai-images", formatter)


def write_examples(name: str, formatter: click.HelpFormatter) -> None:
    """Write the examples of a command unwrapped, so that they can be copied, and the address of its documentation."""
    with formatter.section("Examples"):
        for example in _EXAMPLES.get(name, ()):
            formatter.write(f"{'':{formatter.current_indent}}{example}\n")
    section = "" if name == "openai-images" else f"#{name}"
    formatter.write_paragraph()
    formatter.write(f"Documentation: {DOCS.replace('.md', f'.md{section}', 1)}\n")


class Option(click.Option):
    """An option whose values can be completed."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the values that begin with `incomplete`."""
        return _complete(self, ctx, incomplete, super().shell_complete)


class Argument(click.Argument):
    """An argument whose values can be completed."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the values that begin with `incomplete`."""
        return _complete(self, ctx, incomplete, super().shell_complete)


def _complete(
    parameter: click.Parameter,
    ctx: click.Context,
    incomplete: str,
    by_type: Callable[[click.Context, str], list[CompletionItem]],
) -> list[CompletionItem]:
    from openai_images.cli.completion import complete

    found = complete(parameter.name or "", ctx.params, incomplete)
    return by_type(ctx, incomplete) if found is None else found
