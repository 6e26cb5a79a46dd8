"""Commands run in this process, in an empty folder, against a server that answers with small images."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from openai_images.cli import main
from tests.helpers.server_thread import serving

TERMINAL_SETTINGS = (
    "COLORTERM",
    "KITTY_WINDOW_ID",
    "LC_TERMINAL",
    "STY",
    "TERM",
    "TERM_PROGRAM",
    "TMUX",
)


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, and a terminal that nobody has described."""
    for name in TERMINAL_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli() -> Callable[..., Done]:
    """Run `openai-images` with these arguments; `err=Terminal()` makes stderr a terminal."""

    def run(*argv: str, err: io.StringIO | None = None) -> Done:
        out, errors = io.StringIO(), err or io.StringIO()
        return Done(main(argv, out, errors), out.getvalue(), errors.getvalue())

    return run


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """A small image in each format."""
    from PIL import Image

    made: dict[str, bytes] = {}
    picture = Image.linear_gradient("L").resize((48, 32)).convert("RGB")
    for name in ("png", "jpeg", "webp"):
        data = io.BytesIO()
        picture.save(data, name)
        made[name] = data.getvalue()
    return made


@pytest.fixture
def server(pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The server that the environment names, with its key."""
    with serving(pictures=pictures) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", running.api_key)
        yield running


def names(folder: Path) -> list[str]:
    """What is in a folder, hidden files included."""
    return sorted(path.name for path in folder.iterdir())
