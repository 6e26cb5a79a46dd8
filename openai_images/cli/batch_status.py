"""`openai-images batch-status`: the state of a batch that many processes share.

Invariants: nothing is sent; the batch's journal and contact sheet are written again. A claim's age is measured with the
clock of its worker, and only shown.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec

from attrs import frozen

from openai_images import BatchOptions, ImagesError, OpenClaim, SharedStatus, read_batch_status
from openai_images.cli import error_report
from openai_images.cli.batch_folder import is_marked
from openai_images.cli.batch_input import STAND_IN
from openai_images.cli.batch_report import RunSummary
from openai_images.cli.console import Console, Streams, duration, plural, printable, truncate
from openai_images.cli.preview import write_thumbnail

_MAX_CLAIMS = 20
_MAX_REASON = 160


@frozen(kw_only=True)
class BatchStatusOptions:
    """Options of `batch-status`."""

    out: str
    no_prompts: bool = False
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False


def run_batch_status(options: BatchStatusOptions, streams: Streams) -> int:
    """Print the state of the batch and return the exit code."""
    console = Console(
        streams.out, streams.err, quiet=options.quiet, verbose=options.verbose, as_json=options.as_json
    )
    is_local = is_marked(options.out)
    batch_options = BatchOptions(
        thumbnail=write_thumbnail if find_spec("PIL") else None,
        note=STAND_IN if is_local else "",
        record_prompts=not options.no_prompts,
    )
    try:
        status = read_batch_status(options.out, batch_options)
    except ImagesError as error:
        error_report.report_error(console, error_report.report_from(error), error)
        return error_report.exit_code(error)
    except OSError as error:
        report = error_report.write_error_report(options.out, error, "Nothing was sent.")
        error_report.report_error(console, report, error)
        return 2
    return _report(console, options.out, status, is_local=is_local)


def _report(console: Console, out: str, status: SharedStatus, *, is_local: bool) -> int:
    summary = RunSummary(
        summary=status.summary,
        out=out,
        spent_before=status.summary.spent,
        unknown=[claim.key for claim in status.unknown],
        is_local=is_local,
    )
    if console.as_json:
        claims = [
            {
                "key": claim.key,
                "attempt": claim.attempt,
                "worker": claim.worker,
                "at": claim.at,
                "reason": claim.reason,
            }
            for claim in status.unknown
        ]
        console.print_record({**summary.record, "claims": claims, "runs": status.runs, "page": status.page})
        return summary.exit_code
    lines = [line for line in summary.status_lines if line]
    for line in (*lines, f"{plural(status.runs, 'run')} so far", f"contact sheet: {status.page}"):
        console.print_result(line)
    for claim in status.unknown[:_MAX_CLAIMS]:
        console.print_result(f"unknown {printable(claim.key)}: {_describe(claim)}")
    if len(status.unknown) > _MAX_CLAIMS:
        console.print_result(f"and {len(status.unknown) - _MAX_CLAIMS:,} more unknown ones")
    if status.unknown:
        console.print_note(
            "unknown requests are in flight now, or their process ended before their response came: they may have "
            "been billed. When no process runs any more, batch --retry-unknown sends them again, and may pay twice"
        )
    return summary.exit_code


def _describe(claim: OpenClaim) -> str:
    """Return who has claimed a request, and when; or why its outcome is unknown."""
    if not claim.worker:
        return truncate(printable(claim.reason), _MAX_REASON)
    parts = [f"claimed by {printable(claim.worker)}"]
    try:
        age = (datetime.now(UTC) - datetime.fromisoformat(claim.at)).total_seconds()
    except (ValueError, TypeError):
        age = 0.0
    parts += [f"{duration(age)} ago"] if age > 0 else []
    parts += [f"attempt {claim.attempt}"] if claim.attempt > 1 else []
    return ", ".join(parts)
