"""`openai-images serve`: the local images server in the foreground.

Invariants: stdout says how to reach it, in lines that a shell can read; stderr has a line for each request, without its
prompt; Ctrl-C closes it and gives 130.
Must not: listen on an address that is not loopback.
"""

from __future__ import annotations

import asyncio
import json
from shlex import join, quote
from typing import TYPE_CHECKING, Literal

import click
from attrs import asdict, field, frozen

from openai_images.cli.console import DEFAULT_MODEL, Console, Streams
from openai_images.cli.error_report import ErrorReport, report_error, run_command

if TYPE_CHECKING:
    from openai_images.server import AnsweredRequest, LocalImagesServer

_PROMPT = "a lighthouse at dusk"
_OWN = {"hide_limits", "list_faults", "quiet"}  # options that are not the server's


@frozen(kw_only=True)
class ServeOptions:
    """Options of `serve`."""

    port: int = 0
    host: str = "127.0.0.1"
    api_key: str | None = field(default=None, repr=False)
    pace: float = 0.0
    images_per_minute: int | None = None
    rate_limit_burst: int | None = None
    hide_limits: bool = False
    legacy: bool = False
    picture_links: Literal["absolute", "relative"] | None = None
    faults: tuple[str, ...] = ()
    always: str | None = None
    list_faults: bool = False
    quiet: bool = False


def run_serve(options: ServeOptions, streams: Streams) -> int:
    """Serve until Ctrl-C and return the exit code. Raises click.UsageError."""
    from openai_images.server import FAULTS, LocalImagesServer

    console = Console(streams.out, streams.err, quiet=options.quiet)
    if options.list_faults:
        for name, about in sorted(FAULTS.items()):
            console.print_result(f"{name:30} {about}")
        return 0
    try:
        settings = asdict(options, filter=lambda field, _: field.name not in _OWN, recurse=False)
        server = LocalImagesServer(
            **settings,
            rate_limit_headers=not options.hide_limits,
            on_answer=lambda answered: _log_request(answered, console),
            keep_requests=0,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return run_command(
        console,
        lambda: _serve(server, console),
        lambda: ErrorReport(error_type="Interrupted", message="stopped"),
    )


async def _serve(server: LocalImagesServer, console: Console) -> int:
    try:
        await server.start()
    except OSError as error:
        report_error(
            console, ErrorReport(error_type=type(error).__name__, message=error.strerror or str(error))
        )
        return 2
    try:
        _print_connection(server, console)
        while True:
            await asyncio.Event().wait()
    finally:
        await server.aclose()


def _print_connection(server: LocalImagesServer, console: Console) -> None:
    url, key = server.base_url, server.api_key
    curl = (
        f"{url}/images/generations",
        "-H",
        f"Authorization: Bearer {key}",
        "-H",
        "Content-Type: application/json",
    )
    lines = [
        f"export OPENAI_BASE_URL={quote(url)}",
        f"export OPENAI_API_KEY={quote(key)}",
        f"# openai-images generate {quote(_PROMPT)} --partial-images 3",
        f"# curl {join([*curl, '-d', json.dumps({'model': DEFAULT_MODEL, 'prompt': _PROMPT})])}",
        f"# python: ImagesClient(base_url={url!r}, api_key={key!r}, model={DEFAULT_MODEL!r})",
        f"# browser: {url.removesuffix('v1')}",
    ]
    for line in lines:
        if not console.print_result(line):
            console.print_message(line)
    console.print_note(
        "local stand-in: painted by a program on this machine, not by a model; Ctrl-C stops it", "yellow"
    )


def _log_request(answered: AnsweredRequest, console: Console) -> None:
    if answered.path == "/":  # a browser that refreshes the page
        return
    fault = "" if answered.fault == "ok" else f"  fault {answered.fault}"
    status = answered.status or "hung up"
    console.print_note(f"{answered.method} {answered.path} {status}{fault}")
