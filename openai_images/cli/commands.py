"""The commands, their options and their help.

Invariants: click is all that is imported here, each command imports its module when it runs; docstrings are help texts.
Must not: do any work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import reduce
from typing import Any, TextIO, cast

import click
from click.exceptions import Exit

from openai_images._version import __version__
from openai_images.cli.console import DEFAULT_MODEL, ResilientStream, Streams

option = click.option

_NAME = "openai-images"
_POSITIVE, _NOT_NEGATIVE = click.IntRange(min=1), click.IntRange(min=0)
_COMPLETION = "_OPENAI_IMAGES_COMPLETE"


def run(argv: Sequence[str], out: ResilientStream, err: ResilientStream) -> int:
    """Run the command in `argv` and give its exit code."""
    if instruction := os.environ.get(_COMPLETION):  # bytes for a shell, so not through streams of text
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, _NAME, _COMPLETION, instruction)
    with redirect_stdout(cast("TextIO", out)), redirect_stderr(cast("TextIO", err)):
        try:
            with cli.make_context(_NAME, list(argv), obj=Streams(out, err)) as context:
                code: int = cli.invoke(context)
                return code
        except Exit as done:
            return done.exit_code
        except click.ClickException as error:
            from openai_images.cli.suggestions import add_suggestion

            add_suggestion(error)
            error.show(file=cast("TextIO", err))
            return 2


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    epilog=(
        f"The default model is {DEFAULT_MODEL}. Set OPENAI_API_KEY (for Azure AZURE_OPENAI_ENDPOINT and "
        "AZURE_OPENAI_API_KEY), or add --local to try without a key."
    ),
)
@click.version_option(__version__, "-V", "--version", prog_name=_NAME)
@click.pass_context
def cli(context: click.Context) -> None:
    """Generate images with the OpenAI API, or with any server that speaks it."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


def _combine(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Several options at once, in the order of `--help`."""
    return lambda command: reduce(lambda done, option: option(done), reversed(options), command)


_image_options = _combine(
    option("-s", "--size", metavar="WxH", help="Such as 1536x1024, or auto."),
    option("--quality", metavar="Q", help="low, medium, high, or auto."),
    option(
        "-m",
        "--model",
        metavar="M",
        help=f"The model that paints; on Azure the name of a deployment.  [default: {DEFAULT_MODEL}; "
        "on Azure AZURE_OPENAI_DEPLOYMENT before it]",
    ),
    option("--format", "output_format", metavar="F", help="png, jpeg, webp, gif or svg."),
    option("--background", metavar="B", help="transparent, opaque, or auto."),
    option("--compression", type=click.IntRange(0, 100), metavar="0..100", help="For jpeg and webp."),
    option("--moderation", metavar="M", help="low, or auto."),
)
_endpoint_options = _combine(
    option("--local", is_flag=True, help="No key, no network: a stand-in is painted on this machine."),
    option("--base-url", metavar="URL", help="Another server.  [default: OPENAI_BASE_URL, or OpenAI]"),
    option(
        "--azure/--no-azure",
        default=None,
        help="Send to Azure, with AZURE_OPENAI_ENDPOINT (or --base-url), AZURE_OPENAI_API_KEY (or "
        "AZURE_OPENAI_AD_TOKEN) and OPENAI_API_VERSION.  [default: where that endpoint is set, and neither "
        "OPENAI_API_KEY nor a base URL is]",
    ),
    option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="How long one attempt may take in all.  [default: 600]",
    ),
)
_json_option = option("--json", "as_json", is_flag=True, help="Print JSON lines instead of paths.")
_preview_option = option(
    "--preview/--no-preview", default=None, help="Show pictures in the terminal.  [default: where it can]"
)
_verbosity_options = _combine(
    option("-q", "--quiet", is_flag=True, help="No progress; errors only."),
    option("-v", "--verbose", is_flag=True, help="Log what the client does, and show tracebacks."),
)
_call_options = _combine(
    option(
        "-o",
        "--output",
        metavar="FILE",
        help="Where to write the picture, or a folder; its suffix chooses the format; - is stdout.  [default: a "
        "name from the prompt]",
    ),
    option("-n", "--n", type=_POSITIVE, metavar="N", help="How many pictures."),
    option("--prompt-file", metavar="FILE", help="Read the prompt from FILE, or from stdin if it is -."),
    _image_options,
    option("--frames", type=_POSITIVE, metavar="N", help="How many frames a gif has (2 to 16)."),
    option("--svg-model", metavar="M", help="The model that writes an svg."),
    option(
        "--param",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any other parameter of the API, as JSON or text; may be repeated.",
    ),
    option(
        "--partial-images",
        type=_NOT_NEGATIVE,
        metavar="N",
        help="Stream, with up to N (0 to 3) pictures that are still being painted.",
    ),
    option("--keep-partials", is_flag=True, help="Leave the partial images beside the picture."),
    option("--overwrite", is_flag=True, help="Replace files instead of adding -2 to the name."),
    _endpoint_options,
    _json_option,
    _preview_option,
    _verbosity_options,
)


@cli.command(short_help="Generate pictures from a prompt.")
@click.argument("prompt", required=False)
@_call_options
@click.pass_obj
def generate(streams: Streams, /, **values: Any) -> int:
    """Generate pictures from PROMPT and print the paths of their files.

    PROMPT may be @FILE to read it from a file, or - for stdin; @@ begins a prompt with @. The key is taken from
    OPENAI_API_KEY (for Azure see --azure).
    """
    from openai_images.cli.generate import GenerateOptions, run_generate

    if values["prompt"] is None and values["prompt_file"] is None:
        raise click.UsageError("Missing argument 'PROMPT'.", click.get_current_context())
    return run_generate(GenerateOptions(**values), streams)


@cli.command(short_help="Make pictures from pictures.")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@option("-p", "--prompt", metavar="TEXT", help="What to make of them, @FILE, or - for stdin.  [required]")
@option("--mask", metavar="FILE", help="A PNG whose transparent parts are to be edited.")
@option("--markup", metavar="FILE", help="A PNG with your marks, laid over the first IMAGE.")
@option("--input-fidelity", metavar="F", help="How closely to keep to them: high or low; older models only.")
@_call_options
@click.pass_obj
def edit(streams: Streams, /, **values: Any) -> int:
    """Make pictures from IMAGE, one or up to 16, as --prompt says, and print the paths of their files.

    IMAGE is a PNG, JPEG or WebP file, - for stdin, or a URL that the server fetches; so are --mask and --markup, which
    have the size of the first IMAGE. The key is taken from OPENAI_API_KEY (for Azure see --azure).
    """
    from openai_images.cli.edit import EditOptions, run_edit

    return run_edit(EditOptions(**values), streams)


@cli.command(short_help="Generate a picture for each row of a file; resumes.")
@click.argument("file", required=False)
@option("--out", metavar="DIR", required=True, help="The batch's folder: pictures, journal, index.html.")
@option(
    "--input-format",
    type=click.Choice(["txt", "csv", "json", "jsonl"]),
    metavar="F",
    help="txt, csv, json or jsonl.  [default: by FILE's suffix; stdin is jsonl where it begins with {, json "
    "where it is an array, else txt]",
)
@option("-p", "--prompt", multiple=True, metavar="TEXT", help="A prompt, in place of FILE; may be repeated.")
@option("--prompt-column", metavar="NAME", help="The column of the prompts.  [default: prompt]")
@option("--key-column", metavar="NAME", help="The column of the keys, which name the files.  [default: key]")
@option("--ignore-unknown", is_flag=True, help="Skip columns that are no parameters.")
@option("--comments", is_flag=True, help="Skip lines that begin with #.")
@option(
    "--matrix",
    multiple=True,
    metavar="NAME=A,B",
    help="Each row once with each value of a parameter, or of lines of a file (NAME=@FILE); may be repeated.",
)
@option(
    "--var",
    multiple=True,
    metavar="NAME=A,B",
    help="Each row once with each text in the place of {NAME} in its prompt; likewise.",
)
@option("--concurrency", type=_POSITIVE, metavar="N", help="Requests at once.  [default: 100]")
@option("--images-per-minute", type=_POSITIVE, metavar="N", help="Your account's limit.")
@option("--budget", metavar="USD", help="Start no request that might not fit.")
@option("--max-image-cost", metavar="USD", help="What one image costs at most, as you know it, for --budget.")
@option("--prices", metavar="FILE", help="Prices to reckon with, as JSON.")
@option(
    "--max-identical-failures",
    type=_NOT_NEGATIVE,
    metavar="N",
    default=5,
    help="End after N alike that may be billed, with no success between; 0: never.  [default: 5]",
)
@option("--retry-failed", is_flag=True, help="Send again what failed.")
@option(
    "--retry-unknown",
    is_flag=True,
    help="Send again what may have been billed already, or cannot be fetched.",
)
@option("--retry-missing", is_flag=True, help="Ask for images that did not come, or are gone.")
@option("--dedupe", is_flag=True, help="Send rows that ask for the same only once.")
@option("--dry-run", is_flag=True, help="Say what would be sent and what it may cost; send nothing.")
@option("-n", "--n", type=click.IntRange(1, 1000), metavar="N", help="How many pictures of each prompt.")
@_image_options
@_endpoint_options
@_json_option
@_verbosity_options
@click.pass_obj
def batch(streams: Streams, /, **values: Any) -> int:
    """Generate a picture for each row of FILE, and print the paths of the pictures as they are done.

    FILE has a prompt on each line (.txt), or a column (.csv) or a key (.jsonl) for each parameter; it may be - for
    stdin. --size, --quality and the like are for rows that do not say otherwise. Running the same command again sends
    only what is missing, whatever ended it before. The key is taken from OPENAI_API_KEY (for Azure see --azure).
    """
    from openai_images.cli.batch import run_batch
    from openai_images.cli.batch_input import BatchCommandOptions

    return run_batch(BatchCommandOptions(**values), streams)


@cli.command(short_help="Run the local images server.")
@option("--port", type=click.IntRange(0, 65535), default=0, metavar="P", help="[default: any that is free]")
@option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@option("--api-key", metavar="KEY", help="The key to ask for.  [default: one that is printed]")
@option(
    "--pace",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="The time from one partial image to the next.",
)
@option("--images-per-minute", type=_POSITIVE, metavar="N", help="A rate limit.")
@option(
    "--burst",
    "rate_limit_burst",
    type=_POSITIVE,
    metavar="N",
    help="How many pictures at once.  [default: the limit]",
)
@option("--hide-limits", is_flag=True, help="No x-ratelimit headers.")
@option(
    "--fault", "faults", multiple=True, metavar="NAME", help="What the next request meets; may be repeated."
)
@option("--always", metavar="NAME", help="What every other request meets.")
@option("--legacy", is_flag=True, help="Retired models too.")
@option(
    "--picture-links", type=click.Choice(["absolute", "relative"]), help="Answer with URLs, not with base64."
)
@option("--list-faults", is_flag=True, help="Print the names of the faults and stop.")
@option("-q", "--quiet", is_flag=True, help="Do not log requests.")
@click.pass_obj
def serve(streams: Streams, /, **values: Any) -> int:
    """Run the local images server until Ctrl-C.

    It speaks the wire format of the OpenAI Images API on this machine alone, and paints stand-ins.
    """
    from openai_images.cli.serve import ServeOptions, run_serve

    return run_serve(ServeOptions(**values), streams)


@cli.command(short_help="Paint a few pictures and a page, without a key.")
@option("--out", default="demo-output", show_default=True, metavar="DIR", help="Where the page goes.")
@_preview_option
@_verbosity_options
@click.pass_obj
def demo(streams: Streams, /, **values: Any) -> int:
    """Paint a few pictures with the local server and write a page about them; needs no key and no network."""
    from openai_images.cli.demo import DemoOptions, run_demo

    return run_demo(DemoOptions(**values), streams)
