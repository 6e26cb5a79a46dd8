"""The other commands: `costs`, `batch-status`, `models`, `serve`, `studio`, `demo`.

Invariants: as in `commands.py`: only click is imported here; docstrings are help texts.
Must not: do the work of a command.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from openai_images.cli.command_parts import (
    POSITIVE,
    Command,
    argument,
    endpoint_options,
    json_option,
    option,
    preview_option,
    verbosity_options,
)
from openai_images.cli.console import Streams

command = partial(click.command, cls=Command)


@command(short_help="Add up what batches cost.")
@argument("folders", nargs=-1, required=True, metavar="DIR...")
@json_option
@verbosity_options
@click.pass_obj
def costs(streams: Streams, /, **values: Any) -> int:
    """Add up what the batches in DIR... cost, by folder and model, with their images and tokens.

    DIR is a folder that `openai-images batch` made: its journal has the cost of each request. Nothing is sent. Requests
    that may have been billed at an unknown cost are listed separately, and never count as 0.
    """
    from openai_images.cli.costs import CostsOptions, run_costs

    return run_costs(CostsOptions(**values), streams)


@command("batch-status", short_help="Print the state of a batch that many processes share.")
@argument("out", metavar="DIR")
@option("--no-prompts", is_flag=True, help="Leave the prompts out of the contact sheet.")
@json_option
@verbosity_options
@click.pass_obj
def batch_status(streams: Streams, /, **values: Any) -> int:
    """Print the state of the batch in DIR, for all processes of `batch --shard`, and write its contact sheet.

    DIR is the --out of `batch`: a folder, or a URL such as s3://bucket/run. Nothing is sent. While the batch runs,
    unknown requests may be in flight.
    """
    from openai_images.cli.batch_folder import BatchStatusOptions, run_batch_status

    return run_batch_status(BatchStatusOptions(**values), streams)


@command(short_help="Print the values, costs and end dates of models.")
@option("--check", "ask_server", is_flag=True, help="Ask the server which models the key has.")
@endpoint_options
@json_option
@verbosity_options
@click.pass_obj
def models(streams: Streams, /, **values: Any) -> int:
    """Print the values that each model accepts, the cost of an image by size and quality, and the model's end date.

    This needs no key and no network. --check also asks the server which of these models the key has, when they end, and
    which other models there are.
    """
    from openai_images.cli.models import ModelsOptions, run_models

    return run_models(ModelsOptions(**values), streams)


@command(short_help="Run the local images server.")
@option("--port", type=click.IntRange(0, 65535), default=0, metavar="P", help="[default: any free port]")
@option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@option(
    "--api-key", metavar="KEY", help="The key that requests need.  [default: a new one, which is printed]"
)
@option(
    "--pace",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="The time from one partial image to the next.",
)
@option("--images-per-minute", type=POSITIVE, metavar="N", help="A rate limit.")
@option(
    "--burst",
    "rate_limit_burst",
    type=POSITIVE,
    metavar="N",
    help="Number of images without a wait.  [default: the limit]",
)
@option("--hide-limits", is_flag=True, help="No x-ratelimit headers.")
@option(
    "--fault", "faults", multiple=True, metavar="NAME", help="The fault of the next request; may be repeated."
)
@option("--always", metavar="NAME", help="The fault of all other requests.")
@option("--legacy", is_flag=True, help="Also retired models.")
@option(
    "--picture-links",
    type=click.Choice(["absolute", "relative"]),
    help="Respond with URLs instead of base64.",
)
@option("--list-faults", is_flag=True, help="Print the names of the faults and stop.")
@option("-q", "--quiet", is_flag=True, help="Do not log requests.")
@click.pass_obj
def serve(streams: Streams, /, **values: Any) -> int:
    """Run the local images server until Ctrl-C.

    It has the wire format of the OpenAI Images API, only on this machine, and draws placeholder images.
    """
    from openai_images.cli.serve import ServeOptions, run_serve

    return run_serve(ServeOptions(**values), streams)


@command(short_help="Generate and edit on a page in your browser.")
@option("-m", "--model", metavar="MODEL", help="The model that is selected first.  [default: gpt-image-2]")
@option("--out", default="studio", show_default=True, metavar="DIR", help="The folder of images and history.")
@option("--port", type=click.IntRange(0, 65535), default=0, metavar="P", help="[default: any free port]")
@option("--open/--no-open", "is_open", default=True, help="Open the browser.  [default: yes]")
@endpoint_options
@verbosity_options
@click.pass_obj
def studio(streams: Streams, /, **values: Any) -> int:
    """Serve a page on this machine to generate and edit images in a browser, until Ctrl-C.

    Its address is printed with a token that works once. Every generation is recorded in DIR before it is sent, and its
    images are stored there when they arrive: nothing paid is lost if the page or the process ends.
    """
    from openai_images.cli.studio import StudioOptions, run_studio

    return run_studio(StudioOptions(**values), streams)


@command(short_help="Draw a few images and a page about them, without a key.")
@option("--out", default="demo-output", show_default=True, metavar="DIR", help="The folder of the page.")
@preview_option
@verbosity_options
@click.pass_obj
def demo(streams: Streams, /, **values: Any) -> int:
    """Draw a few images with the local server and write a page about them; needs no key and no network."""
    from openai_images.cli.demo import DemoOptions, run_demo

    return run_demo(DemoOptions(**values), streams)
