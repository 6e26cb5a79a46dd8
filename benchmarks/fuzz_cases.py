"""Answers that went wrong: those of the corpus, damaged in every way that comes to mind, and cut into pieces.

Rules: everything comes from a seed and a number, so that each case can be had again. Bytes are flipped, cut out,
doubled and spliced with another answer's; JSON is taken apart and gets wrong types, huge numbers, deep nesting, halves
of surrogate pairs and the same key twice; streams lose and repeat events; headers say nonsense. What was sent, the key
and the prompt, is planted where a server may echo it. It refuses nothing and checks nothing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any

from attrs import frozen

from benchmarks.corpus import KEY, PROMPT, Answer
from benchmarks.fuzz_values import BYTES, DATES, DIGITS, HEADERS, KEYS, STATUSES, TEXTS, TYPES, WAITS, WORDS
from openai_images._util.json import is_list, is_object

_MOST = 200_000
"""Bytes of a body: damage may double what is there again and again."""


@frozen
class Case:
    """A damaged answer; `made` says of which answers and how it was made."""

    number: int
    made: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def case(answers: Sequence[Answer], seed: int, number: int) -> Case:
    chance = Random(f"{seed}:{number}")  # noqa: S311  repeatable, not secret
    answer = chance.choice(answers)
    made, body = [answer.name], answer.body
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3, 6])):
        damage = chance.choice(_DAMAGES)
        body = damage(chance, body, answers)[:_MOST]
        made.append(damage.__name__.strip("_"))
    headers = dict(answer.headers)
    if chance.random() < 0.5:
        headers = _headers(chance, headers)
        made.append("headers")
    status = answer.status if chance.random() < 0.7 else chance.choice(STATUSES)
    return Case(number, ", ".join(made), status, headers, body)


def pieces(damaged: Case, seed: int) -> list[bytes]:
    """Its body as it may arrive: whole, byte by byte, in even pieces, or cut anywhere, with empty pieces among them."""
    chance = Random(f"{seed}:{damaged.number}:pieces")  # noqa: S311  repeatable, not secret
    body, kind = damaged.body, chance.randrange(4)
    if kind == 0:
        return [body]
    if kind == 1:
        size = chance.choice([1, 2, 3, 7, 64, 1000, 4096]) if len(body) < 20_000 else 4096
        return [body[at : at + size] for at in range(0, len(body), size)]
    places = sorted(chance.randrange(len(body) + 1) for _ in range(chance.choice([1, 2, 5, 20])))
    return [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]


# Bytes


def _place(chance: Random, body: bytes) -> tuple[int, int]:
    """A span, mostly a short one."""
    start = chance.randrange(len(body) + 1)
    return start, min(len(body), start + chance.choice([0, 1, 1, 2, 5, 20, 100, 3000]))


def _flip(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """One bit."""
    if not body:
        return body
    at = chance.randrange(len(body))
    return body[:at] + bytes((body[at] ^ 1 << chance.randrange(8),)) + body[at + 1 :]


def _insert(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """Something that means something, or any byte."""
    at = chance.randrange(len(body) + 1)
    more = chance.choice(BYTES) if chance.random() < 0.8 else chance.randbytes(chance.randrange(1, 9))
    return body[:at] + more + body[at:]


def _replace(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """A span gives way to something."""
    start, end = _place(chance, body)
    return body[:start] + chance.choice(BYTES) + body[end:]


def _delete(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """A span."""
    start, end = _place(chance, body)
    return body[:start] + body[end:]


def _repeat(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """A span, twice or a thousand times."""
    start, end = _place(chance, body)
    times = chance.choice([2, 2, 3, 50, 1000])
    return body[:start] + body[start:end] * min(times, 1 + _MOST // (end - start + 1)) + body[end:]


def _truncate(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """All behind a place is lost."""
    return body[: chance.randrange(len(body) + 1)]


def _splice(chance: Random, body: bytes, answers: Sequence[Answer]) -> bytes:
    """The start of this answer, the end of another one."""
    other = chance.choice(answers).body
    return body[: chance.randrange(len(body) + 1)] + other[chance.randrange(len(other) + 1) :]


def _recode(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """Another encoding, or a BOM."""
    text = body.decode("utf-8", "replace")
    codec = chance.choice(["utf-16", "utf-8-sig", "latin-1", "utf-7", "utf-32-le"])
    return text.encode(codec, "replace")


# JSON


def _json(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """Somewhere in the JSON of the body, or of one of its events, there is something else."""
    lines = body.split(b"\n")
    places = [at for at, line in enumerate(lines) if line.startswith(b"data: {")]
    if places:
        at = chance.choice(places)
        lines[at] = b"data: " + _changed(chance, lines[at][6:])
        return b"\n".join(lines)
    return _changed(chance, body)


def _changed(chance: Random, text: bytes) -> bytes:
    try:
        doc = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for _ in range(chance.choice([1, 1, 2, 4])):
        doc = _with_nonsense(chance, doc)
    encoder = json.JSONEncoder(
        ensure_ascii=chance.random() < 0.5, separators=chance.choice([None, (",", ":")])
    )
    return _spelled(encoder, doc).replace(f'"{DIGITS}"', "9" * 5000).encode("utf-8", "surrogatepass")


def _spelled(encoder: json.JSONEncoder, doc: Any) -> str:
    """Its JSON, as far as it is not too long or too deep: what was doubled again and again has no end."""
    spelled: list[str] = []
    nbytes = 0
    with suppress(RecursionError):
        for part in encoder.iterencode(doc):
            spelled.append(part)
            nbytes += len(part)
            if nbytes > _MOST:
                break
    return "".join(spelled)


def _with_nonsense(chance: Random, doc: Any) -> Any:
    """The document with one value, key or place changed."""
    kind = chance.randrange(6) if chance.random() > 0.15 else None
    if is_object(doc) and doc and kind is not None:
        return _object_with_nonsense(chance, dict(doc), kind)
    if is_list(doc) and doc and kind is not None:
        return _list_with_nonsense(chance, list(doc), kind)
    return _nonsense(chance, doc)


def _object_with_nonsense(chance: Random, here: dict[str, Any], kind: int) -> dict[str, Any]:
    key = chance.choice(list(here))
    if kind == 0:
        del here[key]
    elif kind == 1:
        here[chance.choice(KEYS)] = here.pop(key)
    elif kind == 2:
        here[chance.choice(KEYS)] = _nonsense(chance, None)
    else:
        here[key] = _with_nonsense(chance, here[key])
    return here


def _list_with_nonsense(chance: Random, here: list[Any], kind: int) -> list[Any]:
    at = chance.randrange(len(here))
    if kind == 0:
        del here[at]
    elif kind == 1:
        return here * (chance.choice([2, 12, 1100]) if len(here) < 20 else 2)
    else:
        here[at] = _with_nonsense(chance, here[at])
    return here


def _nonsense(chance: Random, value: Any) -> Any:
    """Something of a strange type or size, or the value inside of something."""
    kind = chance.randrange(8)
    if kind == 0:
        deep = value
        for _ in range(chance.choice([1, 3, 90, 99, 120, 400])):
            deep = [deep] if chance.random() < 0.5 else {chance.choice(KEYS): deep}
        return deep
    if kind == 1:
        return {chance.choice(KEYS): _nonsense(chance, value), chance.choice(KEYS): value}
    if kind == 2:
        return [_nonsense(chance, value), value]
    if kind == 3:
        return str(value)[:200] * chance.choice([1, 3, 200]) if isinstance(value, str | int) else []
    return chance.choice(WORDS)


def _twice(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """A key that is there comes once more before, with another value."""
    places = [at for at in range(len(body)) if body.startswith(b'":', at)]
    if not places:
        return body
    end = chance.choice(places)
    start = body.rfind(b'"', 0, end)
    other = chance.choice([b"null", b'"QQ=="', b"{}", b"[]", b'"*"', b"1e999", b"NaN"])
    return body[: max(start, 0)] + body[max(start, 0) : end] + b'":' + other + b"," + body[max(start, 0) :]


# Events


def _events(chance: Random, body: bytes, answers: Sequence[Answer]) -> bytes:
    """Events change places, are lost, come twice, or come from another stream."""
    events = body.split(b"\n\n")
    others = chance.choice(answers).body.split(b"\n\n")
    kind = chance.randrange(4)
    if kind == 0:
        chance.shuffle(events)
    elif kind == 1:
        del events[chance.randrange(len(events))]
    elif kind == 2:
        events.insert(chance.randrange(len(events) + 1), chance.choice(events))
    else:
        events.insert(chance.randrange(len(events) + 1), chance.choice(others))
    return b"\n\n".join(events)


def _ends(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """Other line ends, or data in several lines."""
    if chance.random() < 0.3:
        return body.replace(b",", b",\ndata: ", chance.randrange(20))
    return body.replace(b"\n", chance.choice([b"\r\n", b"\r", b"\n\r", b"\n\n", b"\x0b"]))


def _named(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """Another type or another name, wherever one is."""
    old = chance.choice(TYPES)
    return body.replace(old, chance.choice(TYPES), chance.choice([-1, 1, 2]))


def _planted(chance: Random, body: bytes, _: Sequence[Answer]) -> bytes:
    """The key, the prompt or base64 where a text begins."""
    places = [at for at in range(len(body)) if body.startswith(b':"', at)]
    at = chance.choice(places) + 2 if places else chance.randrange(len(body) + 1)
    texts = [KEY, json.dumps(PROMPT)[1:-1], PROMPT, "iVBORw0KGgo/+AAA" * 40, f"Bearer {KEY}"]
    return body[:at] + chance.choice(texts).encode() + body[at:]


# Headers


def _headers(chance: Random, headers: dict[str, str]) -> dict[str, str]:
    for _ in range(chance.choice([1, 2, 4])):
        name = chance.choice([*HEADERS, *headers])
        texts = chance.choice([WAITS, DATES, TEXTS, (KEY, f"https://example.com/?k={KEY}")])
        text = chance.choice(texts)
        if chance.random() < 0.3 and text:
            at = chance.randrange(len(text))
            text = (
                text[:at]
                + chance.choice("09.-+eE: smh\x7f\u0663\udc80\xe9,;")
                + text[at + chance.randrange(2) :]
            )
        headers[name] = text
        if chance.random() < 0.1:
            del headers[name]
    return headers


_Damage = Callable[[Random, bytes, Sequence[Answer]], bytes]
_DAMAGES: list[_Damage] = [
    *(_flip, _insert, _replace, _delete, _repeat, _truncate, _splice, _recode),
    *(_json, _json, _json, _json, _json, _twice, _events, _ends, _named, _planted, _planted),
]
