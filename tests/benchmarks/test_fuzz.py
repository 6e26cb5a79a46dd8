"""The fuzzer sees a broken promise: each kind of it, told apart; and its cases are the same each time."""

import sys
from collections.abc import Callable
from random import Random
from typing import Any, Self

import pytest
from attrs import evolve

from benchmarks import corpus, fuzz, fuzz_cases, fuzz_decoder
from benchmarks.corpus import KEY, PROMPT, Answer
from benchmarks.fuzz_cases import Case
from benchmarks.fuzz_decoder import Sinks, broken
from openai_images.errors import APIStatusError, BadRequestError, DecodeError, ImagesError
from openai_images.models.image import Image
from openai_images.models.usage import Usage
from openai_images.wire import headers, response as reader, sse
from openai_images.wire.headers import AdvertisedLimit

pytestmark = pytest.mark.slow

CORPUS = list(corpus.answers().values())
BASE64 = "iVBORw0KGgo/+AAA" * 20


def made_of(name: str, status: int | None = None, **headers: str) -> Case:
    """An answer of the corpus as it is."""
    [answer] = [answer for answer in CORPUS if answer.name == name]
    given = {**answer.headers, **{key.replace("_", "-"): text for key, text in headers.items()}}
    return Case(0, name, status or answer.status, given, answer.body)


def test_what_is_not_damaged_breaks_nothing() -> None:
    """The whole corpus, closely examined."""
    for answer in CORPUS:
        assert broken(Case(7, "", answer.status, answer.headers, answer.body), 1, thorough=True) == []


def raising(error: Exception) -> Callable[..., Any]:
    """A function that raises it."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_a_foreign_exception_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its class, its text and its place."""
    monkeypatch.setattr(reader.ResponseDecoder, "finish", raising(KeyError("otter")))
    [found] = broken(made_of("openai-generation"), 1, thorough=True)
    assert found.startswith("KeyError: 'otter', raised in ")
    assert "test_fuzz.py, line" in found


REFUSALS: dict[str, tuple[ImagesError, str]] = {
    "key": (DecodeError(f"what {KEY} sent"), "the key is shown"),
    "prompt": (DecodeError(f"what {PROMPT} sent"), "the prompt is shown"),
    "base64": (DecodeError(f"what {BASE64} is"), "base64 is shown"),
    "surrogate": (DecodeError("half \ud83e"), "a text that cannot be encoded"),
    "empty": (DecodeError(" "), "a text of 1 characters"),
    "long": (DecodeError("long " * 2_000), "a text of 10000 characters"),
    "body": (BadRequestError("bad", status_code=200, body={"a": [KEY]}), "the key is shown"),
    "status": (BadRequestError("bad", status_code=400), "status 400 instead of 200"),
    "code": (BadRequestError("bad", status_code=200, code=""), "code is a str"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_an_error_that_is_not_as_it_should_be_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it shows, and what it says of itself."""
    error, what = REFUSALS[name]
    monkeypatch.setattr(reader.ResponseDecoder, "result", raising(error))
    assert what in broken(made_of("openai-generation"), 1, thorough=False)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"safe_to_resend": True}, "BadRequestError with 200 is safe to send again"),
        ({"retry_after": float("inf")}, "a wait of inf"),
        ({"retry_after": 0.0}, "a wait of 0.0"),
        ({"other": lambda: None}, "raised in"),
    ],
)
def test_an_error_that_promises_too_much_is_found(
    change: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To be safe to send again, to wait for ever, and what no pickle takes."""
    error = BadRequestError("bad", status_code=200)
    vars(error).update(change)
    monkeypatch.setattr(reader.ResponseDecoder, "result", raising(error))
    assert what in " ".join(broken(made_of("openai-generation"), 1, thorough=False))


def test_a_result_that_does_not_hold_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without images, with counts that are none, with images that are not what they say."""
    whole = reader.ResponseDecoder.result

    def result(self: Any, completed: Any) -> Any:
        image = whole(self, completed).image
        images = (evolve(image, nbytes=3), evolve(image, nbytes=0), evolve(image, width=0))
        usage = Usage(input_tokens=-1, output_tokens=2**60)
        return evolve(whole(self, completed), images=images, usage=usage, created=True, size=BASE64)

    monkeypatch.setattr(reader.ResponseDecoder, "result", result)
    assert broken(made_of("openai-generation"), 1, thorough=False) == [
        "an image that is not as long as it says",
        "an image that has neither bytes nor a URL",
        "an image of (0, 2) pixels",
        "ImageResult.created is 'True'",
        "Usage.input_tokens is '-1'",
        "Usage.output_tokens is '1152921504606846976'",
        "base64 is shown",
    ]
    monkeypatch.setattr(
        reader.ResponseDecoder, "result", lambda self, done: evolve(whole(self, done), images=())
    )
    assert broken(made_of("openai-generation"), 1, thorough=False) == [
        "a result without an image",
        "1 of 1 images were lost",
    ]


@pytest.mark.parametrize("name", ["openai-generation", "mixed-items", "openai-stream", "openai-stream-2025"])
def test_a_picture_that_is_lost_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain reader of the whole body sees it, in JSON and in events."""
    whole = reader.ResponseDecoder.result
    other = Image.from_bytes(b"another one")
    monkeypatch.setattr(
        reader.ResponseDecoder, "result", lambda self, done: evolve(whole(self, done), images=(other,))
    )
    assert broken(made_of(name), 1, thorough=False) == ["1 of 1 images were lost"]


def test_a_sink_that_is_left_open_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing discards it."""
    monkeypatch.setattr(reader.ResponseDecoder, "discard", lambda _: None)
    assert broken(made_of("openai-stream-cut"), 1, thorough=False) == ["2 sinks were begun and 1 ended"]


def test_a_sink_that_is_used_after_its_end_is_found() -> None:
    """Written to, or ended once more."""
    for wrong in ("finish", "discard"):
        sink = Sinks()()
        sink.discard()
        with pytest.raises(AssertionError, match="ended twice"):
            getattr(sink, wrong)()
        with pytest.raises(AssertionError, match="was written to"):
            sink.write(b"x")


def test_memory_out_of_proportion_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that keeps more than it was given."""
    whole = reader.ResponseDecoder.finish

    def finish(self: Any) -> Any:
        self.hoard = bytes(5_000_000)
        return whole(self)

    monkeypatch.setattr(reader.ResponseDecoder, "finish", finish)
    [found] = broken(made_of("openai-generation"), 1, thorough=True)
    assert "bytes of memory for a body of" in found


def test_pieces_that_matter_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the decoder, and in the framer by itself."""
    damaged = next(
        case
        for number in range(100)
        if len(fuzz_cases.pieces(case := evolve(made_of("openai-stream"), number=number), 1)) > 2
    )
    whole = reader.ResponseDecoder.feed
    monkeypatch.setattr(reader.ResponseDecoder, "feed", lambda self, chunk: whole(self, chunk[:-1]))
    assert "other pieces, another outcome" in " ".join(broken(damaged, 1, thorough=True))
    monkeypatch.undo()
    frames = sse.SSEFramer.feed
    monkeypatch.setattr(fuzz_decoder.SSEFramer, "feed", lambda self, chunk: frames(self, chunk[:-1]))
    assert "other pieces, other frames" in " ".join(broken(damaged, 1, thorough=False))


def test_headers_that_are_misread_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit, a wait and a duration that cannot be."""
    monkeypatch.setattr(
        headers, "advertised_limits", lambda _: {"images": AdvertisedLimit(limit=5, remaining=9, rate=0)}
    )
    monkeypatch.setattr(headers, "retry_after", lambda *_: -1.0)
    monkeypatch.setattr(headers, "parse_duration", lambda _: float("nan"))
    found = " ".join(broken(made_of("openai-generation"), 1, thorough=False))
    for what in ("a limit of images", "a wait of -1.0", "a duration of nan"):
        assert what in found


def test_a_case_can_be_had_again() -> None:
    """From its seed and its number alone; others differ."""
    again = [fuzz_cases.case(CORPUS, 3, number) for number in range(50)]
    assert again == [fuzz_cases.case(CORPUS, 3, number) for number in range(50)]
    assert [fuzz_cases.pieces(case, 3) for case in again] == [fuzz_cases.pieces(case, 3) for case in again]
    assert all(b"".join(fuzz_cases.pieces(case, 3)) == case.body for case in again)
    assert len({case.body for case in again}) > 40
    assert again != [fuzz_cases.case(CORPUS, 4, number) for number in range(50)]


def test_every_damage_does_something() -> None:
    """Each changes an answer that it can change, and leaves none of them too long for long."""
    answers: list[Answer] = [answer for answer in CORPUS if answer.body]
    for damage in fuzz_cases._DAMAGES:
        chance = Random(1)
        changed = [damage(chance, answer.body, answers) != answer.body for answer in answers]
        assert any(changed), damage.__name__
        damage(chance, b"", answers)


def test_what_hangs_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the processor time that it takes, whatever it does; the cases after it are examined."""

    def hang(*_: Any, **__: Any) -> list[str]:
        while True:
            pass

    monkeypatch.setattr(fuzz, "broken", hang)
    found = fuzz.run(fuzz.Job(1, 0, 2), CORPUS, seconds=0.02)
    assert found.cases == 2
    [finding] = found.firsts.values()
    assert (finding.number, finding.what) == (0, "more than 0.02 seconds of processor time")


def test_findings_are_told_by_kind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many of each, and the first of them; with one, the exit code is 1."""

    def wrong(job: fuzz.Job, *_: Any) -> fuzz.Found:
        found = fuzz.Found(job.count, 10, fuzz.Counter({"status 2xx": job.count}))
        for number in range(job.first, job.first + job.count, 600):
            found.note(fuzz.Finding(number, "otter, flip", f"{number} bytes of memory"))
        return found

    class Pool:
        """Here, not in processes."""

        def __init__(self, workers: int, *, maxtasksperchild: int) -> None:
            assert (workers, maxtasksperchild) == (2, 100)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def imap_unordered(self, work: Any, jobs: Any) -> Any:
            """One after the other, the last first."""
            return map(wrong, reversed(jobs))

    monkeypatch.setattr(fuzz.multiprocessing, "get_context", lambda _: type("Context", (), {"Pool": Pool}))
    monkeypatch.setattr(sys, "argv", ["fuzz", "--count", "2500", "--first", "100"])
    assert fuzz.main() == 1
    said = capsys.readouterr().out
    assert "2,500 of 2,500 cases" in said
    assert "1 x 2100 bytes of memory\n          in case 2100: otter, flip\n2,500 of" in said
    assert "5 x 100 bytes of memory\n          in case 100: otter, flip" in said
    assert said.endswith("5 promises broken, of 1 kinds\n")


def test_a_short_run_in_processes_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `python -m benchmarks fuzz` does it."""
    monkeypatch.setattr(sys, "argv", ["fuzz", "--count", "30", "--workers", "1", "--seed", "5"])
    assert fuzz.main() == 0
    assert "30 damaged answers" in capsys.readouterr().out


def test_errors_of_the_corpus_are_of_every_kind() -> None:
    """A corpus that knew only results would hide half of the decoder from the damage."""
    sinks = Sinks()
    kinds = set[str]()
    for number in range(1_500):
        damaged = fuzz_cases.case(CORPUS, 2, number)
        answered = fuzz_decoder.ResponseContext(damaged.status, damaged.headers)
        came = fuzz_decoder.outcome(answered, [damaged.body], sinks)
        kinds.add(type(came.error or came.result).__name__)
        kinds |= {type(event).__name__ for event in came.events}
        if isinstance(came.error, APIStatusError) and came.error.safe_to_resend:
            kinds.add("safe")
    assert kinds >= {
        *("ImageResult", "PartialImage", "CompletedImage", "UnknownEvent", "safe"),
        *("DecodeError", "StreamInterruptedError", "StatusOutcomeUnknownError"),
        *("BadRequestError", "ModerationBlockedError", "AuthenticationError", "PermissionDeniedError"),
        *("NotFoundError", "RateLimitError", "QuotaExhaustedError", "InternalServerError"),
        *("ServerOutcomeUnknownError", "APIStatusError"),
    }
