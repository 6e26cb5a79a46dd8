"""The public names of the package: where each is defined, and on which page of the reference it stands.

Invariants: every public name stands on exactly one page; a name of a module that no page claims stands on `FALLBACK`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import openai_images

PAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "client": ("client.client", "client.stream", "http", "many"),
    "requests": ("models.requests", "models.parameters"),
    "results": ("models.results", "models.image", "models.usage", "models.outcomes"),
    "settings": ("models.options",),
    "costs": ("catalog", "models.cost"),
    "batches": ("batch",),
    "errors": ("errors",),
}
"""The parts of the package whose public names a page of the reference has."""

FALLBACK: Final = "settings"

MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "server": ("openai_images.server",),
    "web": (
        "openai_images.web",
        "openai_images.web.starlette",
        "openai_images.web.aiohttp",
        "openai_images.web.django",
    ),
}
"""The other modules with public names, by their page."""


class PublicName(NamedTuple):
    """A public name: the module it is imported from, its value, and the module that defines it."""

    name: str
    module: str
    value: Any
    home: str

    @property
    def doc(self) -> str:
        """The docstring, or the text under an alias or a constant."""
        if inspect.isclass(self.value) or inspect.isroutine(self.value):
            return inspect.getdoc(self.value) or ""
        return attribute_docs(parse_module(self.home).body).get(self.name, "")


@cache
def parse_module(name: str) -> ast.Module:
    """Return the syntax tree of a module."""
    path = import_module(name).__file__
    return ast.parse(Path(path or "").read_text(encoding="utf-8"))


def attribute_docs(body: list[ast.stmt]) -> dict[str, str]:
    """Return the strings that stand directly under assignments, by the assigned name."""
    found: dict[str, str] = {}
    for statement, below in pairwise(body):
        match statement, below:
            case (
                (ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)])),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = inspect.cleandoc(text)
            case _:
                pass
    return found


def homes() -> dict[str, str]:
    """Return the defining module of each name that `openai_images` imports lazily, by its imports for type checkers."""
    return {
        alias.asname or alias.name: node.module
        for node in ast.walk(parse_module("openai_images"))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("openai_images.")
        for alias in node.names
    }


def page_of(home: str) -> str:
    """Return the page of the names that this module defines."""
    part = home.removeprefix("openai_images.")
    for page, parts in PAGES.items():
        if any(part == each or part.startswith(f"{each}.") for each in parts):
            return page
    return FALLBACK


def order_on_page(public: PublicName) -> tuple[int, ...]:
    """Return where a name stands on its page: in the order of the page's parts, or of its modules."""
    part = public.home.removeprefix("openai_images.")
    parts = [each for parts in PAGES.values() for each in parts]
    modules = ["openai_images", *(each for modules in MODULES.values() for each in modules)]
    place = next(
        (index for index, each in enumerate(parts) if part == each or part.startswith(f"{each}.")), len(parts)
    )
    return (modules.index(public.module), place)


def public_names() -> Iterator[tuple[str, PublicName]]:
    """Yield every public name with its page."""
    home_by_name = homes()
    for name in openai_images.__all__:
        if name != "__version__":
            home = home_by_name[name]
            yield page_of(home), PublicName(name, "openai_images", getattr(openai_images, name), home)
    for page, modules in MODULES.items():
        for module in modules:
            yield from ((page, each) for each in _names_of(module))


def _names_of(module_name: str) -> Iterator[PublicName]:
    module = import_module(module_name)
    for name in module.__all__:
        value = getattr(module, name)
        home = (
            getattr(value, "__module__", None) if inspect.isclass(value) or inspect.isroutine(value) else None
        )
        yield PublicName(name, module_name, value, home or _defining_module(module_name, name))


def _defining_module(module: str, name: str) -> str:
    """Return the module that assigns a constant: this one, or the one it is imported from."""
    for node in ast.walk(parse_module(module)):
        if isinstance(node, ast.ImportFrom) and node.module and any(each.name == name for each in node.names):
            return _defining_module(node.module, name)
    return module
