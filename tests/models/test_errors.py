"""The tree of errors: its shape, and that each of them travels between processes with all it carries."""

import copy
import pickle
from typing import Any

import pytest

from openai_images import errors
from openai_images.models.image import Image
from openai_images.models.results import PartialImage

IMAGE = Image.from_bytes(b"\x89PNG\r\n\x1a\n")
CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.ImagesError)
]
NAMES = {cls.__name__ for cls in CLASSES}
KEYWORDS: dict[type, dict[str, Any]] = {
    errors.APIStatusError: {
        "status_code": 429, "code": "c", "type": "t", "param": "p", "request_id": "req_7", "body": {"a": [1]}
    },
    errors.APITimeoutError: {"timer": "idle", "seconds": 1.5},
    errors.BatchInputError: {"problems": ["line 3: no prompt"]},
    errors.DownloadError: {"url": "http://x/a.png"},
    errors.PartialResultError: {"result": IMAGE, "errors": [errors.ImagesError("one")]},
}  # fmt: skip

DEFAULTS: dict[str, Any] = {
    "status_code": 0, "code": None, "type": None, "param": None, "body": None, "retry_after": None,
    "timer": "", "seconds": 0.0, "problems": (), "url": None, "urls": (), "response": None, "result": None,
    "errors": (), "categories": (), "stage": "unknown",
}  # fmt: skip


def made(kind: type[errors.ImagesError]) -> errors.ImagesError:
    """One of this class, with all its keywords and what a call fills in."""
    keywords = next((words for base, words in KEYWORDS.items() if issubclass(kind, base)), {})
    error = kind("what happened", **keywords)
    facts = {"attempts": 3, "elapsed": 1.25, "partials": (PartialImage(image=IMAGE),), "images": (IMAGE,)}
    return errors.annotate(error, facts)


def drawn() -> dict[str, str]:
    """Each class in the drawing at the head of the module, with the class it hangs from."""
    parents: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        name = line.strip(" \u2502\u251c\u2500\u2514").partition(" ")[0]
        if name in NAMES:
            depth = line.index(name)
            parents[name] = next((above[at] for at in sorted(above, reverse=True) if at < depth), "Exception")
            above = {at: other for at, other in above.items() if at < depth} | {depth: name}
    return parents


def test_the_tree_is_as_drawn() -> None:
    """Each class hangs where the drawing shows it; the classes of unknown outcome are second bases."""
    tree = drawn()
    for name, parent in tree.items():
        bases = [base.__name__ for base in getattr(errors, name).__bases__]
        assert parent in bases or (bases == ["OutcomeUnknownError"] and parent == "ImagesError"), name
    both = {cls.__name__ for cls in CLASSES if issubclass(cls, errors.OutcomeUnknownError)} - {
        "OutcomeUnknownError"
    }
    assert {"StreamInterruptedError", "DecodeError", "ResponseTooLargeError"} <= both
    assert tree.keys() | both == NAMES


@pytest.mark.parametrize("kind", CLASSES)
def test_one_root(kind: type[errors.ImagesError]) -> None:
    """Everything is an `ImagesError`, has a docstring, and says whether it may have cost money."""
    assert issubclass(kind, errors.ImagesError)
    assert kind.__doc__
    error = made(kind)
    assert error.maybe_billed == isinstance(error, errors.OutcomeUnknownError | errors.DownloadError)
    not_sent = (errors.SharedLimitError, errors.StoppedBeforeSendError)
    assert error.safe_to_resend is (kind in not_sent)


def test_what_people_may_catch_by_other_names() -> None:
    """A time-out is Python's own, too; quota is not a rate; each unknown outcome has its concrete class."""
    assert issubclass(errors.APITimeoutError, TimeoutError)
    assert not issubclass(errors.QuotaExhaustedError, errors.RateLimitError)
    assert issubclass(errors.TimeoutOutcomeUnknownError, errors.APITimeoutError)
    assert issubclass(errors.ConnectionOutcomeUnknownError, errors.APIConnectionError)
    assert issubclass(errors.ServerOutcomeUnknownError, errors.InternalServerError)
    assert issubclass(errors.StatusOutcomeUnknownError, errors.APIStatusError)


def plain(value: Any) -> Any:
    """A value that can be compared: exceptions by class and state."""
    if isinstance(value, BaseException):
        return type(value), value.args, {name: plain(item) for name, item in vars(value).items()}
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("kind", CLASSES)
def test_pickling_and_copying(kind: type[errors.ImagesError]) -> None:
    """Class, text and every attribute survive, in every protocol."""
    error = made(kind)
    if isinstance(error, errors.APIStatusError):
        error.retry_after, error.safe_to_resend, error.reason = 12.5, True, "slow down"
    if isinstance(error, errors.ModerationBlockedError):
        error.categories, error.stage = ("violence",), "output"
    error.add_note("a note")
    others = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for other in (*others, copy.copy(error), copy.deepcopy(error)):
        assert plain(other) == plain(error)
        assert str(other) == "what happened"
        assert other.attempts == 3


def test_its_text_has_the_name_of_the_official_package() -> None:
    """A handler that was written for that one must not fail in turn."""
    assert errors.ImagesError("what happened").message == "what happened"


@pytest.mark.parametrize("kind", CLASSES)
def test_a_plain_one_has_its_defaults(kind: type[errors.ImagesError]) -> None:
    """What a call has not filled in is there all the same."""
    keywords = next((words for base, words in KEYWORDS.items() if issubclass(kind, base)), {})
    error = kind("what happened", **keywords)
    assert (error.attempts, error.elapsed, error.partials, error.images) == (0, 0.0, (), ())
    assert error.request_id == keywords.get("request_id")
    assert str(error) == "what happened"
    for name, value in keywords.items():
        assert getattr(error, name) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_can_be_made_again_from_its_arguments_alone(kind: type[errors.ImagesError]) -> None:
    """Celery's JSON serializer keeps the class and `args`: the class and the text come back, the rest has defaults."""
    again = kind(*made(kind).args)
    assert (type(again), str(again), again.args) == (kind, "what happened", ("what happened",))
    assert isinstance(pickle.loads(pickle.dumps(again)), kind)
    for name, default in DEFAULTS.items():
        assert getattr(again, name, default) in (default, None)
    assert (again.attempts, again.elapsed, again.request_id) == (0, 0.0, None)
