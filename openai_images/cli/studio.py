"""`openai-images studio`: the page for a browser, served on loopback until Ctrl-C.

Invariants: the address is printed on stdout, once, with its token; Ctrl-C, SIGTERM or a closed terminal waits for paid
generations, a second one does not; both exit with 130. The key stays in this process.
Must not: listen on an address that is not loopback.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from attrs import frozen

from openai_images.cli.command_runner import InterruptHandler, run_command
from openai_images.cli.console import DEFAULT_MODEL, Console, Streams, plural
from openai_images.cli.error_report import (
    ErrorReport,
    interrupted_report,
    report_error,
    write_error_report,
)
from openai_images.cli.options import CommandOptions, open_client

if TYPE_CHECKING:
    from openai_images.studio import History, Studio

_PACE = 0.9
_CLOSED = "Generations in flight are in the journal: images that arrived are in the folder, others count as unknown."


@frozen(kw_only=True)
class StudioOptions(CommandOptions):
    """Options of `studio`."""

    out: str = "studio"
    port: int = 0
    is_open: bool = True


def run_studio(options: StudioOptions, streams: Streams) -> int:
    """Serve until Ctrl-C and return the exit code. Raises click.UsageError."""
    options.check()
    console = options.make_console(streams)
    return run_command(console, _studio(options, console), _stopped_report)


async def _studio(options: StudioOptions, console: Console) -> int:
    from openai_images.studio import History, Studio, StudioSettings

    with ExitStack() as closing:  # the history is closed after the client, which writes to it
        async with open_client(options, console, pace=_PACE) as client:
            try:  # after the key was found: without one, no folder is created
                history = History(options.out)
            except OSError as error:
                advice = "Choose another folder with --out."
                return report_error(console, write_error_report(options.out, error, advice))
            closing.callback(_close, history, options.out, console)
            model = options.request_params()["model"]
            settings = StudioSettings(model=model or DEFAULT_MODEL, local=options.local)
            return await _serve_until_stopped(Studio(client, history, settings), history, options, console)


def _close(history: History, out: str, console: Console) -> None:
    history.close()
    if count := history.unwritten_count:
        console.print_note(f"not written to {out}, and no longer kept: {plural(count, 'paid image')}")


async def _serve_until_stopped(
    studio: Studio, history: History, options: StudioOptions, console: Console
) -> int:
    stopped = asyncio.Event()
    interrupts = InterruptHandler(stopped.set)
    try:
        with interrupts:
            await _serve(studio, history, options, console, stopped)
    except OSError as error:
        return report_error(console, _port_report(options.port, error))
    except asyncio.CancelledError:
        if not interrupts.end_cancellation():
            raise
        # A generation that is cancelled has no end in the journal: it is unknown.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
    return report_error(console, _stopped_report())


async def _serve(
    studio: Studio, history: History, options: StudioOptions, console: Console, stopped: asyncio.Event
) -> None:
    async with studio.serve(options.port) as url:
        if not console.print_result(url):
            console.print_message(url)
        console.print_note(
            f"{plural(len(history), 'generation')} in {options.out}; the address works once, in one browser; "
            "Ctrl-C stops it"
        )
        if options.is_open:
            # Some browsers return when they are closed: nothing waits for them.
            threading.Thread(target=_open_browser, args=(url,), daemon=True).start()
        await stopped.wait()
    if count := studio.running_count:
        console.print_note(
            f"waiting for {plural(count, 'generation')} that may be billed; Ctrl-C again stops now"
        )
    await studio.finish()


def _open_browser(url: str) -> None:
    import webbrowser

    with suppress(Exception):  # the address is printed
        webbrowser.open(url)


def _stopped_report() -> ErrorReport:
    return interrupted_report("stopped", advice=_CLOSED)


def _port_report(port: int, error: OSError) -> ErrorReport:
    message = f"port {port} on 127.0.0.1 cannot be used: {error.strerror or error}"
    return ErrorReport(
        error_type=type(error).__name__,
        message=message,
        exit_code=2,
        advice="Choose another one with --port.",
    )
