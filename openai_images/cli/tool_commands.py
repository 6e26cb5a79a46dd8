"""The commands about money, models and servers, and those with a page: `costs`, `models`, `serve`, `studio`, `demo`.

Invariants: as in `commands.py`: click is all that is imported here; docstrings are help texts.
Must not: do any work.
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

    DIR is a folder that `openai-images batch` made: its journal has what each request took. Nothing is sent. What may
    have been billed without anybody knowing its cost is listed on its own, and never counts as 0.
    """
    from openai_images.cli.costs import CostsOptions, run_costs

    return run_costs(CostsOptions(**values), streams)


@command("batch-status", short_help="Where a batch stands that many processes share.")
@argument("out", metavar="DIR")
@option("--no-prompts", is_flag=True, help="Leave the prompts out of the contact sheet.")
@json_option
@verbosity_options
@click.pass_obj
def batch_status(streams: Streams, /, **values: Any) -> int:
    """Print where the batch in DIR stands, all processes of `batch --shard` together, and write its contact sheet.

    DIR is what `batch` has as --out: a folder, or a URL such as s3://bucket/run. Nothing is sent. While the batch runs,
    unknown requests may be in flight.
    """
    from openai_images.cli.batch_status import BatchStatusOptions, run_batch_status

    return run_batch_status(BatchStatusOptions(**values), streams)


@command(short_help="What each model takes and costs, and when it ends.")
@option("--check", "ask_server", is_flag=True, help="Ask the server which of them the key has.")
@endpoint_options
@json_option
@verbosity_options
@click.pass_obj
def models(streams: Streams, /, **values: Any) -> int:
    """Print what each model takes, what an image of each size and quality costs, and when the model ends.

    This needs no key and no network. With --check the server is asked, too: which of these models the key has, their
    last days, and which others there are.
    """
    from openai_images.cli.models import ModelsOptions, run_models

    return run_models(ModelsOptions(**values), streams)


@command(short_help="Run the local images server.")
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
@option("--images-per-minute", type=POSITIVE, metavar="N", help="A rate limit.")
@option(
    "--burst",
    "rate_limit_burst",
    type=POSITIVE,
    metavar="N",
    help="How many images are generated at once.  [default: the limit]",
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

    It speaks the wire format of the OpenAI Images API on this machine alone, and draws placeholder images.
    """
    from openai_images.cli.serve import ServeOptions, run_serve

    return run_serve(ServeOptions(**values), streams)


@command(short_help="Generate and edit on a page in your browser.")
@option("-m", "--model", metavar="MODEL", help="The model that the page begins with.  [default: gpt-image-2]")
@option("--out", default="studio", show_default=True, metavar="DIR", help="The folder of images and history.")
@option("--port", type=click.IntRange(0, 65535), default=0, metavar="P", help="[default: any that is free]")
@option("--open/--no-open", "is_open", default=True, help="Open the browser.  [default: yes]")
@endpoint_options
@verbosity_options
@click.pass_obj
def studio(streams: Streams, /, **values: Any) -> int:
    """Serve a page on this machine on which people generate and edit images, until Ctrl-C.

    Its address is printed with a token that works once. Every generation is written down in DIR before it is sent, and
    its images are stored there as they arrive: nothing that was paid for is lost with the page or the process.
    """
    from openai_images.cli.studio import StudioOptions, run_studio

    return run_studio(StudioOptions(**values), streams)


@command(short_help="Draw a few images and a page about them, without a key.")
@option("--out", default="demo-output", show_default=True, metavar="DIR", help="Where the page goes.")
@preview_option
@verbosity_options
@click.pass_obj
def demo(streams: Streams, /, **values: Any) -> int:
    """Draw a few images with the local server and write a page about them; needs no key and no network."""
    from openai_images.cli.demo import DemoOptions, run_demo

    return run_demo(DemoOptions(**values), streams)
