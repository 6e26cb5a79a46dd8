"""What is wrong with a request is told before it is sent: all of it at once, and never the prompt."""

import ast
import re
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given, strategies as st

from openai_images.errors import ConfigurationError, RequestInvalidError
from openai_images.models import GenerateRequest, asked as asked_module
from openai_images.models.asked import asked_of
from openai_images.models.catalogue import MODELS, live_models
from openai_images.models.checks import Checker, Mode, Problem, check, problems_of
from openai_images.models.edits import EditRequest

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
    "LIVE": ", ".join(live_models()),
    "GIF_SIZES": "auto, or for one gif at most 960x960 (2 to 9 frames), 816x816 (to 12) or 720x720 (to 16)",
    "PLAIN": "output_format png or webp, or no transparency",
}


def rows(table: str) -> list[str]:
    """The cases of a table beside this file."""
    lines = Path(__file__).with_name(f"checks_{table}.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


VALID, INVALID, RETIRED = rows("valid"), rows("invalid"), rows("retired")


def arguments(text: str) -> dict[str, Any]:
    """A case's parameters."""
    call = ast.parse(f"dict({text})", mode="eval").body
    assert isinstance(call, ast.Call)
    return {str(word.arg): eval(ast.unparse(word.value), dict(NAMES)) for word in call.keywords}


def found(text: str) -> list[Problem]:
    """The problems of a case."""
    given = {"prompt": "an otter", "stream": False} | arguments(text)
    how = {name: given.pop(name) for name in ("stream", "official", "split") if name in given}
    return problems_of(GenerateRequest(given.pop("prompt"), **given), **how)


def spelled(text: str) -> str:
    """A message with the names of the tables replaced."""
    return re.sub("LIVE|GIF_SIZES|PLAIN", lambda match: NAMES[match[0]], text)


@pytest.mark.parametrize("case", VALID)
def test_valid(case: str) -> None:
    """Nothing is told, not even as doubtful."""
    assert found(case) == []


@pytest.mark.parametrize("case", INVALID)
def test_invalid(case: str) -> None:
    """Just this problem is told, with what would be accepted, and it is certain or not."""
    sure, text, message = case.split(" | ")
    (problem,) = found(text)
    assert str(problem) == spelled(message)
    assert problem.certain == (sure == "certain")
    assert problem.parameter in text


@pytest.mark.parametrize("case", RETIRED)
def test_retired(case: str) -> None:
    """A server that is not OpenAI's may have them; what is known of them is told, as doubtful."""
    model, text, message = case.split(" | ")
    ended, problem = found(f"{text}, model={model!r}, official=False")
    assert (ended.parameter, str(problem)) == ("model", spelled(message))
    assert not ended.certain
    assert not problem.certain
    certain = [problem.parameter for problem in found(f"{text}, model={model!r}") if problem.certain]
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
    assert said.endswith('; validate="off" sends it as it is')
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
        '(accepted: auto, low, medium, high); validate="off" sends it as it is'
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
    asked = asked_of(GenerateRequest("an otter", user="x"), stream=False, official=True, split=False)
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
    checker = Checker("warn", official=True)
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
    checker = Checker("warn", official=True)
    told = [checker(GenerateRequest(f"heron {n}", model="brand-new"), stream=False) for n in range(3)]
    assert len(told[0]) == 1
    assert told[1:] == [[], []]
