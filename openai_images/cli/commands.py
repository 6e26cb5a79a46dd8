"""The commands that make images, their options and their help; `tool_commands.py` has the others.

Invariants: only click is imported here, each command imports its module when it runs; docstrings are help texts.
Must not: do the work of a command.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from itertools import pairwise, takewhile
from typing import Any, TextIO, cast

import click
from click.exceptions import Exit

from openai_images._version import __version__
from openai_images.cli.command_parts import (
    POSITIVE,
    Group,
    argument,
    combine,
    endpoint_options,
    json_option,
    option,
    preview_option,
    shared_limit_options,
    verbosity_options,
)
from openai_images.cli.console import DEFAULT_MODEL, ResilientStream, Streams, json_line
from openai_images.cli.tool_commands import batch_status, costs, demo, models, serve, studio

_NAME = "openai-images"
_NOT_NEGATIVE = click.IntRange(min=0)
_COMPLETION = "_OPENAI_IMAGES_COMPLETE"


def run(argv: Sequence[str], out: ResilientStream, err: ResilientStream) -> int:
    """Run the command in `argv` and return its exit code."""
    if instruction := os.environ.get(_COMPLETION):  # the shell needs bytes, so no text streams
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
            from openai_images.cli.suggestions import with_suggestion

            error = with_suggestion(error)
            error.show(file=cast("TextIO", err))
            if _wants_json(argv):
                _print_json(error, out)
            return 2


def _wants_json(argv: Sequence[str]) -> bool:
    """Whether an error is a line on stdout, too; with `-o -` only an image goes there."""
    typed = list(takewhile(lambda argument: argument != "--", argv))
    output = [value for option, value in pairwise(typed) if option in ("-o", "--output")]
    to_stdout = "-" in output or "-o-" in typed or "--output=-" in typed
    return "--json" in typed and not to_stdout


def _print_json(error: click.ClickException, out: ResilientStream) -> None:
    from openai_images.cli.error_report import ErrorReport

    out.write(json_line(ErrorReport(error_type="UsageError", message=error.format_message()).record()) + "\n")


@click.group(
    _NAME,
    cls=Group,
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
    """Generate images with the OpenAI API, or with any compatible server."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


_image_options = combine(
    option("-s", "--size", metavar="WxH", help="Such as 1536x1024, or auto."),
    option("--quality", metavar="Q", help="low, medium, high, or auto."),
    option(
        "-m",
        "--model",
        metavar="M",
        help=f"The model; on Azure the name of a deployment.  [default: {DEFAULT_MODEL}; "
        "on Azure first AZURE_OPENAI_DEPLOYMENT]",
    ),
    option("--format", "output_format", metavar="F", help="png, jpeg, webp, gif or svg."),
    option("--background", metavar="B", help="transparent, opaque, or auto."),
    option(
        "--compression",
        "output_compression",
        type=click.IntRange(0, 100),
        metavar="0..100",
        help="For jpeg and webp.",
    ),
    option("--moderation", metavar="M", help="low, or auto."),
    option(
        "--frames", "frame_count", type=POSITIVE, metavar="N", help="Number of frames of a gif (2 to 16)."
    ),
    option("--svg-model", "svg", metavar="M", help="The model that writes an svg."),
    option(
        "--param",
        multiple=True,
        metavar="KEY=VALUE",
        help="Any other parameter of the API, as JSON or text; may be repeated.",
    ),
)
_call_options = combine(
    option(
        "-o",
        "--output",
        metavar="FILE",
        help="The file of the image, or a folder; the suffix chooses the format; - is stdout.  [default: a "
        "name from the prompt]",
    ),
    option("-n", "--n", type=POSITIVE, metavar="N", help="Number of images."),
    option("--prompt-file", metavar="FILE", help="Read the prompt from FILE, or from stdin if it is -."),
    _image_options,
    option(
        "--partial-images",
        type=_NOT_NEGATIVE,
        metavar="N",
        help="Stream, with up to N (0 to 3) partial images.",
    ),
    option("--keep-partials", is_flag=True, help="Keep the partial images next to the image."),
    option("--overwrite", is_flag=True, help="Replace files instead of adding -2 to the name."),
    endpoint_options,
    shared_limit_options,
    json_option,
    preview_option,
    verbosity_options,
)


@cli.command(short_help="Generate images from a prompt.")
@argument("prompt", required=False, metavar="PROMPT")
@_call_options
@click.pass_obj
def generate(streams: Streams, /, **values: Any) -> int:
    """Generate images from PROMPT and print the paths of their files.

    PROMPT may be @FILE to read it from a file, or - for stdin; @@ begins a prompt with @. The key is taken from
    OPENAI_API_KEY (for Azure see --azure).
    """
    from openai_images.cli.generate import GenerateOptions, run_generate

    if values["prompt"] is None and values["prompt_file"] is None:
        raise click.UsageError("Missing argument 'PROMPT'.", click.get_current_context())
    return run_generate(GenerateOptions(**values), streams)


@cli.command(short_help="Make images from images.")
@argument("images", nargs=-1, required=True, metavar="IMAGE...")
@option("-p", "--prompt", metavar="TEXT", help="The prompt, @FILE, or - for stdin.  [required]")
@option("--mask", metavar="FILE", help="A PNG whose transparent parts are to be edited.")
@option("--markup", metavar="FILE", help="A PNG with marks, drawn over the first IMAGE.")
@option(
    "--input-fidelity", metavar="F", help="How closely to follow the images: high or low; older models only."
)
@_call_options
@click.pass_obj
def edit(streams: Streams, /, **values: Any) -> int:
    """Make images from 1 to 16 IMAGEs and --prompt, and print the paths of their files.

    IMAGE is a PNG, JPEG or WebP file, - for stdin, or a URL that the server fetches; so are --mask and --markup, which
    have the size of the first IMAGE. The key is taken from OPENAI_API_KEY (for Azure see --azure).
    """
    from openai_images.cli.edit import EditOptions, run_edit

    return run_edit(EditOptions(**values), streams)


@cli.command(short_help="Generate an image for each row of a file; resumes.")
@argument("file", required=False)
@option(
    "--out",
    metavar="DIR",
    required=True,
    help="The batch's folder: images, journal, index.html. Many machines can share it, or a URL (s3://bucket/run).",
)
@option("--dask", metavar="ADDRESS", help="Run on the workers of a Dask scheduler, such as tcp://host:8786.")
@option(
    "--shard", metavar="I/N", help="This is process I (from 1) of N that share --out; see also batch-status."
)
@option(
    "--input-format",
    type=click.Choice(["txt", "csv", "json", "jsonl"]),
    metavar="F",
    help="txt, csv, json or jsonl.  [default: by FILE's suffix; stdin is jsonl if it begins with {, json "
    "if it is an array, else txt]",
)
@option("-p", "--prompt", multiple=True, metavar="TEXT", help="A prompt, in place of FILE; may be repeated.")
@option("--prompt-column", metavar="NAME", help="The column of the prompts.  [default: prompt]")
@option("--key-column", metavar="NAME", help="The column of the keys, which name the files.  [default: key]")
@option("--ignore-unknown", is_flag=True, help="Skip columns that are not parameters.")
@option("--comments", is_flag=True, help="Skip lines that begin with #.")
@option(
    "--matrix",
    multiple=True,
    metavar="NAME=A,B",
    help="Repeat each row with each value of a parameter, or each line of a file (NAME=@FILE); may be repeated.",
)
@option(
    "--var",
    multiple=True,
    metavar="NAME=A,B",
    help="Repeat each row with each text in place of {NAME} in its prompt; may be repeated.",
)
@option("--concurrency", type=POSITIVE, metavar="N", help="Maximum requests in flight.  [default: 100]")
@option("--images-per-minute", type=POSITIVE, metavar="N", help="Your account's limit.")
@option("--budget", metavar="USD", help="Start nothing that exceeds this amount by its estimate.")
@option(
    "--max-image-cost", metavar="USD", help="The maximum cost of one image, if you know it, for --budget."
)
@option("--prices", metavar="FILE", help="Prices for the estimate, as JSON.")
@option(
    "--max-identical-failures",
    type=_NOT_NEGATIVE,
    metavar="N",
    default=5,
    help="End after N similar failures that may be billed, without a success in between; 0: never.  [default: 5]",
)
@option("--retry-failed", is_flag=True, help="Send failed requests again.")
@option(
    "--retry-unknown",
    is_flag=True,
    help="Send requests again that may have been billed, or whose image cannot be fetched.",
)
@option("--retry-missing", is_flag=True, help="Request images that did not come, or are gone.")
@option("--dedupe", is_flag=True, help="Send identical rows only once.")
@option(
    "--no-prompts",
    is_flag=True,
    help="Leave the prompts out of the page, the records and the failures.",
)
@option(
    "--economy",
    is_flag=True,
    help="Send through the provider's Batch API: within a day, at half the price. Run it again to collect.",
)
@option(
    "--cancel",
    is_flag=True,
    help="With --economy: cancel the batches at the provider, and collect what is done.",
)
@option("--dry-run", is_flag=True, help="Print what would be sent and what it may cost; send nothing.")
@option("-n", "--n", type=click.IntRange(1, 1000), metavar="N", help="Number of images for each prompt.")
@_image_options
@endpoint_options
@shared_limit_options
@json_option
@verbosity_options
@click.pass_obj
def batch(streams: Streams, /, **values: Any) -> int:
    """Generate an image for each row of FILE, and print the paths of the images as they are done.

    FILE has a prompt on each line (.txt), or a column (.csv) or a key (.jsonl) for each parameter; it may be - for
    stdin. --size, --quality and so on are defaults for rows that do not have their own. Running the same command again
    sends only what is missing, no matter how it ended before. The key is taken from OPENAI_API_KEY (for Azure see
    --azure).
    """
    from openai_images.cli.batch import run_batch
    from openai_images.cli.batch_input import BatchCommandOptions

    return run_batch(BatchCommandOptions(**values), streams)


for _command in (batch_status, costs, models, serve, studio, demo):
    cli.add_command(_command)
