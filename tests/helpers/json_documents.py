"""JSON documents holding images, in any legal spelling, for property tests; and what they mean, by the plain way."""

import base64
import json
from random import Random
from typing import Any

from hypothesis import strategies as st

from openai_images.models.image import Image

NASTY = [
    'a prompt with "b64_json":"iVBORw0KGgo=" in it',
    '{"b64_json":"',
    "b64_json",
    "NaN, Infinity and -Infinity",
    "ends in a backslash\\",
    '\\"',
    "\\\\",
    "\N{OTTER} \u2028 \u00e9 \0 \x1f \x7f",
    "half a pair \ud83e",
    "data: [DONE]\n\n",
]
KEYS = ["b64_json", "data", "type", "prompt", "usage", "b64_jso", "b64_jsonx", "B64_JSON", ""]
NUMBERS = ["0", "-0", "12", "-3.5", "1E5", "2e-7", "1.0", "1e400", "123456789012345678901234567890"]


class Picture(bytes):
    """Bytes that a document holds as base64."""


class Pairs(list[tuple[str, Any]]):
    """An object, in order, with keys that may come twice."""


texts = st.sampled_from(NASTY) | st.text(max_size=12)
scalars = texts | st.sampled_from(NUMBERS).map(json.loads) | st.sampled_from([None, True, False])


def objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Pairs]:
    """Objects whose text under `b64_json` is an image, and whose other keys hold anything."""
    pictures = st.binary(max_size=40).map(Picture)
    other = values.filter(lambda value: not isinstance(value, str))
    pair = st.tuples(st.sampled_from(KEYS[1:]) | texts.filter(lambda key: key != "b64_json"), values)
    return st.lists(pair | st.tuples(st.just("b64_json"), pictures | other), max_size=5).map(Pairs)


documents = st.recursive(
    scalars, lambda values: objects(values) | st.lists(values, max_size=4), max_leaves=25
)


def spelled(value: Any, chance: Random) -> str:
    """One of the legal spellings of a document."""

    def space() -> str:
        return chance.choice(["", "", "", " ", "\n", "\t\r\n  "])

    def joined(parts: list[str]) -> str:
        return space() + f"{space()},{space()}".join(parts) + space()

    if isinstance(value, Pairs):
        pairs = [f"{text_of(key, chance)}{space()}:{space()}{spelled(item, chance)}" for key, item in value]
        return "{" + joined(pairs) + "}"
    if isinstance(value, list):
        return "[" + joined([spelled(item, chance) for item in value]) + "]"
    if isinstance(value, Picture):
        return text_of(base64_of(value, chance), chance, chance.choice([0, 0.05, 1]))
    if isinstance(value, str):
        return text_of(value, chance)
    return json.dumps(value).replace("Infinity", "1e999")


def base64_of(data: bytes, chance: Random) -> str:
    """One of the spellings of an image that are read."""
    text = base64.b64encode(data).decode()
    if chance.random() < 0.3:
        text = text.rstrip("=")
    if chance.random() < 0.3:
        text = text.replace("+", "-").replace("/", "_")
    if chance.random() < 0.3:
        text = "\n".join(text[at : at + 10] for at in range(0, len(text), 10))
    return text if chance.random() < 0.7 else f"data:image/png;base64,{text}"


def text_of(text: str, chance: Random, often: float = 0.2) -> str:
    """One of the legal spellings of a text, with quotes."""
    return '"' + "".join(character(one, chance.random() < often, chance) for one in text) + '"'


def character(one: str, escape: bool, chance: Random) -> str:
    """One of the legal spellings of a character."""
    short = {
        '"': '\\"',
        "\\": "\\\\",
        "/": "\\/",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
    }
    if one in '"\\' or one < " " or "\ud800" <= one <= "\udfff" or escape:
        if one in short and chance.random() < 0.7:
            return short[one]
        units = one.encode("utf-16-be", "surrogatepass")
        code = chance.choice(["{:04x}", "{:04X}"])
        return "".join(
            "\\u" + code.format(int.from_bytes(units[at : at + 2])) for at in range(0, len(units), 2)
        )
    return one


def by_the_plain_way(value: Any, key: str = "") -> Any:
    """What a decoded document means: texts under `b64_json` as their bytes, None where there are none."""
    if isinstance(value, dict):
        return {name: by_the_plain_way(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [by_the_plain_way(item) for item in value]
    if isinstance(value, str) and key == "b64_json":
        text = "".join(value.rpartition(",")[2].split()).replace("-", "+").replace("_", "/")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True) or None
    return value


def pictures_as_bytes(value: Any) -> Any:
    """A scanned document with the bytes of its images, to compare."""
    if isinstance(value, dict):
        return {name: pictures_as_bytes(item) for name, item in value.items()}
    if isinstance(value, list):
        return [pictures_as_bytes(item) for item in value]
    return value.data if isinstance(value, Image) else value
