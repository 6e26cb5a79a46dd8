"""The check of a built site sees broken links, files from the network and pages that are too far away."""

from pathlib import Path

import pytest

from docs.generate.check_site import problems_of_site


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site without problems."""
    pages = {
        "index.html": '<a href="a.html#here">a</a> <a href="https://example.com/x">x</a> <a href="#">top</a>',
        "a.html": '<h1 id="here">a</h1> <a href="reference/b.html">b</a> <img src="_static/i.png">',
        "reference/b.html": '<a href="../a.html#here">a</a> <a href="../index.html">start</a>',
        "search.html": "",
    }
    for name, text in pages.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "i.png").write_bytes(b"")
    return tmp_path


def test_a_good_site(site: Path) -> None:
    """Links between folders, anchors and other hosts are fine."""
    assert problems_of_site(site) == []


@pytest.mark.parametrize(
    ("page", "text", "problem"),
    [
        ("a.html", '<a href="gone.html">x</a>', "a.html: gone.html leads nowhere"),
        (
            "a.html",
            '<a href="reference/b.html#no">x</a>',
            "names an anchor that reference/b.html does not have",
        ),
        ("a.html", '<a href="#no">x</a>', "names an anchor that a.html does not have"),
        ("reference/b.html", '<img src="i.png">', "reference/b.html: i.png leads nowhere"),
        ("a.html", '<script src="https://cdn.example/x.js"></script>', "from the network"),
        ("a.html", '<link rel="stylesheet" href="//fonts.example/x.css">', "from the network"),
        (
            "reference/b.html",
            '<a href="c.html">c</a>',
            "reference/c.html is more than 2 clicks from index.html",
        ),
    ],
)
def test_a_problem_is_seen(site: Path, page: str, text: str, problem: str) -> None:
    """Each is one line."""
    (site / "reference" / "c.html").write_text("")
    with (site / page).open("a") as file:
        file.write(text)
    found = problems_of_site(site)
    assert [line for line in found if problem in line] or problem.startswith("reference/c.html") is False
    assert any(problem in line for line in found)
