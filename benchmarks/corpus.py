"""Answers of servers, one in a file, as plain text: `tests/wire/answers/*.http`.

Rules: a file begins with what it is (`#` lines) and what must come of it (`=` lines), then the status line, headers, a
blank line and the body, as they come over the wire. Names in braces stand for what
nobody can read in a diff: `{png}` is an image's base64, `{png:php}` the same as PHP spells it, `{key}` and `{prompt}`
are what was sent, `{digits}` more than Python reads as a number. It refuses names that it does not know.
"""

import base64
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

_WIRE = Path(__file__).parents[1] / "tests" / "wire"

KEY = "sk-sentinel-0123456789abcdef"
"""The key of every request whose answer stands in the corpus: it comes out nowhere."""

PROMPT = 'a sentinel otter with "quotes",\na line end, \u00e9 and a \\ backslash'
"""Likewise its prompt."""

_TEXTS = {"key": KEY, "prompt": json.dumps(PROMPT)[1:-1], "digits": "9" * 5000}
_NAME = re.compile(r"\{([a-z]+)(?::([a-z0-9]+))?\}")
_LINE = 60

# How servers spell the base64 of an image inside a JSON text.
_SPELLINGS: dict[str, Callable[[str], str]] = {
    "": str,
    "php": lambda text: text.replace("/", "\\/"),
    "dotnet": lambda text: text.replace("+", "\\u002B"),
    "gson": lambda text: text.replace("=", "\\u003d"),
    "urlsafe": lambda text: text.replace("+", "-").replace("/", "_"),
    "unpadded": lambda text: text.rstrip("="),
    "mime": lambda text: "".join(f"{text[at : at + _LINE]}\\r\\n" for at in range(0, len(text), _LINE)),
    "half": lambda text: text[: len(text) // 2],
    "eighty": lambda text: text + "A" * 80,
}


@frozen
class Answer:
    """One answer; `expected` are the lines that say what must come of it."""

    name: str
    about: str
    expected: tuple[str, ...]
    status: int
    headers: dict[str, str]
    body: bytes


def images() -> dict[str, str]:
    """The base64 of each image, by its name."""
    lines = (_WIRE / "pictures.txt").read_text(encoding="ascii").splitlines()
    return dict(line.split() for line in lines if line and not line.startswith("#"))


def answers(known: dict[str, str] | None = None) -> dict[str, Answer]:
    """All of them, by name, with these images. Raises ValueError where a file is not as it should be."""
    known = images() if known is None else known
    return {path.stem: _read(path, known) for path in sorted((_WIRE / "answers").glob("*.http"))}


def _read(path: Path, known: dict[str, str]) -> Answer:
    lines = path.read_text(encoding="utf-8").split("\n")
    about: list[str] = []
    expected: list[str] = []
    while lines[0][:1] in ("#", "="):
        (about if lines[0].startswith("#") else expected).append(lines.pop(0)[2:])
    status = lines.pop(0).split()
    end = lines.index("") if "" in lines else len(lines)
    if status[0] != "HTTP/1.1" or not about or not expected:
        raise ValueError(f"{path.name}: it must say what it is, what comes of it, and its status")
    headers = dict(line.split(": ", 1) for line in lines[:end])
    text = "\n".join(lines[end + 1 :])
    return Answer(path.stem, " ".join(about), tuple(expected), int(status[1]), headers, _filled(text, known))


def _filled(text: str, known: dict[str, str]) -> bytes:
    """The body, with what its names stand for."""
    if text.strip() in ("{zip}", *(f"{{{name}:raw}}" for name in known)):
        name = text.strip()[1:-1].partition(":")[0]
        return _archive(known) if name == "zip" else base64.b64decode(known[name])

    def filled(match: re.Match[str]) -> str:
        name, spelling = match[1], match[2] or ""
        if name in _TEXTS:
            return _TEXTS[name]
        if name not in known or spelling not in _SPELLINGS:
            raise ValueError(f"{match[0]} stands for nothing")
        return _SPELLINGS[spelling](known[name])

    return _NAME.sub(filled, text).encode()


def _archive(known: dict[str, str]) -> bytes:
    """Two images in a ZIP file, as vLLM answers `response_format=file` with `n=2`."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, name in enumerate(("png", "partial")):
                archive.writestr(zipfile.ZipInfo(f"image_{number}.png"), base64.b64decode(known[name]))
        return file.getvalue()
