"""What a client costs: `python -m benchmarks`, or `make bench`.

Rules: every contender asks the same bare server for the same bytes, each in a process of its own, in turn, round after
round; only ratios and differences within one round are judged, so that a busy machine slows all of them alike. The
pictures are in the user's hands, as bytes or as a file, inside the timed part. A contender that is not installed is
named as missing. Those that wait for a limit wait at the same time, each at a server of its own; whether batches keep
their promises is shown by `benchmarks.kill` and `benchmarks.scale`, whether the decoder does on damaged answers by
`benchmarks.fuzz` and `benchmarks.fast_path`, and what uploads take by `benchmarks.uploads`. What is measured is told
beside the numbers, and so is what is not: loopback without TLS, pictures of random bytes, and no waiting for a picture
to be painted.
"""
