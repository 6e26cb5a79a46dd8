"""What is wrong with a request is told before it is sent: all of it at once, and never the prompt."""

import ast
import re
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given, strategies as st

from openai_images import GenerateRequest
from openai_images.catalog.models import MODELS, find_model
from openai_images.errors import ConfigurationError, RequestInvalidError
from openai_images.models.requests import EditRequest
from openai_images.validation import context as asked_module
from openai_images.validation.context import context_from
from openai_images.validation.name_rules import is_misspelt, near_name, near_size
from openai_images.validation.validator import (
    Mode,
    Problem,
    RequestValidator,
    find_problems as problems_on,
)

TODAY = date(2026, 11, 28)
ENDS = {end for model in MODELS.values() for end in (model.ends, model.azure_ends) if end}
# Each day on which a model ends, the day before, and a year ahead.
DAYS = sorted({TODAY, *ENDS, *(end - timedelta(days=1) for end in ENDS), TODAY + timedelta(days=365)})

problems_of = partial(problems_on, today=TODAY)


def check(request: GenerateRequest, mode: Mode, *, stream: bool, **server: bool) -> list[Problem]:
    """The doubtful problems at OpenAI's own server, or at another `server`."""
    validator = RequestValidator(mode, wall=Clock(TODAY.isoformat()), **{"official": True, **server})
    return validator.check(request, stream=stream)


# Names in the tables, so that a case fits its line.
NAMES = {
    "SUN": "gpt-image-2.6-sunburst",
    "FLARE": "gpt-image-2.6-flare",
    "SUN25": "gpt-image-2.5-sunburst",
    "TWO": "gpt-image-2",
    "OLD": "gpt-image-1.5",
    "MINI": "gpt-image-1-mini",
    "CHAT": "chatgpt-image-latest",
    "LONG": "x" * 32_000,
    "TOO_LONG": "x" * 32_001,
    "GIF_SIZES": "auto, or for one gif at most 960x960 (2 to 9 frames), 816x816 (to 12) or 720x720 (to 16)",
    "PLAIN": "output_format png or webp, or no transparency",
}


class Clock:
    """A wall clock that stands on a day."""

    def __init__(self, day: str) -> None:
        """Noon of it, in UTC."""
        self.set(day)

    def set(self, day: str) -> None:
        """Go to another day."""
        self.seconds = datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()

    def __call__(self) -> float:
        """The time."""
        return self.seconds


def rows(table: str) -> list[str]:
    """The cases of a table beside this file."""
    lines = Path(__file__).with_name(f"checks_{table}.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


MISSING_MODEL = "OpenAI refuses a request without one"
VALID, INVALID, RETIRED = rows("valid"), rows("invalid"), rows("retired")


def arguments(text: str) -> dict[str, Any]:
    """A case's parameters."""
    call = ast.parse(f"dict({text})", mode="eval").body
    assert isinstance(call, ast.Call)
    return {str(word.arg): eval(ast.unparse(word.value), dict(NAMES)) for word in call.keywords}


def found(text: str, today: date = TODAY) -> list[Problem]:
    """The problems of a case on a day."""
    given = {"prompt": "an otter", "stream": False} | arguments(text)
    how = {name: given.pop(name) for name in ("stream", "official", "split") if name in given}
    problems = problems_on(GenerateRequest(given.pop("prompt"), **given), today=today, **how)
    # A row without a model is about its other parameters.
    return [problem for problem in problems if problem.message != MISSING_MODEL]


def live(today: date, parameter: str = "model", value: str | None = None) -> str:
    """The models of a day that take a parameter, or this value of it."""
    names = [name for name, model in MODELS.items() if model.ends is None or today < model.ends]
    taken = {name: MODELS[name].values.get(parameter) for name in names}
    takers = [name for name, values in taken.items() if values and value in (None, *values)]
    return ", ".join(names if parameter == "model" else takers)


def spelled(text: str, today: date = TODAY) -> str:
    """A message with the names of the tables replaced, and what is said of takers as it is on that day."""
    parameter = text.partition(":")[0]
    takers = live(today, parameter)
    or_use_takers = f", or use one of {takers}" if takers else ""
    names = NAMES | {"LIVE": live(today), ", or use one of TAKERS": or_use_takers}
    for value in re.findall(r", or '(\w+)' with TAKERS", text):
        takers = live(today, parameter, value)
        text = (
            text.replace(" with TAKERS", f" with {takers}") if takers else text.partition(", or '")[0] + ")"
        )
    return re.sub("LIVE|GIF_SIZES|PLAIN|, or use one of TAKERS", lambda match: names[match[0]], text)


def end_of(text: str) -> date | None:
    """The day on which the model of a case ends."""
    given = arguments(text)
    name = given.get("model")
    model = find_model(name)[0] if isinstance(name, str) else None
    return None if model is None else model.ends


@pytest.mark.parametrize("case", VALID)
def test_valid(case: str) -> None:
    """Nothing is told, not even as doubtful, until the day on which its model ends."""
    end = end_of(case)
    for day in DAYS:
        told = [str(problem) for problem in found(case, day)]
        if end is None or day < end:
            assert told == []
        else:
            assert told[0].startswith("model: OpenAI ended ")
            assert f" on {end} (accepted: {live(day)})" in told[0]


@pytest.mark.parametrize("case", INVALID)
def test_invalid(case: str) -> None:
    """Just this problem is told, with what would be accepted, and it is certain or not; of an ended model its end."""
    sure, text, message = case.split(" | ")
    end = end_of(text)
    for day in DAYS:
        ended = end is not None and end <= day
        problems = found(text, day)
        assert ended == any(str(problem).startswith("model: OpenAI ended ") for problem in problems)
        # Before the dall-e models ended, what they alone take was right for somebody.
        if ended == (" ended " in message) and day >= MODELS["dall-e-3"].ends:
            (problem,) = problems
            assert str(problem) == spelled(message, day)
            assert problem.certain == (sure == "certain")
            assert problem.parameter in text


@pytest.mark.parametrize("case", RETIRED)
def test_retired(case: str) -> None:
    """A server that is not OpenAI's may have them; what is known of them is told, as doubtful."""
    model, text, message = case.split(" | ")
    for day in DAYS[1:]:
        ended, problem = found(f"{text}, model={model!r}, official=False", day)
        assert (ended.parameter, str(problem)) == ("model", spelled(message, day))
        assert not ended.certain
        assert not problem.certain
        certain = [problem.parameter for problem in found(f"{text}, model={model!r}", day) if problem.certain]
        assert certain[0] == "model"


def test_there_are_enough_cases() -> None:
    """Sixty of each kind, and no case twice."""
    for cases in (VALID, INVALID):
        assert len(set(cases)) == len(cases) >= 60


EVERYTHING = {
    "n": 0,
    "size": "1000x1000",
    "quality": "xhigh",
    "background": "transparent",
    "output_format": "jpeg",
    "output_compression": 400,
    "moderation": "none",
    "partial_images": 9,
    "complexity": "high",
    "frame_count": 1,
    "frame_duration_ms": 1,
    "svg": {},
    "response_format": "url",
    "style": "vivid",
    "safety_identifier": "x" * 200,
}


def test_all_problems_at_once() -> None:
    """Each wrong parameter has a problem, and one error lists them, the certain ones first."""
    request = GenerateRequest("", model="gpt-image-2", **EVERYTHING)
    problems = problems_of(request, stream=False)
    assert {problem.parameter for problem in problems} == {"prompt", *EVERYTHING} - {"output_format"}
    with pytest.raises(RequestInvalidError) as raised:
        check(request, "warn", stream=False)
    said = str(raised.value)
    assert said.startswith("the request was not sent: prompt: it is empty (accepted: text); n: 0 is below 1")
    assert said.endswith('; validate="off" sends it anyway')
    assert all(str(problem) in said for problem in problems)
    certain, doubtful = said.split("; perhaps ", 1)
    for problem in problems:
        assert str(problem) in (certain if problem.certain else doubtful)


@pytest.mark.parametrize("model", ["gpt-image-9", "gpt-image-2-2031-01-01"])
def test_an_unknown_model_has_a_way_through(model: str) -> None:
    """On the day a model comes out nothing about it is certain, and `warn` lets everything pass."""
    request = GenerateRequest("", model=model, **EVERYTHING)
    problems = check(request, "warn", stream=True)
    assert not any(problem.certain for problem in problems)
    assert problems[0].parameter == "model"
    with pytest.raises(RequestInvalidError, match="not sent: perhaps model: "):
        check(request, "strict", stream=True)


def test_another_server_has_a_way_through() -> None:
    """Whatever OpenAI's would refuse, another server may take."""
    for model in (None, *MODELS, "flux"):
        request = GenerateRequest("", model=model, **EVERYTHING)
        for stream in (False, True):
            assert not any(
                problem.certain for problem in check(request, "warn", stream=stream, official=False)
            )


GOOD, DOUBTFUL, BAD = (
    GenerateRequest("an otter", quality=quality, model="gpt-image-2") for quality in ("low", "ultra", "max")
)


@pytest.mark.parametrize(
    ("mode", "request_", "outcome"),
    [
        ("strict", GOOD, []),
        ("strict", DOUBTFUL, None),
        ("strict", BAD, None),
        ("warn", GOOD, []),
        ("warn", DOUBTFUL, ["quality"]),
        ("warn", BAD, None),
        ("off", GOOD, []),
        ("off", DOUBTFUL, []),
        ("off", BAD, []),
    ],
)
def test_the_modes(mode: Mode, request_: GenerateRequest, outcome: list[str] | None) -> None:
    """Strict raises for all, warn raises for the certain ones and returns the others, off does neither."""
    if outcome is None:
        with pytest.raises(RequestInvalidError, match=r"not sent: (perhaps )?quality: "):
            check(request_, mode, stream=False)
    else:
        assert [problem.parameter for problem in check(request_, mode, stream=False)] == outcome


def test_the_message_of_a_doubt() -> None:
    """A doubt is told as one, with the way to send it all the same."""
    with pytest.raises(RequestInvalidError) as raised:
        check(DOUBTFUL, "strict", stream=False)
    assert str(raised.value) == (
        "the request was not sent: perhaps quality: 'ultra' is not known to this version "
        '(accepted: auto, low, medium, high); validate="off" sends it anyway'
    )


def test_another_mode() -> None:
    """It is refused, and the modes are named; the known ones are those of the type."""
    with pytest.raises(
        ConfigurationError, match=r"^validate='Warn' is not known: it must be one of strict, warn, off$"
    ):
        check(GOOD, "Warn", stream=False)  # type: ignore[arg-type]  callers may be untyped
    for mode in get_args(Mode):
        assert check(GOOD, mode, stream=False) == []


def test_split_and_official_reach_the_rules() -> None:
    """`check` hands on what it is told."""
    request = GenerateRequest("an otter", n=23, model="dall-e-3")
    doubtful = [
        [problem.parameter for problem in check(request, "warn", stream=False, official=False, split=split)]
        for split in (False, True)
    ]
    assert doubtful == [["model", "n"], ["model"]]
    request = GenerateRequest("an otter", n=23, model="gpt-image-2")
    assert check(request, "strict", stream=True, split=True) == []


PARAMETERS = sorted({*EVERYTHING, "model", "user"} - {"svg"})
PROMPTS = st.one_of(
    st.text(alphabet="\N{OTTER}\N{SNOWMAN}'\\\n;", min_size=4),
    st.sampled_from(["a_very_secret_otter", "secret:otter", "an otter\nof the sea", "otter" * 9000]),
)


@given(PROMPTS, st.sets(st.sampled_from(PARAMETERS)), st.booleans(), st.booleans())
def test_no_message_has_the_prompt(prompt: str, mistaken: set[str], stream: bool, official: bool) -> None:
    """Not even where it was given as something else as well, by mistake."""
    given_as = dict.fromkeys(mistaken, prompt)
    svg = {"model": prompt, "reasoning": {"effort": prompt}}
    request = GenerateRequest(prompt, svg=svg, extra_body={"x": prompt}, **given_as)
    problems = problems_of(request, stream=stream, official=official)
    assert {problem.parameter for problem in problems} >= mistaken & {"n", "frame_count"}
    for problem in problems:
        assert prompt not in str(problem)
        assert repr(prompt)[1:-1] not in str(problem)


def test_nothing_is_shown_of_what_is_asked() -> None:
    """The repr of what the rules see has names only."""
    request = GenerateRequest("an otter", user="x")
    asked = context_from(request, stream=False, official=True, split=False, today=TODAY)
    assert "values=<prompt, user, stream>" in repr(asked)
    assert "otter" not in repr(asked)


def test_every_parameter_has_a_type() -> None:
    """A new field of a request must get one, or it would never be looked at."""
    fields = {field.name for field in attrs.fields(GenerateRequest)}
    pictures = {"image", "mask", "markup", "as_json"}
    edits = {field.name for field in attrs.fields(EditRequest)} - fields - pictures
    assert fields | edits == asked_module._TYPES.keys()
    for name in fields - {"prompt"}:
        (problem,) = problems_of(GenerateRequest("x", **{name: object()}), stream=True, official=False)
        assert (problem.parameter, problem.message, problem.certain) == (name, "it is of type object", True)


def test_a_request_is_not_changed() -> None:
    """Checking the same request twice tells the same."""
    request = GenerateRequest("", model="gpt-image-2", **EVERYTHING)
    before = repr(request)
    assert problems_of(request, stream=False) == problems_of(request, stream=False)
    assert repr(request) == before


def test_a_checker_judges_a_shape_once_and_forgets_nothing() -> None:
    """What was good once is good for other prompts; what differs in anything else is judged anew."""
    checker = RequestValidator("warn", official=True, wall=Clock(TODAY.isoformat()))
    good = GenerateRequest("a heron", model="gpt-image-2", n=1)
    assert checker(good, stream=False) == []
    assert checker(GenerateRequest("an otter", model="gpt-image-2", n=1), stream=False) == []
    for wrong in (
        GenerateRequest("a heron", model="gpt-image-2", n=True),
        GenerateRequest("a heron", model="gpt-image-2", n=1, size="7x7"),
        GenerateRequest("", model="gpt-image-2", n=1),
        GenerateRequest("x" * 32_001, model="gpt-image-2", n=1),
    ):
        for _ in range(2):
            with pytest.raises(RequestInvalidError):
                checker(wrong, stream=False)
    with pytest.raises(RequestInvalidError):
        checker(attrs.evolve(good, partial_images=1), stream=False)
    assert checker(attrs.evolve(good, partial_images=1), stream=True) == []


def test_a_checker_tells_what_is_doubtful_once() -> None:
    """However often it is asked."""
    checker = RequestValidator("warn", official=True, wall=Clock(TODAY.isoformat()))
    told = [checker(GenerateRequest(f"heron {n}", model="brand-new"), stream=False) for n in range(3)]
    assert len(told[0]) == 1
    assert told[1:] == [[], []]


SNAPSHOT = "gpt-image-1.5-2025-12-16"


@pytest.mark.parametrize(
    ("model", "azure", "day", "told"),
    [
        ("gpt-image-1.5", False, "2026-10-31", None),
        ("gpt-image-1.5", False, "2026-11-01", "OpenAI ends gpt-image-1.5 on 2026-12-01"),
        (SNAPSHOT, False, "2026-11-30", "OpenAI ends gpt-image-1.5 on 2026-12-01"),
        ("gpt-image-1-mini", False, "2026-11-28", "OpenAI ends gpt-image-1-mini on 2026-12-01"),
        ("chatgpt-image-latest", False, "2026-11-28", "OpenAI ends chatgpt-image-latest on 2026-12-01"),
        ("gpt-image-1.5", True, "2026-11-15", None),
        ("gpt-image-1.5", True, "2026-12-15", "Azure ends gpt-image-1.5 on 2026-12-16"),
        ("gpt-image-1.5", True, "2026-12-16", None),
        ("gpt-image-1-mini", True, "2026-11-28", "OpenAI ends gpt-image-1-mini on 2026-12-01"),
        ("gpt-image-1.5", False, "2026-12-01", None),
        ("gpt-image-2", False, "2026-11-28", None),
        ("gpt-image-9", False, "2026-11-28", None),
        (None, False, "2026-11-28", None),
    ],
)
def test_an_end_is_announced(model: str | None, azure: bool, day: str, told: str | None) -> None:
    """From 30 days before, by the clock and with the replacement, once for each model; never with "off"."""
    for mode in get_args(Mode):
        checker = RequestValidator(mode, official=not azure, azure=azure, wall=Clock(day))
        notices = [checker.ending(GenerateRequest("a heron", model=model)) for _ in range(2)]
        wanted = [] if told is None or mode == "off" else [told]
        replacement = "use gpt-image-2.6-sunburst or gpt-image-2.6-flare in its place"
        assert notices == [[f"{one}: {replacement}" for one in wanted], []]


def test_each_model_is_announced_once() -> None:
    """Its snapshot is the same model; one that `extra_body` replaces is none."""
    checker = RequestValidator("warn", official=True, wall=Clock("2026-11-28"))
    names = ("gpt-image-1.5", "gpt-image-1-mini", SNAPSHOT, "gpt-image-1-mini")
    told = [checker.ending(GenerateRequest("a heron", model=name)) for name in names]
    assert [len(notices) for notices in told] == [1, 1, 0, 0]
    replaced = GenerateRequest("a heron", model="chatgpt-image-latest", extra_body={"model": "mine"})
    assert checker.ending(replaced) == []


@pytest.mark.parametrize("name", ["gpt-image-1.5", SNAPSHOT])
def test_a_checker_sees_a_model_end(name: str) -> None:
    """A client that lives over midnight refuses what it let pass before, and says until when it was there."""
    clock = Clock("2026-11-30")
    checker = RequestValidator("warn", official=True, wall=clock)
    request = GenerateRequest("a heron", model=name)
    assert checker(request, stream=False) == []
    clock.set("2026-12-01")
    with pytest.raises(RequestInvalidError, match=f"OpenAI ended '{name}' on 2026-12-01"):
        checker(request, stream=False)
    with pytest.raises(RequestInvalidError, match=r"accepted: gpt-image-2\.6-sunburst, .*gpt-image-2\)"):
        checker(request, stream=True)


def test_azure_ends_a_model_on_its_own_day() -> None:
    """Until then nothing is told, then it is doubtful: a deployment may have the name of another model."""
    request = GenerateRequest("a heron", model="gpt-image-1.5")
    for day, told in (("2026-12-15", []), ("2026-12-16", ["Azure ended 'gpt-image-1.5' on 2026-12-16"])):
        (*problems,) = problems_on(
            request, stream=False, today=date.fromisoformat(day), official=False, azure=True
        )
        assert [problem.message for problem in problems] == told
        assert not any(problem.certain for problem in problems)


@pytest.mark.parametrize("request_", [GenerateRequest("a heron"), EditRequest("a heron", image=b"p")])
def test_a_request_without_a_model(request_: GenerateRequest) -> None:
    """OpenAI refuses it, so it is not sent there, and the message names one to write; another server is asked."""
    with pytest.raises(RequestInvalidError, match=r'such as model="gpt-image-2"'):
        check(request_, "warn", stream=False)
    assert check(request_, "strict", stream=False, official=False) == []
    assert check(attrs.evolve(request_, extra_body={"model": "mine"}), "strict", stream=False) == []
    assert check(request_, "off", stream=False) == []


@pytest.mark.parametrize(
    ("text", "name", "certain"),
    [
        ("hihg", "high", True),
        ("hgh", "high", True),
        ("hiigh", "high", True),
        ("HIGH", "high", True),
        ("x-high", "xhigh", True),
        ("hig", "high", False),
        ("hugh", "high", False),
        ("ehigh", "high", False),
        ("gpt-image-25-flare", "gpt-image-2.5-flare", True),
        ("gpt-image-2.6-flare", "gpt-image-2.5-flare", False),
    ],
)
def test_what_is_certainly_misspelt(text: str, name: str, certain: bool) -> None:
    """Other case or separators, letters exchanged, doubled or left out; never what new names are made by."""
    assert is_misspelt(text, name) == certain


@given(st.text(max_size=90), st.sampled_from([*MODELS, "high", "auto", "1024x1024"]))
def test_any_text_has_an_answer(text: str, name: str) -> None:
    """A name is near itself, and what is near is one of those that there are."""
    assert near_name(name, (name,)) == name
    assert is_misspelt(name, name)
    assert near_name(text, (name,)) in (None, name)
    assert is_misspelt(text, name) in (True, False)
    assert len(near_size(text)) == 2
