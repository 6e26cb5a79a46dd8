"""Parts of commands: help with examples, values for shell completion, and options that several commands have.

Invariants: each command has an example that can be copied; the documentation's address is that of an existing section;
the name of a parameter decides its completions (`suggestions.py`).
Must not: import anything but click, to keep `--help` fast (`importlib.metadata` alone takes 30 ms).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

DOCS: Final = "docs/command-line.md in the source code"
"""The location of the command line's documentation."""

_SAME_NAME = ("background", "input_fidelity", "markup", "mask", "model", "moderation", "n", "partial_images")
OPTION_OF = {name: f"--{name.replace('_', '-')}" for name in (*_SAME_NAME, "quality", "size")} | {
    "frame_count": "--frames",
    "output_compression": "--compression",
    "output_format": "--format",
    "svg": "--svg-model",
}
"""The option of each parameter that has one; the attribute of the options has the parameter's name."""

_EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "openai-images": (
        'openai-images generate "a lighthouse at dusk" --size 1536x1024 -o lighthouse.png',
        'openai-images generate "a lighthouse at dusk" --local',
        "openai-images batch prompts.csv --out animals --budget 5",
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
        "openai-images batch prompts.csv --out animals --dry-run",
        "openai-images batch prompts.csv --out animals --images-per-minute 50 --budget 5",
    ),
    "batch-status": (
        "openai-images batch-status /shared/run",
        "openai-images batch-status s3://bucket/run --json",
    ),
    "costs": ("openai-images costs animals drafts", "openai-images costs animals --json"),
    "models": ("openai-images models", "openai-images models --check --json"),
    "serve": (
        "openai-images serve --port 8123 --pace 0.5",
        "openai-images serve --fault status:503 --images-per-minute 50",
    ),
    "studio": ("openai-images studio --local", "openai-images studio --out animals --port 8124 --no-open"),
    "demo": ("openai-images demo --out demo-output",),
}


class Command(click.Command):
    """A command whose help ends with examples."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog, the examples (without wrapping, to be copied) and the address of the documentation."""
        super().format_epilog(ctx, formatter)
        name = self.name or ""
        with formatter.section("Examples"):
            for example in _EXAMPLES.get(name, ()):
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")
        section = "" if isinstance(self, Group) else f"#{name}"
        formatter.write_paragraph()
        formatter.write(f"Documentation: {DOCS.replace('.md', f'.md{section}', 1)}\n")


class Group(Command, click.Group):
    """The group of the commands."""

    command_class = Command


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from openai_images.cli.suggestions import complete

    found = complete(parameter.name or "", context.params, incomplete)
    return parameter.type.shell_complete(context, parameter, incomplete) if found is None else found


option = partial(click.option, shell_complete=_complete)
argument = partial(click.argument, shell_complete=_complete)
POSITIVE: Final = click.IntRange(min=1)


def combine(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return one decorator for several options, in the order of `--help`."""
    return lambda command: reduce(lambda done, option: option(done), reversed(options), command)


endpoint_options = combine(
    option("--local", is_flag=True, help="No key, no network: a placeholder image is drawn on this machine."),
    option("--base-url", metavar="URL", help="Another server.  [default: OPENAI_BASE_URL, or OpenAI]"),
    option(
        "--azure/--no-azure",
        default=None,
        help="Send to Azure, with AZURE_OPENAI_ENDPOINT (or --base-url), AZURE_OPENAI_API_KEY (or "
        "AZURE_OPENAI_AD_TOKEN) and OPENAI_API_VERSION.  [default: if that endpoint is set, and neither "
        "OPENAI_API_KEY nor a base URL is]",
    ),
    option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Maximum total time of one attempt.  [default: 600]",
    ),
)
shared_limit_options = combine(
    option(
        "--shared-limit",
        metavar="URL",
        help="Share the limits with all processes that use this Redis server, such as redis://host:6379/0.  [default: "
        "OPENAI_IMAGES_SHARED_LIMIT]",
    ),
    option("--limit-name", metavar="NAME", help="The name of the limits on that server.  [default: default]"),
)
json_option = option("--json", "as_json", is_flag=True, help="Print JSON lines instead of text.")
preview_option = option(
    "--preview/--no-preview", default=None, help="Show images in the terminal.  [default: if it can]"
)
verbosity_options = combine(
    option("-q", "--quiet", is_flag=True, help="No progress; errors only."),
    option("-v", "--verbose", is_flag=True, help="Log what the client does, and show tracebacks."),
)
