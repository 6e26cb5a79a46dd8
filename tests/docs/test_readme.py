"""README.md fits on a screen, its badges are true, and a package index can show it without the other files."""

import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINK = re.compile(r"\]\(([^)]*)\)")


def on_an_index() -> str:
    """Return the README with the substitutions that a build applies."""
    text = README
    for rule in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    return text


def test_it_is_short() -> None:
    """What is longer belongs on a page of its own."""
    assert len(README.splitlines()) <= 120


def test_a_package_index_shows_no_link_that_leads_nowhere() -> None:
    """Relative links are texts there, and all texts of links are kept."""
    shown = on_an_index()
    assert [link for link in LINK.findall(shown) if not link.startswith("https://")] == []
    texts = re.findall(r"(?<!!)\[([^\]\[]+)\]\((?!https://)", README)
    assert len(texts) > 20
    assert [text for text in texts if text not in shown] == []


def test_badges_are_true() -> None:
    """They say what pyproject.toml says."""
    badges = [unquote(badge) for badge in re.findall(r"badge/([^)]*)-0b6a68", README)]
    project, tool = PROJECT["project"], PROJECT["tool"]
    assert badges == [
        f"python-{project['requires-python'].replace('>=', '≥ ')}",
        "typed-mypy · pyright strict",
        f"licence-{project['license']}",
    ]
    assert tool["mypy"]["strict"]
    assert tool["pyright"]["typeCheckingMode"] == "strict"


def test_the_changelog_has_the_version_with_its_date() -> None:
    """The newest version of CHANGELOG.md is the package's; each has the day on which it was finished."""
    import openai_images

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.*)$", changelog, flags=re.MULTILINE)
    versions = [title for title in titles if title != "Unreleased"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}", version) for version in versions), versions
    assert versions[0].split(" ")[0] == openai_images.__version__


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda form: form.stem
)
def test_forms_of_issues_are_whole(form: Path) -> None:
    """Each form has a name and fields with labels; a code host ignores one that has not."""
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    if form.stem == "config":
        assert content == {"blank_issues_enabled": True}
    else:
        assert content["name"]
        assert content["description"]
        assert all(field["attributes"]["label"] and field["id"] for field in content["body"])
