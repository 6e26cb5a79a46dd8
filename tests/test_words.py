"""Words and phrases that readers had to read twice stay out of docstrings, comments, messages, pages and scripts.

Only prose is checked: not code, text in backticks, fenced blocks (except their comments), strings without white space,
link targets and tags.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FILES = [
    *(
        path
        for suffix in ("py", "js", "html", "css")
        for path in sorted(ROOT.glob(f"openai_images/**/*.{suffix}"))
    ),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("*.md")),
]


class Word(NamedTuple):
    """A pattern (a space is any white space), the plain words to write, and a sentence that has it."""

    pattern: str
    plain: str
    example: str


WORDS = [
    Word(r"reckon\w*", "calculate", "It is reckoned from the tokens."),
    Word(r"dear(?:er|est|ly)?", "expensive", "The dearest size is assumed."),
    Word(r"surely", "certainly", "One that surely did not run."),
    Word(r"plainly", "literally, clearly", "It is said plainly."),
    Word(r"needless(?:ly)?", "not needed", "A needless request."),
    Word(r"beside", "next to, together with", "Not beside a mask."),
    Word(r"(?:un)?told", "reported, configured", "It is told once."),
    Word(r"says? so", "raises …, is marked, is logged", "A warning says so."),
    Word(r"lets? go\b(?! to)", "release, close", "It lets go of the connection."),
    Word(r"g[ia]ves? back the room", "free", "It gives back the room."),
    Word(r"by choice", "when configured", "Kept by choice."),
    Word(r"asked for", "requested", "Fewer images than asked for."),
    Word(r"nobody", "no caller, no task: name the party", "Nobody knows whether it ran."),
    Word(r"befell|befall(?:s|en)?", "happened; the error", "What befell it."),
    Word(r"harmless when", "idempotent", "Harmless when called twice."),
    Word(r"of (?:one's|our) own", "private; the package's own", "A network of one's own."),
    Word(r"(?<!:)ours|theirs", "the package's, the caller's", "An exception that is not ours."),
    Word(
        r"(?:sen[dt]s?|left|leaves?|kept|stays?|raised|goe?s?|passed|copied)(?: \w+){0,2} as it is",
        "unchanged",
        "The error is raised as it is.",
    ),
    Word(r"spell(?:s|ed|ing|ings)?", "written, encoded as", "However the key is spelled."),
    Word(r"in words", "as text", "The reason in words."),
    Word(r"on (?:its|their|the) way", "in transit, in flight", "Images on their way."),
    Word(r"under way", "in flight", "The outcomes of what was under way."),
    Word(r"slip of the finger", "probably a mistake", "A slip of the finger."),
    Word(
        r"second (?:opening|base)s? of", "the plain fact; the mixin base class", "The second base of those."
    ),
    Word(r"hand(?:s|ed|ing)? (?:in|over)", "pass", "What people hand in."),
    Word(
        r"(?<!leave\s)(?<!leaves\s)(?<!left\s)behind(?= \w)(?! for)"
        r"(?! (?:\S+ ){0,2}(?:URLs?|prox\w+|gateways?|nginx|NAT|links?|relays?|CDN|it)\b)",
        "after",
        "It is raised behind the last outcome.",
    ),
    Word(
        r"the first Ctrl-C,? leaving",
        "stop() drains",
        "stop() is the first Ctrl-C, leaving the block the second.",
    ),
    Word(
        r"what ends the batch",
        "an error that aborts the whole batch",
        "What ends the batch for all is raised.",
    ),
    Word(
        r"(?:is|are|was|were|has|have) learn(?:ed|t)",
        "is estimated, is taken from",
        "What you do not say is learned.",
    ),
    Word(r"counts as the first", "acts like the first", "A terminal that is closed counts as the first."),
    Word(r"readers? that leaves?", "a closed stdout pipe", "A reader that leaves stops nothing."),
    Word(r"shar(?:e|es|ed|ing) out", "split", "A large n was shared out."),
    Word(r"rather one that", "takes precedence", "Rather one that may have cost money."),
    Word(r"silent line", "when nothing arrives for a long time", "Behind a silent line."),
    Word(
        r"is (?:the )?\w+'s (?:choice|business)",
        "the defaults of …",
        "What it bills is the server's business.",
    ),
    Word(r"what may be wrong", "doubtful values", "What may be wrong is logged and sent."),
    Word(
        r"what can be read only once",
        "a one-shot stream",
        "What can be read only once belongs in one request.",
    ),
    Word(r"in (?:your|its|their|our) hands", "you keep", "Where the URL is stays in your hands."),
    Word(r"there for us", "reachable", "The server is not there for us."),
    Word(r"all the same", "anyway", "It is sent all the same."),
    Word(r"refused for the rate", "rate limited (429)", "It was refused for the rate."),
    Word(
        r"(?:is|are|was|were|stays?|stayed) away", "is unreachable, is not downloaded", "The server is away."
    ),
    Word(r"paint(?:s|ed|er|ers|ing)?", "generate; the local server draws", "While it is painted."),
    Word(
        r"(?<!=\")(?:pictures?|photographs?)(?!-links|\.csv|=| must be '| has the format)",
        "image",
        "The picture is stored.",
    ),
    Word(
        r"stand(?:s|ing)?[- ]in(?:s|)(?= for|\W|$)", "placeholder image, replace", "A stand-in of the server."
    ),
    Word(r"promis(?:e|es|ed|ing)", "guarantee", "A promise broken."),
    Word(r"heed(?:s|ed|ing)?", "respect, use", "NO_PROXY is heeded."),
    Word(r"what (?:came|comes|became|becomes) of", "the outcome of", "What came of it."),
    Word(
        r"in silence|of no sense|no matter of",
        "silently; invalid; not about",
        "Nobody is left out in silence.",
    ),
]
EXCEPTIONS = {  # (pattern's beginning, file): why the word is right there
    ("paint", "openai_images/studio/page.html"): "the user paints a mask",
    ("paint", "openai_images/studio/mask.js"): "the user paints a mask",
    ("paint", "docs/studio.md"): "the user paints a mask",
}


PATTERNS = [re.compile(rf"\b(?:{word.pattern})\b".replace(" ", r"\s+"), re.IGNORECASE) for word in WORDS]
STRING = re.compile(r"""([A-Za-z]*)('{3}|"{3}|'|")(.*)\2""", re.DOTALL)
QUOTED = r"`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
SCRIPT = re.compile(rf"/\*.*?\*/|//[^\n]*|{QUOTED}", re.DOTALL)
FENCED = re.compile(r"^(```+).*?^\1", re.DOTALL | re.MULTILINE)
NOT_PROSE = {
    ".py": re.compile(r"`[^`\n]*`"),
    ".md": re.compile(r"`[^`\n]*`|\]\([^)\n]*\)|<[^>]*>"),
    ".html": re.compile(
        r"<style>.*?</style>|<script>.*?</script>|(?<==)\"\S*\"|</?\w+|\w+=(?=\")|&\w+;", re.DOTALL
    ),
    ".css": re.compile(r"(?:^|(?<=\*/))(?:(?!/\*).)+", re.DOTALL),
    ".js": re.compile(r"\$\{[^}]*\}|`[^`\n]*`(?=[^\n]*\*/)"),
}


def blank(text: str) -> str:
    """Code in the place of prose: of the same length, in the same lines, and no phrase spans it."""
    return re.sub(r"\S", "\0", text)


def python_prose(source: str) -> Iterator[tuple[int, int, str]]:
    """The comments and strings of a module: begin, end and text of the same length."""
    starts = [0]
    for line in source.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        begin, end = (starts[row - 1] + column for row, column in (token.start, token.end))
        text = source[begin:end]
        if token.type == tokenize.COMMENT:
            yield begin, end, " " + text[1:]
        elif tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield begin, end, text
        elif tokenize.tok_name[token.type] in {"FSTRING_START", "FSTRING_END"}:
            yield begin, end, " " * len(text)
        elif token.type == tokenize.STRING and (parts := STRING.fullmatch(text)):
            prefix, quotes, body = parts.groups()
            if "f" in prefix.lower():
                body = re.sub(r"\{[^{}]*\}", lambda field: blank(field[0]), body)
            body = body if re.search(r"\s", body) else blank(body)
            yield begin, end, " " * len(prefix + quotes) + body + " " * len(quotes)


def script_prose(source: str) -> Iterator[tuple[int, int, str]]:
    """The comments and strings of a script."""
    for match in SCRIPT.finditer(source):
        yield match.start(), match.end(), match[0] if re.search(r"\s", match[0]) else blank(match[0])


def prose(text: str, suffix: str) -> str:
    """Only what people read, in the lines in which it is."""
    if suffix in {".py", ".js"}:
        kept = list(blank(text))
        for begin, end, part in (python_prose if suffix == ".py" else script_prose)(text):
            kept[begin:end] = part
        text = "".join(kept)
    if suffix == ".md":
        text = FENCED.sub(
            lambda block: re.sub(
                r"^(?:(?! # ).)*", lambda code: blank(code[0]), block[0], flags=re.MULTILINE
            ),
            text,
        )
    return NOT_PROSE[suffix].sub(lambda code: blank(code[0]), text)


def found(text: str, suffix: str) -> Iterator[tuple[int, str, Word]]:
    """Each word that must not be there, with its line."""
    text = prose(text, suffix)
    for word, pattern in zip(WORDS, PATTERNS, strict=True):
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), word


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_words(path: Path) -> None:
    """The file has none of the words; of the changelog its unreleased part."""
    name = str(path.relative_to(ROOT))
    text = path.read_text(encoding="utf-8")
    if name == "CHANGELOG.md":
        text = text.partition("\n## 0")[0]
    hits = [
        f'{name}:{line}: "{phrase}" -> {word.plain}'
        for line, phrase, word in found(text, path.suffix)
        if not any(name == file and word.pattern.startswith(start) for start, file in EXCEPTIONS)
    ]
    assert not hits, "\n".join(hits)


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.example)
def test_each_word_is_found(word: Word) -> None:
    """Its example has the word and nothing else, in each kind of file, also over the end of a line."""
    texts = {
        ".py": f'x = f"{{a}} {word.example}"\n',
        ".md": f"A page. {word.example}\n",
        ".html": f'<p class="a">{word.example}</p>\n',
        ".css": f"a {{ b: c }} /* {word.example} */\n",
        ".js": f"f(); // {word.example}\n",
    }
    for suffix, text in texts.items():
        assert word in [hit for _, _, hit in found(text, suffix)], suffix
        assert not list(found(text.replace(word.example, word.plain), suffix)), suffix
    wrapped = f'"""A summary.\n\n    {word.example.replace(" ", chr(10) + "    ")}\n"""\n# {word.example}\n'
    assert [hit for _, _, hit in found(wrapped, ".py")].count(word) == 2


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".py", "paint = told(picture, ours)\n"),
        (".py", '{"told": f"{picture}", "picture": 1}\n'),
        (".py", '"""Pass `pictures=` or `--picture-links`."""\n'),
        (".md", "[Images](pictures.md), `PictureStore` and `pictures=`.\n\n```python\npicture = 1\n```\n"),
        (".html", '<style>.picture { color: red }</style><p id="stand-in" class="pictures">Images</p>\n'),
        (".css", ".picture { color: red } /* plain */ .painted { color: red }\n"),
        (".js", 'await new Promise(() => picture("picture", `${picture} of it`));\n'),
    ],
)
def test_code_is_not_prose(suffix: str, text: str) -> None:
    """Names, code and markup may have any word."""
    assert list(found(text, suffix)) == []


@pytest.mark.parametrize(
    "text",
    [
        "Behind a proxy, images behind URLs, a URL behind it. No file is left behind.",
        "misspelt",
        "It lets go to.",
    ],
)
def test_legitimate_words(text: str) -> None:
    """The same letters with another meaning."""
    assert list(found(text, ".md")) == []


def test_exceptions_are_needed() -> None:
    """Each exception names a file that has the word."""
    for start, file in EXCEPTIONS:
        hits = found((ROOT / file).read_text(encoding="utf-8"), Path(file).suffix)
        assert any(word.pattern.startswith(start) for _, _, word in hits), file
