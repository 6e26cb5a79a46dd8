"""One batch of several processes from its start to its end, some of which die by SIGKILL or stop for a while.

Rules: the server outlives them and keeps every request.
"""

import asyncio
import signal
from typing import Final

from benchmarks.kill_run import until
from benchmarks.kill_workers_job import PATIENCE, Engine, Job
from benchmarks.kill_workers_judge import Snapshot, Story, Strike, judge

LOOK: Final = 0.02  # seconds between two looks at the records


async def strike_and_resume(job: Job, engine: type[Engine], strike: Strike) -> Story:
    """Start it, kill or stop some, run it again, and again with --retry-unknown; see whether all guarantees held."""
    await asyncio.to_thread(job.source.write_text, "".join(f"{prompt}\n" for prompt in job.prompts))
    first = engine()
    await first.start(job)
    waiting = asyncio.create_task(first.wait())
    reached = asyncio.create_task(_wait_for_records(job, strike.records))
    await asyncio.wait((waiting, reached), return_when=asyncio.FIRST_COMPLETED)
    victims = [process for number in strike.victims if (process := first.victims[number]).returncode is None]
    for process in victims:
        process.send_signal(signal.SIGSTOP if strike.stop else signal.SIGKILL)
    for process in victims if strike.stop else ():
        if (replacement := await first.restart(job, process)) is not None:
            await asyncio.wait_for(replacement.wait(), PATIENCE)
        process.send_signal(signal.SIGCONT)
    said = await waiting
    reached.cancel()
    await until(lambda: not job.server.open_connections)
    struck = await asyncio.to_thread(Snapshot.of, job)
    unknown = {key for key in struck.open_claims(job) if not struck.has_picture(key)}
    said += await _run(job, engine)
    resumed = await asyncio.to_thread(Snapshot.of, job)
    said += await _run(job, engine, "--retry-unknown")
    ended = await asyncio.to_thread(Snapshot.of, job)
    story = Story(strike, struck, resumed, ended, unknown, said, was_running=bool(victims))
    story.wrong = await judge(job, story)
    return story


async def _wait_for_records(job: Job, number: int) -> None:
    while len(await asyncio.to_thread(job.files.names, "records")) < number:  # noqa: ASYNC110  files tell nobody
        await asyncio.sleep(LOOK)


async def _run(job: Job, engine: type[Engine], *arguments: str) -> str:
    running = engine()
    await running.start(job, *arguments)
    return await running.wait()
