"""From status and body to exception, row by row; and what no exception repeats."""

import html
import json
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from openai_images import errors
from openai_images.wire.error_mapping import (
    LONGEST_REASON,
    ResponseContext,
    error_from_body,
    error_from_document,
)
from openai_images.wire.redaction import Redaction, redact

KEY = "sk-sentinel-0123456789"
PROMPT = 'a sentinel otter with "quotes",\na line end, \u00e9 and a \\ backslash'
BASE64 = "iVBORw0KGgo/+AAA" * 12


def rows() -> dict[str, tuple[ResponseContext, bytes, list[str]]]:
    """Title, status and headers, body, and what must come of them."""
    found: dict[str, tuple[ResponseContext, bytes, list[str]]] = {}
    for line in (Path(__file__).parent / "error_mapping.txt").read_text().splitlines():
        mark, text = line[:1], line[2:]
        if mark == "=":
            title = text
        elif mark == "<":
            start, _, body = text.partition("|")
            status, *headers = start.split()
            pairs = dict(header.split("=", 1) for header in headers)
            answered = ResponseContext(int(status), {**pairs, "x-request-id": "req_7"}, (KEY, PROMPT))
            found[title] = (answered, body.strip().encode().replace(b"\\r\\n", b"\r\n"), [])
        elif mark == ">":
            found[title][2].extend(text.split(" | "))
    return found


ROWS = rows()


@pytest.mark.parametrize("title", ROWS)
def test_a_refusal(title: str) -> None:
    """Class, code, parameter, whether it may be sent again and when are those of the table."""
    answered, body, expected = ROWS[title]
    error = error_from_body(answered, body)
    wait = error.retry_after
    assert [
        type(error).__name__,
        error.code or "-",
        error.param or "-",
        "yes" if error.safe_to_resend else "no",
        "-" if wait is None else f"{wait:g}",
    ] == expected
    assert (error.status_code, error.request_id) == (answered.status, "req_7")
    assert str(error).startswith(f"the server answered {answered.status}")
    assert str(error).endswith("request req_7")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert not (error.safe_to_resend and error.maybe_billed)


def verdicts() -> list[tuple[str, str, str, str]]:
    """Class, wait, status with headers, and body, of each line of the table."""
    lines = (Path(__file__).parent / "verdicts.txt").read_text(encoding="utf-8").splitlines()
    parts = (line.split(" | ", 3) for line in lines if line and not line.startswith("#"))
    return [(kind, wait, start, body) for kind, wait, start, body in parts]


@pytest.mark.parametrize(("kind", "wait", "start", "body"), verdicts())
def test_what_a_refusal_is_about(kind: str, wait: str, start: str, body: str) -> None:
    """Money, a rate, the account or the prompt: as the table says, also as an error event, and behind a relay."""
    status, *headers = start.split()
    pairs = dict(header.split("=", 1) for header in headers)
    doc = json.loads(body) if body[0] in "{[" else {"error": {"message": body}}
    raw = {"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps(doc)}}}
    for said in (doc, raw):
        error = error_from_document(ResponseContext(int(status), pairs, now=1_795_348_800.0), said)
        assert type(error).__name__ == kind
        assert ("-" if error.retry_after is None else f"{error.retry_after:g}") == wait
        assert error.safe_to_resend == (kind == "RateLimitError")


@pytest.mark.parametrize(
    "words", ["insufficient balance", "blocked by our content policy", "try again in 9s"]
)
def test_the_words_of_the_prompt_decide_nothing(words: str) -> None:
    """A server that repeats the prompt in its reason says it of something else."""
    prompt = f"a neon sign that says: {words}"
    error = refused({"error": {"message": f"This cannot be painted: {prompt}"}}, 400, (prompt,))
    assert (type(error), error.retry_after) == (errors.BadRequestError, None)
    own = refused({"error": {"message": f"No: {words}"}}, 400, (prompt,))
    assert (type(own), own.retry_after) != (errors.BadRequestError, None)


def test_what_openrouter_repeats_of_the_prompt_is_hidden() -> None:
    """It is cut in its middle, so that it cannot be found by its text; the reasons are the categories."""
    metadata = {
        "reasons": ["violence", "sexual"],
        "flagged_input": "a sentinel ...a lake",
        "provider_name": "x",
    }
    doc = {"error": {"code": 403, "message": "Your input was flagged", "metadata": metadata}}
    error = refused(doc, 403)
    assert isinstance(error, errors.ModerationBlockedError)
    assert error.categories == ("violence", "sexual")
    assert "sentinel" not in everything(error)


@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (405, b'{"detail":"Method Not Allowed"}', True),
        (405, b"", True),
        (405, b"<html><title>405 Not Allowed</title>", True),
        (404, b"<!DOCTYPE html><title>Not found</title>", True),
        (400, b"<html><title>400 The plain HTTP request was sent to HTTPS port</title>", True),
        (403, b"<html><title>Just a moment...</title>", True),
        (404, b'{"detail":"Not Found"}', True),
        (400, b'{"error":{"message":"Bad"}}', False),
        (502, b"<html><title>502 Bad Gateway</title>", False),
    ],
)
def test_an_answer_of_somebody_else_hints_at_the_address(status: int, body: bytes, hint: bool) -> None:
    """A page, or a path that takes no POST, is the server's web site, and not its API."""
    error = error_from_body(ResponseContext(status, {}), body)
    assert ("base_url" in str(error)) is hint


def test_a_bom_and_bytes_that_are_no_text() -> None:
    """A BOM, white space and stray bytes around the body change neither class nor code."""
    for answered, body, _ in ROWS.values():
        plain = error_from_body(answered, body)
        for other in (b"\xef\xbb\xbf" + body, b" \r\n" + body + b"\n", body.replace(b".", b"\xff.")):
            error = error_from_body(answered, other)
            assert (type(error), error.code) == (type(plain), plain.code)
            assert error.safe_to_resend == plain.safe_to_resend


def refused(doc: Any, status: int = 400, secrets: tuple[str, ...] = (KEY, PROMPT)) -> errors.APIStatusError:
    """The exception for a JSON body."""
    return error_from_body(ResponseContext(status, {}, secrets), json.dumps(doc).encode())


@pytest.mark.parametrize(
    ("error", "categories", "stage"),
    [
        ({"moderation_details": {"moderation_stage": "input", "categories": ["a", "b"]}}, ("a", "b"), "input"),
        ({"moderation_details": {"moderation_stage": "output", "categories": []}}, (), "output"),
        ({"moderation_details": {"moderation_stage": None, "categories": None}}, (), "unknown"),
        ({"moderation_details": {"moderation_stage": ["input"], "categories": "violence"}}, ("violence",), "unknown"),
        ({"moderation_details": {"categories": [None, 5, {}, ""]}}, ("5",), "unknown"),
        ({"moderation_details": ["violence"]}, (), "unknown"),
        ({"moderation_details": {"categories": 7}}, ("7",), "unknown"),
        ({"message": "Rejected. safety_violations=[sexual, violence]."}, ("sexual", "violence"), "unknown"),
        ({"message": "Rejected. safety_violations=[]."}, (), "unknown"),
        ({"innererror": {"content_filter_result": {"a": {"filtered": True}, "b": {}}}}, ("a",), "unknown"),
        ({"innererror": {"content_filter_results": [1], "content_filter_result": {"hate": 1}}}, (), "unknown"),
    ],
)  # fmt: skip
def test_moderation_says_what_and_when(
    error: dict[str, Any], categories: tuple[str, ...], stage: str
) -> None:
    """Categories and stage are read from every shape, and are empty or unknown where there are none."""
    blocked = refused({"error": {"code": "moderation_blocked", **error}})
    assert isinstance(blocked, errors.ModerationBlockedError)
    assert (blocked.categories, blocked.stage) == (categories, stage)


@pytest.mark.parametrize(
    ("doc", "said"),
    [
        ({"error": {"message": "Bad."}}, ": Bad;"),
        ({"error": {"msg": "Bad"}}, ": Bad;"),
        ({"error": {}}, ": no reason was given;"),
        ({"error": []}, ": no reason was given;"),
        ({"error": 5}, ": no reason was given;"),
        ({"error": ["one", 2, "three"]}, ": one; three;"),
        ({"error": "Internal Server Error", "message": ""}, ": Internal Server Error;"),
        ({"title": "Problem", "detail": "Details"}, ": Problem;"),
        ({"detail": [{"loc": ["body", 0], "msg": "wrong"}, "and more", 5, {"loc": 7}]}, ": body.0: wrong; and more;"),
        ({"detail": [{"msg": "wrong"}]}, ": wrong;"),
        ({"detail": {"detail": {"detail": {"detail": {"detail": "deep"}}}}}, ": deep;"),
        ({"detail": {"reason": "closed"}}, ": closed;"),
        ({"errors": {"prompt": ["required"]}}, ": prompt: required;"),
        ({"errors": {"prompt": ["a", "b"], "n": "high", "x": 5, "y": {}}}, ": prompt: a; b; n: high; x: 5;"),
        ({"errors": {"message": "Bad", "code": "b"}}, " (b): Bad;"),
        ({"errors": ["one", "two"]}, ": one; two;"),
        ({"errors": "one"}, ": one;"),
        ({"errors": [["one"], None, "two"]}, ": two;"),
        ({"errors": [{"message": "one", "code": "a"}, {"message": "two", "code": "b"}]}, " (a): one; two;"),
        ({"message": "Error", "errors": [{"message": "one", "code": "a"}]}, " (a): one;"),
        ({"message": "Validation failed", "errors": [{"detail": "no size"}]}, ": no size;"),
        ({"statusCode": 400, "message": ["n is high", "no size"], "error": "Bad Request"}, ": n is high; no size;"),
        ({"success": False, "errors": [{"code": 10000, "message": "No key"}], "messages": []}, " (10000): No key;"),
        ([{"message": "one"}, {"message": "two"}], ": one; two;"),
        # As deep as a gateway puts it, by whatever name.
        ({"error": {"message": "Provider returned error", "metadata": {"raw": "Too hot"}}}, ": Too hot;"),
        ({"error": {"message": "Bad", "metadata": {"raw": json.dumps({"a": 1})}}}, ": Bad;"),
        ({"error": {"message": "x", "cause": {"message": "y", "cause": {"message": "z", "code": "c"}}}}, " (c): z;"),
        ({"message": "It failed", "wrapper": {"payload": {"message": "hello"}}}, ": It failed;"),
        ({"message": "Upstream request failed", "a": {"b": {"message": "Small", "code": "c"}}}, " (c): Small;"),
        ({"Response": {"Error": {"Code": "AuthFailure", "Message": "No."}, "RequestId": "x"}}, " (AuthFailure): No;"),
        ({"base_resp": {"status_code": 1026, "status_msg": "Too rude"}}, " (1026): Too rude;"),
        ({"fault": {"faultstring": "Too many", "detail": {"errorcode": "policies.x"}}}, " (policies.x): Too many;"),
        ({"error": {"message": "Real", "details": [{"@type": "t/x.Help", "message": "See"}]}}, ": Real;"),
        ({"error": {"message": "Real", "help": {"message": "See"}, "input": {"message": "draw"}}}, ": Real;"),
        ({"error": "no_such_size", "message": "Ask for another"}, " (no_such_size): Ask for another;"),
        ({"error": "Forbidden", "detail": "Not for this key"}, ": Not for this key;"),
        ({"message": f"400: {json.dumps({'type': 'error', 'error': {'type': 't', 'message': 'In'}})}"}, " (t): In;"),
        ({"message": 'Bad: {"prompt": "x", "message": "draw"}'}, ': Bad: {"prompt": "x", "message": "draw"};'),
        ({"errors": []}, ": no reason was given;"),
        ({"error": {"message": "Bad", "code": True, "param": 0}}, " (parameter '0'): Bad;"),
        ("words", ': "words";'),
        ([], ": no reason was given;"),
        (["words"], ": words;"),
    ],
)  # fmt: skip
def test_the_reason_is_found(doc: Any, said: str) -> None:
    """The text says what the server said, in whatever shape."""
    assert said in f"{refused(doc)};"


def nested(levels: int, as_text: int) -> Any:
    """An error this deep, some of it as JSON in a text."""
    doc: Any = {
        "error": {"message": "Your request was rejected.", "code": "moderation_blocked", "param": "prompt"}
    }
    for level in range(levels):
        inner = json.dumps(doc, indent=level) if level < as_text else doc
        doc = {"error": {"message": "Bad Gateway", "code": 502, "metadata": {"raw": inner, "name": "x"}}}
    return doc


@pytest.mark.parametrize(("levels", "as_text"), [(0, 0), (1, 0), (1, 1), (3, 0), (3, 1), (3, 3)])
def test_the_innermost_error_counts_however_deep_it_is(levels: int, as_text: int) -> None:
    """Code, parameter, message and class are its own, through objects and through JSON in texts."""
    error = refused(nested(levels, as_text), 502)
    assert type(error) is errors.ModerationBlockedError
    assert (error.code, error.param, error.reason) == (
        "moderation_blocked",
        "prompt",
        "Your request was rejected.",
    )


def test_what_is_read_of_an_error_is_bounded() -> None:
    """A server that makes any list long, or anything deep, costs no time; its error has its class."""
    begun = time.process_time()
    item = {"message": "no", "code": "c"}
    wide = {"errors": [item] * 100_000, **{f"k{at}": [item] * 1000 for at in range(1000)}}
    for piece in (
        "no ",
        "credits a ",
        "exceeded a ",
        "your account a ",
        "n't have a ",
        "/ ",
        "\u4f59\u989d",
        "0",
    ):
        error_from_document(ResponseContext(429, {}), {"error": {"message": piece * 100_000}})
    texts = {"error": {"message": '{"error"' * 100_000, "raw": '{"error": ' * 50_000, "msg": "{" * 500_000}}
    deep: Any = item
    for _ in range(5):
        deep = {f"error{at}": deep for at in range(30)}
    for doc in (wide, texts, deep, nested(400, 0), nested(9, 9)):
        error = error_from_document(ResponseContext(400, {}), doc)
        assert isinstance(error, errors.APIStatusError)
        assert len(str(error)) < 1500
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "nothing more was said"),
        (b"<html><title> 502\n  Bad Gateway </title>", 'an HTML page ("502 Bad Gateway")'),
        (b"<html><title></title>", "an HTML page"),
        (b"<!DOCTYPE html><p>Sorry", "an HTML page"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"error"', '{"error"'),
        (b'sorry {"error": nothing', 'sorry {"error": nothing'),
        (b"[" * 5000, "[" * 100),
        (b'{"error":' * 100_000 + b"1" + b"}" * 100_000, '{"error":{"error"'),
        (b'{"error":{"message":"' + b"long " * 1000 + b'"}}', "long long \u2026"),
        (b"words " * 1000, "words \u2026"),
    ],
)
def test_odd_bodies(body: bytes, said: str) -> None:
    """Pages, words and nothing give a text that can be read, with the advice still at its end."""
    error = error_from_body(ResponseContext(500, {"x-request-id": "req_7"}), body)
    assert said.rstrip("\u2026") in str(error)
    assert ("\u2026" in str(error)) == (len(body) > 1500)
    assert str(error).endswith("it may have been billed, so it was not sent again; request req_7")
    assert len(str(error)) < 1200


def test_the_text_says_what_to_do() -> None:
    """The name of the code and the parameter, the reason, and the advice for the class."""
    doc = {
        "error": {"message": "No such size.", "code": "invalid_value", "type": "user_error", "param": "size"}
    }
    assert str(refused(doc)) == "the server answered 400 (invalid_value, parameter 'size'): No such size"
    assert "check the key (api_key, OPENAI_API_KEY or AZURE_OPENAI_API_KEY)" in str(refused({}, 401))
    assert "check the model's name and base_url (most end in /v1" in str(refused({}, 404))
    assert "waiting does not help" in str(refused({"error": {"code": "insufficient_quota"}}, 429))
    assert "change the prompt" in str(refused({"error": {"code": "moderation_blocked"}}))
    redirect = error_from_body(ResponseContext(308, {"location": f"https://x.example/{KEY}"}, (KEY,)), b"")
    assert "base_url to where it points (https://x.example/<hidden>)" in str(redirect)


def everything(error: errors.APIStatusError) -> str:
    """All that an exception shows."""
    return " ".join(map(str, (error, repr(error), error.args, vars(error), pickle.dumps(error))))


ECHOES = [
    PROMPT,
    KEY,
    json.dumps(PROMPT),
    json.dumps(PROMPT, ensure_ascii=False),
    repr({"prompt": PROMPT}),
    " ".join(PROMPT.split()),
    PROMPT.replace("\n", "\r\n"),
    f"Bearer {KEY}, and the prompt {PROMPT!s}, twice: {PROMPT}",
    BASE64,
    BASE64.replace("/", "\\/"),
    BASE64.replace("+", "\\u002B"),
    "\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76)),
    "\\n".join(BASE64[at : at + 76] for at in range(0, len(BASE64), 76)),
    f"data:image/png;base64,{BASE64}",
]


def echoing(place: str, echo: str) -> Any:
    """A refusal that repeats a text in this place."""
    details = {"moderation_stage": echo, "categories": [echo]}
    return {
        "detail": {"detail": [{"loc": [echo], "msg": echo, "input": {"prompt": echo}, "ctx": echo}]},
        "extra": {"error": {"message": "Bad", "more": [{"deep": echo}]}},
        "key": {"error": {"message": "Bad", echo: 1}},
        "moderation": {"error": {"code": "moderation_blocked", "moderation_details": details}},
    }.get(place, {"error": {"message": "Bad", place: echo}})


@pytest.mark.parametrize(
    "place", ["message", "code", "type", "param", "detail", "extra", "key", "text", "title", "moderation"]
)
def test_no_echo_gets_through(place: str) -> None:
    """Key, prompt and base64 are blotted out of text, attributes and body, wherever the server put them."""
    for echo in ECHOES:
        body = {"text": f"words and {echo}", "title": f"<html><title>{html.escape(echo)}</title>"}.get(place)
        whole = json.dumps(echoing(place, echo)) if body is None else body
        shown = everything(error_from_body(ResponseContext(400, {}, (KEY, PROMPT)), whole.encode()))
        assert "0123456789" not in shown
        assert "sentinel otter" not in shown
        assert BASE64[:60] not in shown
        assert BASE64[40:100] not in shown


@pytest.mark.parametrize("prompt", ["cat", "a", ""])
def test_the_input_of_fastapi_is_never_shown(prompt: str) -> None:
    """FastAPI echoes the request as `input`: it is left out even where the prompt is too short to be sought."""
    item = {
        "type": "string_too_short",
        "loc": ["body", "prompt"],
        "msg": "too short",
        "input": f"<<{prompt}>>",
    }
    error = refused({"detail": [item]}, 422, (KEY, prompt))
    assert "<<" not in everything(error)
    assert error.body == {"detail": [{**item, "input": "<hidden>"}]}


def test_a_prompt_that_was_typed_elsewhere_is_hidden_whatever_its_line_ends() -> None:
    """One with CRLF is found in a text with LF, and the other way round."""
    for sent, echoed in ((PROMPT, PROMPT.replace("\n", "\r\n")), (PROMPT.replace("\n", "\r\n"), PROMPT)):
        assert redact(f"echo: {echoed}.", (sent,)) == "echo: <hidden>."


@pytest.mark.parametrize("name", ["x-request-id", "apim-request-id"])
def test_the_name_of_the_request_shows_no_secret(name: str) -> None:
    """Also where a server writes there what it was sent, or what nobody can print."""
    for text in (f"req_{KEY}", f"req_{BASE64}", "req_\udcff\x1b[2J"):
        error = error_from_body(ResponseContext(400, {name: text}, (KEY, PROMPT)), b"")
        assert KEY not in everything(error)
        assert BASE64[:60] not in everything(error)
        assert str(error).isprintable()


BREAKS = ["\n", "\r\n", "\r", "\t", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\xa0", "\u3000"]
INVISIBLE = [
    *("\0", "\x07", "\x08", "\x1b", "\x7f", "\x9b"),  # control
    *("\u202e", "\u2066", "\u200f", "\u061c"),  # direction of writing
    *("\u200b", "\u200d", "\u2060", "\ufeff", "\xad", "\u180e", "\U000e0041", "\U000e0101"),  # no width
    *("\u034f", "\u115f", "\u3164", "\uffa0", "\u2800"),  # letters and symbols that are not seen
    *("\ue000", "\ufdd0"),  # no characters
]


@pytest.mark.parametrize("odd", BREAKS + INVISIBLE)
def test_no_text_breaks_a_line_or_hides_a_character(odd: str) -> None:
    """Message, reason, code, type, parameter, categories and body are each one line of what can be seen."""
    text = f"no{odd}{odd}way"
    details = {"moderation_stage": text, "categories": [text]}
    body = {"message": text, "code": text, "type": text, "param": text, "moderation_details": details}
    blocked = {**body, "inner_error": {"code": "moderation_blocked"}}
    for error in (
        refused({"error": body}),
        refused({"error": blocked}),
        error_from_body(ResponseContext(400, {}), text.encode()),
    ):
        shown = "no way" if odd in BREAKS else "no\ufffd\ufffdway"
        assert error.reason == shown
        texts = [str(error), error.code, error.type, error.param, *getattr(error, "categories", ())]
        for one in (*texts, getattr(error, "stage", ""), json.dumps(error.body, ensure_ascii=False)):
            assert one is None or one.isprintable()
            assert odd not in (one or "")


def test_a_secret_with_unseen_characters_is_found_on_one_line() -> None:
    """The secret is cleaned as the text is; removing how an emoji looks puts no secret together again."""
    family = "a boat \U0001f468\u200d\U0001f469\u200d\U0001f467 \u26f5\ufe0f\non\u2028a lake"
    for echo in (family, json.dumps(family), " ".join(family.split()), family.replace("\ufe0f", "")):
        assert "boat" not in redact(f"echo: {echo}.", (family,))
    assert KEY not in redact(f"{KEY[:9]}\ufe0f{KEY[9:]}", (KEY,))


@given(
    word=st.text("ab1_-", min_size=1, max_size=40),
    secrets=st.lists(st.text('ab1_- \n"\\\x00\ufe0f', max_size=12), max_size=3),
    begin=st.integers(0, 12),
    where=st.integers(0, 40),
)
def test_a_short_word_is_redacted_as_any_text(word: str, secrets: list[str], begin: int, where: int) -> None:
    """The quick way for the ids of requests comes to the same, also with a secret or its beginning in them."""
    for secret in ("", *secrets):
        text = word[:where] + secret[:begin] + word[where:]
        assert redact(text, tuple(secrets)) == Redaction(tuple(secrets)).text(text)


def test_a_prompt_of_spaces_hides_nothing_else() -> None:
    """What is short on one line is not sought."""
    assert redact("a b and a b", ("a" + " " * 9 + "b", " " * 9)) == "a b and a b"


@pytest.mark.parametrize(
    ("message", "reason"),
    [("Slow\n down. ", "Slow down."), (f"no {KEY}", "no <hidden>"), ("x " * 900, ""), ("", ""), (None, "")],
)
def test_the_reason_is_the_message_alone(message: str | None, reason: str) -> None:
    """It has neither status nor advice, is short, and empty where nothing was said."""
    error = refused({"error": {"message": message, "code": "rate_limit_exceeded"}}, 429)
    assert error.reason == reason or (len(message or "") > 1000 and error.reason.endswith("x\u2026"))
    assert len(error.reason) <= LONGEST_REASON + 1
    assert pickle.loads(pickle.dumps(error)).reason == error.reason
    assert error_from_body(ResponseContext(503, {}), b"").reason == ""


def test_a_body_cut_in_the_middle_of_a_secret() -> None:
    """A body that was read only in part does not show the part of the prompt that it holds."""
    for end in range(6, len(PROMPT)):
        for cut in (f"echo: {PROMPT[:end]}", json.dumps(f"echo: {PROMPT[:end]}")[:-1]):
            shown = everything(error_from_body(ResponseContext(500, {}, (KEY, PROMPT)), cut.encode()))
            assert "a sent" not in shown


def test_one_secret_inside_another() -> None:
    """The longer secret is blotted out whole, although the shorter one is part of it."""
    assert redact("I paint a red otter for you", ("red otter", "a red otter for")) == "I paint <hidden> you"


def test_deep_bodies_are_left_out() -> None:
    """A body nested too deeply to look through is dropped, and the error still has its class."""
    deep: Any = PROMPT
    for _ in range(3000):
        deep = [deep]
    error = error_from_document(
        ResponseContext(400, {}, (PROMPT,)), {"error": {"message": "Bad", "more": deep}}
    )
    assert error.body is None
    error = error_from_document(ResponseContext(400, {}, (PROMPT,)), {"error": deep, "detail": deep})
    assert type(error) is errors.BadRequestError


def test_redaction_is_linear() -> None:
    """Texts made to defeat the search for base64 take no time to speak of."""
    for text in ("A" * 79 + " ", "A" * 39 + "\n", "A" * 41 + "\n*", "\\u00", "\\/" * 39 + "\\", "aaaaaa"):
        shown = Redaction(("a" * 30_000,)).text(text * (200_000 // len(text)))
        assert len(shown) <= 1001


texts = st.text(max_size=20) | st.sampled_from([PROMPT, KEY, "rate_limit_exceeded", "moderation_blocked"])
names = st.sampled_from(
    [
        *("error", "errors", "detail", "message", "code", "type", "param", "loc", "msg", "categories"),
        *("moderation_details", "moderation_stage", "innererror", "content_filter_result", "filtered"),
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=15,
)


@given(values, st.sampled_from([200, 307, 400, 403, 429, 503]))
def test_any_document_gives_a_typed_error(doc: Any, status: int) -> None:
    """No JSON at all, in body or stream, surprises the reader of errors; the error pickles and shows no secret."""
    for error in (refused(doc, status), error_from_document(ResponseContext(status, {}, (KEY, PROMPT)), doc)):
        assert isinstance(error, errors.APIStatusError)
        assert error.status_code == status
        shown = everything(pickle.loads(pickle.dumps(error)))
        assert "sentinel" not in shown


@pytest.mark.parametrize("wait", ["0", "0.0", "Wed, 01 Jan 2020 00:00:00 GMT", "soon"])
def test_a_503_with_retry_after_did_not_run_whatever_the_wait(wait: str) -> None:
    """The header's presence says that it may be sent again, although its value says nothing of use."""
    error = error_from_body(ResponseContext(503, {"retry-after": wait}, now=1_795_000_000.0), b"")
    assert (type(error), error.safe_to_resend, error.retry_after) == (errors.InternalServerError, True, None)


def test_words_alone_do_not_make_a_503_safe() -> None:
    """Only a header tells that it did not run; the message may still tell how long to wait."""
    error = error_from_body(ResponseContext(503, {}), b'{"error":{"message":"try again in 2s"}}')
    assert (type(error), error.safe_to_resend) == (errors.ServerOutcomeUnknownError, False)


@pytest.mark.parametrize("name", ["code", "type", "param"])
def test_a_name_of_white_space_is_none(name: str) -> None:
    """Nothing to show is nothing."""
    error = error_from_document(ResponseContext(429, {}), {"error": {"message": "no", name: " \u200b"}})
    assert getattr(error, name) in (None, "\ufffd")
    assert getattr(error_from_document(ResponseContext(429, {}), {name: " "}), name) is None
