"""What a client costs: `python -m benchmarks`, or `make bench`.

Rules: every contender asks the same bare server for the same bytes, each in a process of its own, in turn, round after
round; only ratios and differences within one round are judged, so that a busy machine slows all of them alike. The
images are in the user's hands, as bytes or as a file, inside the timed part. A contender that is not installed is
named as missing. Those that wait for a limit wait at the same time, each at a server of its own; whether batches keep
their promises is shown by `kill` and `scale`, whether the decoder does on damaged answers by `fuzz` and `fast_path`,
what is left of cancelled calls by `cancel`, and what uploads take by `uploads`: each is a module and a command of this
name. What is measured is told beside the numbers, and so is what is not: real networks, and waiting for an image to
be painted.

Where what is:

- `__main__` the command; `cases` what a case, a goal and an outcome are; `measures` all cases, by measure
- `contenders` who is measured; `contender_process` one of them in a process of its own; `turn` what it is given, and
  the clock of its loop
- `cpu`, `delays`, `memory`, `imports`, `many` the cases, and how their numbers are taken
- `payloads` the answers; `server`, `paced_server`, `rate_limit_server` who sends them; `processes` who is started
- `running` the rounds; `tables` what came of them
- `fuzz` with `fuzz_…` (cases, values, decoder, client, promises), `fast_path`; `corpus` what they damage
- `cancel`, `cancel_run`; `kill`, `kill_run`; `kill_workers`, `kill_workers_judge`; `economy…`; `dask_…`
- `scale`, `scaling`; `uploads`; `relay`; `shared_limit`; `closed_connections`
"""
