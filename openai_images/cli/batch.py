"""`openai-images batch`: many prompts into one folder; the same command again resumes.

Invariants: plan and cost are printed before anything is sent, an outcome after it is on disk; the first Ctrl-C drains,
the second cancels; a closed terminal or pipe loses nothing; placeholder images never share a folder with a model's;
nothing is sent if a Dask scheduler cannot be reached.
Must not: send anything twice unless an option allows it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

from openai_images import Batch, BatchPlan, ImagesClient, ImagesError
from openai_images.cli import error_report
from openai_images.cli.batch_folder import (
    mark_folder,
    planning_folder,
    reject_mixed_folder,
)
from openai_images.cli.batch_input import BatchCommandOptions
from openai_images.cli.batch_job import BatchJob, load_job
from openai_images.cli.batch_plan import estimate_items, plan_lines, plan_record
from openai_images.cli.batch_progress import make_batch_display
from openai_images.cli.batch_report import BatchReporter, RunSummary
from openai_images.cli.command_runner import InterruptHandler, diagnostics_to, run_command
from openai_images.cli.console import Console, Streams, plural, wait_writable
from openai_images.cli.error_report import ErrorReport
from openai_images.cli.options import offline_client, open_client

if TYPE_CHECKING:
    from openai_images import DaskEngine


def run_batch(options: BatchCommandOptions, streams: Streams) -> int:
    """Run the batch and return the exit code. Raises click.UsageError."""
    console = options.make_console(streams)
    try:
        with diagnostics_to(console):
            job = load_job(options)
        command = BatchCommand(job, console)
    except ImagesError as error:
        return error_report.report_error(console, error_report.report_from(error), error)
    return run_command(console, command.run(), command.interrupted)


class BatchCommand:
    """One run of a batch."""

    def __init__(self, job: BatchJob, console: Console) -> None:
        self._job = job
        self._options = job.options
        self._console = console
        self._display = make_batch_display(console)
        self._batch: Batch | None = None
        self._engine: DaskEngine | None = None
        self._has_begun = self._is_summarized = False
        self.reporter = BatchReporter(console, job.options.out)

    async def run(self) -> int:
        """Plan, run and summarize; return the exit code."""
        items, row_count = self._job.input
        if len(items) != row_count:
            self._console.print_note(
                f"matrix: {plural(len(items), 'request')} from {plural(row_count, 'prompt')}"
            )
        if self._options.dry_run:
            return await self._dry_run()
        job = self._job
        async with (
            open_client(job.options, self._console, limits=job.limits, pace=0.0) as client,
            open_engine(job.options.dask, job.options.concurrency) as self._engine,
        ):
            return await self._run(client)

    def interrupted(self) -> ErrorReport:
        """Report a Ctrl-C before the first request, or one after which the batch could not be closed."""
        self._display.end()
        batch, sent = self._batch, False
        if batch is not None and self._has_begun:
            if not self._is_summarized:
                self._print_summary(batch)
            sent = batch.summary.unknown > len(batch.plan.unknown) and not self._options.local
        message = "interrupted" if self._has_begun else "interrupted: nothing was sent"
        message += ": requests that were sent may be billed" if sent else ""
        return error_report.interrupted_report(message, maybe_billed=sent)

    async def _dry_run(self) -> int:
        """Plan without sending; no folder is created."""
        client, out = offline_client(self._options), self._options.out
        reject_mixed_folder(out, local=self._options.local)
        try:
            with nullcontext(out) if self._job.shard else planning_folder(out) as out:
                async with self._new_batch(client, out) as batch:
                    fits = self._print_plan(batch.plan)
        except OSError as error:
            return self._report_unusable_folder(error)
        self._console.print_note("dry run: nothing was sent")
        return 0 if fits else 1

    async def _run(self, client: ImagesClient) -> int:
        interrupts = InterruptHandler(self._on_first_interrupt)
        reject_mixed_folder(self._options.out, local=self._options.local)
        batch = self._new_batch(client, self._options.out)
        # Signals are handled until the batch is closed: only then the unknown requests are known.
        with ExitStack() as signals:
            try:
                async with batch as self._batch:
                    mark_folder(self._options.out, local=self._options.local)
                    self._print_plan(batch.plan)
                    await asyncio.sleep(0)  # an earlier Ctrl-C is raised here, before anything is sent
                    signals.enter_context(interrupts)
                    self._has_begun = True
                    self._display.wait_reason = lambda: batch.wait_reason
                    async with self._display:
                        async for outcome in batch:
                            await wait_writable(self._console.out)
                            self.reporter.report_outcome(outcome, self._display)
            except asyncio.CancelledError:
                if not interrupts.end_cancellation():
                    raise
            except (ImagesError, OSError) as error:
                if self._batch is None:
                    return self._report_unusable_folder(error)
                self._report_run_error(error)
            code = self._print_summary(batch)
        return error_report.INTERRUPTED if interrupts.count else code

    def _new_batch(self, client: ImagesClient, out: str) -> Batch:
        return Batch(
            client,
            self._job.items,
            out,
            options=self._job.batch_options,
            progress=self._display.update,
            shard=self._job.shard,
            engine=self._engine,
        )

    def _print_plan(self, plan: BatchPlan) -> bool:
        """Print the plan and its estimated cost; return whether the budget is enough for the first request."""
        job, options = self._job, self._options
        to_send = set(plan.to_send)
        items = (item for item in job.items if item.key in to_send)
        cost = estimate_items(items, job.effective_prices, options.prices, job.max_image_cost)
        for line in (*job.shard_lines(plan), *plan_lines(plan, economy=options.economy)):
            self._console.print_note(line)
        if plan.to_send:
            free = "nothing (placeholder images); at the API " if options.local else ""
            self._console.print_note(f"estimated cost: {free}{cost}")
            for line in cost.table() if options.dry_run else ():
                self._console.print_note(f"  {line}")
        budget = job.budget_left(plan) if plan.to_send else None
        for line in () if budget is None else budget.lines(cost):
            self._console.print_note(line)
        self.reporter.print_record(plan_record(plan, cost))
        return budget is None or budget.has_room

    def _on_first_interrupt(self) -> None:
        if self._batch is not None:
            self._batch.stop()
        if self._options.economy:
            self._console.print_message("stopping; batches at the provider continue there", "bold yellow")
            return
        number = self._display.progress.in_flight
        several = any((item.request.n or 1) > 1 for item in self._job.items)
        paid = f"{plural(number, 'request' if several else 'image')} that {'is' if number == 1 else 'are'} paid for"
        abandon = f"press Ctrl-C again to abandon {'it' if number == 1 else 'them'}"
        self._console.print_message(f"finishing {paid}; {abandon}" if number else "stopping", "bold yellow")

    def _report_unusable_folder(self, error: ImagesError | OSError) -> int:
        if isinstance(error, ImagesError):
            raise error
        advice = "Nothing was sent. Choose another folder with --out."
        report = error_report.write_error_report(self._options.out, error, advice)
        return error_report.report_error(self._console, report, error)

    def _report_run_error(self, error: ImagesError | OSError) -> None:
        advice = "Finished images are kept. Check the folder, then run the same command again."
        report = (
            error_report.write_error_report(self._options.out, error, advice)
            if isinstance(error, OSError)
            else error_report.report_from(error)
        )
        self.reporter.print_record(report.record())
        error_report.print_error(self._console, report, error)

    def _print_summary(self, batch: Batch) -> int:
        for outcome in batch.unread:  # finished after a second Ctrl-C
            self.reporter.report_outcome(outcome, self._display)
        summary, progress = batch.summary, self._display.progress
        run_summary = RunSummary(
            summary=summary,
            out=self._options.out,
            images_per_minute=progress.images_per_minute,
            spent_before=batch.plan.spent,
            budget=self._job.budget,
            unknown=batch.unknown,
            is_shared=self._job.is_shared,
            is_local=self._options.local,
        )
        for line in run_summary.lines:
            self._console.print_note(line)
        if run_summary.warning:
            self._console.print_message(run_summary.warning, "magenta")
        self.reporter.print_record(run_summary.record)
        self._is_summarized = True
        return run_summary.exit_code


def open_engine(address: str | None, in_flight: int | None) -> AbstractAsyncContextManager[DaskEngine | None]:
    """Connect to the Dask scheduler at this address; None if there is no address.

    Each worker has up to `in_flight` requests in flight. Raises `ConfigurationError` and `ClusterError`.
    """
    if address is None:
        return nullcontext()
    from openai_images import DaskEngine

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # the engine raises the errors
    options: dict[str, Any] = {} if in_flight is None else {"in_flight": in_flight}
    return DaskEngine.connect(address, **options)
