"""`openai-images demo` and the page it writes."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from openai_images import Image, ImageResult
from openai_images.cli.demo import DemoCall, DemoResult, StreamedImage, call_text, write_page

pytestmark = pytest.mark.slow

Cli = Callable[..., Any]


class Page(HTMLParser):
    """What a page shows and refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is referred to, and what is open."""
        given = dict(attrs)
        self.sources += [given["src"] or ""] if "src" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close what is open."""
        assert self.open.pop() == tag


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between partial images."""
    monkeypatch.setattr("openai_images.cli.demo._PACE", 0.0)


def test_the_demo_writes_a_page_twice(cli: Cli, quick: None, empty_folder: Path) -> None:
    """Neither key nor network; the second time replaces what the first wrote, and nothing else."""
    done = cli("demo")
    assert (done.code, done.out) == (0, "demo-output/index.html\n")
    assert done.err.startswith("local placeholder image: ")
    assert "ModerationBlockedError" in done.err
    folder = empty_folder / "demo-output"
    first = sorted(path.name for path in folder.iterdir())
    (folder / "mine.txt").write_text("mine")
    assert cli("demo", "-q") == (0, "demo-output/index.html\n", "")
    assert sorted(path.name for path in folder.iterdir()) == sorted([*first, "mine.txt"])
    text = (folder / "index.html").read_text("utf-8")
    page = Page(text)
    assert page.open == []
    assert page.sources == page.links
    assert sorted({*page.sources, "index.html"}) == first
    assert [f"partial image {number} of 3" in text for number in range(5)] == [False, True, True, True, False]
    assert page.sources[:4] == ["boat.partial-0.png", "boat.partial-1.png", "boat.partial-2.png", "boat.png"]
    assert len(re.findall(r"<b>\d+\.\d s</b>", text)) == 4
    assert "A local stand-in painted these images, not a model." in text
    assert not re.search(r"https?://|\$[a-z]", text)
    calls = re.findall(r"client\.(?:generate|stream)\(.*", text)
    assert len(calls) == 7
    assert all("model=" in call for call in calls)


def test_a_folder_that_cannot_be_made(cli: Cli, quick: None, empty_folder: Path) -> None:
    """Exit code 2, and which."""
    (empty_folder / "file").write_text("")
    done = cli("demo", "--out", "file", "-q")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: cannot write to 'file': ")


def test_the_code_shown_is_the_call() -> None:
    """It could be pasted."""
    shot = DemoCall("name", 'a "quoted" word', {"n": 2, "size": "1024x1024"})
    assert call_text("generate", shot) == (
        'client.generate("a \\"quoted\\" word", n=2, size="1024x1024", into="name")'
    )
    assert compile(call_text("generate", shot, into=False), "page", "eval")


def test_every_text_of_the_page_is_escaped(empty_folder: Path) -> None:
    """A prompt cannot become markup; what is missing is left out."""
    shot = DemoCall("name", "<script>alert('$x')</script>", {})
    image = Image(path=Path("a&b.png"), nbytes=12, media_type="image/png", width=4, height=3)
    finished = DemoResult(shot, ImageResult((image,)))
    page = write_page(empty_folder, shot, [StreamedImage(image, 0.5)], [finished], (shot, "<b>no</b>"))
    text = page.read_text("utf-8")
    assert "<script" not in text
    assert "<b>no</b>" not in text
    assert 'src="a&amp;b.png"' in text
    assert "tokens" not in text
    assert Page(text).open == []
