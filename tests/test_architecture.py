"""The house keeps its floors: an import may only point down, and no file or function outgrows a sitting.

`ALLOWED` is the drawing of docs/architecture.md: whoever moves a wall changes both.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "openai_images"
PUBLIC = "the public names"  # what `from openai_images import ...` gives

GROUND = {"_util", "_version", "errors"}
EDGES = {"__main__", "cli", "pytest_plugin", "server", "studio", "web"}

# Which parts a part may import, besides itself; all but the edges may import the ground as well.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "_util": {"errors"},
    "_version": set(),
    "catalog": set(),
    "models": {"catalog"},
    "validation": {"catalog", "models"},
    "wire": {"models"},
    "many": {"catalog", "models"},
    "ratelimit": {"models", "wire"},
    "http": {"models", "wire"},
    "telemetry": {"catalog", "models"},
    "client": {"catalog", "http", "many", "models", "ratelimit", "telemetry", "validation", "wire"},
    "batch": {"catalog", "client", "http", "many", "models", "wire"},
    "cluster": {"batch", "catalog", "client", "http", "many", "models", "validation", "wire"},
    "server": set(),
    "cli": {PUBLIC, "_util", "_version", "server", "studio"},
    "pytest_plugin": {PUBLIC, "server"},
    "web": {PUBLIC},
    "studio": {PUBLIC, "web"},
    "__main__": {"cli"},
    "__init__": {"batch", "catalog", "client", "cluster", "http", "many", "models", "telemetry"},
}
# The same for the folders of a part; the files above them may import all.
FOLDERS: dict[str, dict[str, set[str]]] = {
    "batch": {
        "journal": set(),
        "provider": set(),
        "items": {"journal"},
        "input": {"items"},
        "folder": {"items", "journal"},
        "sheet": {"items", "journal"},
        "run": {"folder", "items", "journal", "provider"},
        "economy": {"folder", "items", "journal", "provider", "run"},
    },
    "server": {
        "protocol": set(),
        "faults": {"protocol"},
        "requests": {"faults", "protocol"},
        "paint": {"protocol", "requests"},
        "images": {"faults", "paint", "protocol", "requests"},
        "batches": {"faults", "images", "protocol", "requests"},
    },
}
# Which parts may import a library; the client core lives from attrs and pybase64 besides.
LIBRARIES = {
    "aiohttp": {"http", "server", "studio", "web"},
    "click": {"cli"},
    "rich": {"cli"},
    "PIL": {"cli", "server"},
    "opentelemetry": {"telemetry"},
    "redis": {"ratelimit"},
}
# Started by people who may never need the server: they import it inside a function.
LAZY = {"cli", "pytest_plugin"}
# Libraries of an extra that one file uses besides, inside a function: `image.open()` is for those who have Pillow.
LATE_LIBRARIES = {("models/image.py", "PIL")}
# Bytes to values and back: no clock, no chance, no I/O.
PURE, IMPURE = {"catalog", "models", "validation", "wire"}, {"asyncio", "logging", "random", "socket", "time"}
PURE_BUT = {
    ("models/image.py", "asyncio"),  # `await image.read()` reads its file in a thread
    *(("models/options.py", name) for name in ("asyncio", "random", "time")),  # the defaults of `Timing`
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef


def imports(path: Path, tree: ast.Module) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """Each import with the full dotted name it asks for, `import_module("...")` included."""
    here = ["openai_images", *path.parts[:-1]]
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((node, alias.name) for alias in node.names)
            case ast.ImportFrom():
                base = here[: len(here) - node.level + 1] if node.level else []
                module = ".".join([*base, *filter(None, [node.module])])
                yield from ((node, f"{module}.{alias.name}") for alias in node.names)
            case ast.Call(
                func=ast.Name("import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(str(name)), *_],
            ):
                yield node, name


def check_imports(path: Path, tree: ast.Module) -> Iterator[str]:
    """Arrows that point up, and libraries in the wrong part."""
    part = path.parts[0].removesuffix(".py")
    if part not in ALLOWED:
        yield f"{part!r} has no floor: give it one in ALLOWED"
        return
    allowed = ALLOWED[part] | {part} | (set() if part in GROUND | EDGES else GROUND)
    late = {node for f in ast.walk(tree) if isinstance(f, Function) or is_typing(f) for node in ast.walk(f)}
    for node, name in imports(path, tree):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0] if rest.partition(".")[0] in ALLOWED else PUBLIC
        if top == "openai_images" and target not in allowed:
            yield f"line {node.lineno}: {part} imports {target}"
        elif top == "openai_images" and target == "server" and part in LAZY and node not in late:
            yield f"line {node.lineno}: {part} imports server before it is needed"
        elif (path.as_posix(), top) in LATE_LIBRARIES:
            if node not in late:
                yield f"line {node.lineno}: {path} imports {top} before it is needed"
        elif part not in LIBRARIES.get(top, {part}) or (top == "cattrs" and path != Path("wire/codec.py")):
            yield f"line {node.lineno}: {path} imports {top}"
        elif part in PURE and top in IMPURE and (str(path), top) not in PURE_BUT:
            yield f"line {node.lineno}: {part} is pure, and imports {top}"


def check_folder_imports(path: Path, tree: ast.Module) -> Iterator[str]:
    """Arrows between the folders of a part that the drawing does not have."""
    if len(path.parts) != 3:
        return
    part, folder, _ = path.parts
    if folder not in FOLDERS.get(part, {}):
        yield f"{part}/{folder} has no floor: give it one in FOLDERS"
        return
    for node, name in imports(path, tree):
        target = name.removeprefix(f"openai_images.{part}.").partition(".")[0]
        if name.startswith(f"openai_images.{part}.") and target not in FOLDERS[part][folder] | {folder}:
            yield f"line {node.lineno}: {part}/{folder} imports {part}/{target}"


def is_typing(node: ast.AST) -> bool:
    """Whether this is an `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def check_size(text: str, tree: ast.Module) -> Iterator[str]:
    """Files over 300 lines and functions over 45 (docstrings do not count in functions)."""
    if (lines := len(text.splitlines())) > 300:
        yield f"{lines} lines"
    for node in ast.walk(tree):
        if isinstance(node, Function):
            doc = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
            length = node.end_lineno - node.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)
            if length > 45:
                yield f"line {node.lineno}: {node.name} has {length} lines"


def check_names(tree: ast.Module) -> Iterator[str]:
    """Public things without a docstring, and an `__all__` out of order (constants, classes, the rest)."""
    if not ast.get_docstring(tree):
        yield "the module has no docstring"
    for scope in (
        tree,
        *(n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")),
    ):
        for node in scope.body:
            if isinstance(node, Documented) and not node.name.startswith("_") and not ast.get_docstring(node):
                marks = {ast.unparse(d).rpartition(".")[2] for d in node.decorator_list}
                if not marks & {"overload", "override", "setter"}:
                    yield f"line {node.lineno}: {node.name} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            if names != sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n)):
                yield f"line {node.lineno}: __all__ is not sorted"


def check(path: str, text: str) -> list[str]:
    """All that is wrong with one file of the package, `path` being relative to the package."""
    tree = ast.parse(text)
    where = Path(path)
    return [
        *check_imports(where, tree),
        *check_folder_imports(where, tree),
        *check_size(text, tree),
        *check_names(tree),
    ]


FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES)
def test_a_file_keeps_the_rules(path: str) -> None:
    """Each file of the package passes every check."""
    assert check(path, (PACKAGE / path).read_text()) == []


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which modules each module imports, those for type checkers and those inside functions included."""
    modules = {module_name(path): ast.parse(text) for path, text in sources.items()}
    edges: dict[str, set[str]] = {module: set() for module in modules}
    for path in sources:
        module = module_name(path)
        for _, name in imports(Path(path), modules[module]):
            while name and name not in modules:
                name = name.rpartition(".")[0]  # noqa: PLW2901  a name of a module, or a module
            edges[module] |= {name} - {"", module}
    return edges


def module_name(path: str) -> str:
    """The dotted name of a file of the package."""
    return ".".join(["openai_images", *Path(path).with_suffix("").parts]).removesuffix(".__init__")


def circles(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """The groups of modules that reach each other, and themselves, by imports."""
    reached = {module: reachable(edges, module) for module in edges}
    groups = {
        frozenset({module} | {other for other in reached[module] if module in reached[other]})
        for module in edges
        if module in reached[module]
    }
    return sorted((set(group) for group in groups), key=sorted)


def reachable(edges: Mapping[str, set[str]], module: str) -> set[str]:
    """All that a module imports, and what those import."""
    found: set[str] = set()
    ahead = set(edges[module])
    while ahead:
        found |= ahead
        ahead = {further for each in ahead for further in edges[each]} - found
    return found


def test_no_module_reaches_itself() -> None:
    """Imports run down, never round."""
    assert circles(graph({path: (PACKAGE / path).read_text() for path in FILES})) == []


def test_a_circle_is_seen() -> None:
    """Also one that only type checkers and functions walk."""
    sources = {
        "a.py": "if TYPE_CHECKING:\n    from openai_images import b",
        "b.py": "def f():\n    from openai_images.c.d import name",
        "c/__init__.py": "",
        "c/d.py": "import openai_images.a",
        "e.py": "from openai_images.a import name",
    }
    assert circles(graph(sources)) == [{"openai_images.a", "openai_images.b", "openai_images.c.d"}]


LONG = "def f():\n    '''Doc.\n    More.'''\n" + "    x = 1\n" * 45


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("errors.py", "from openai_images.models import Image", "errors imports models"),
        ("models/image.py", "from openai_images import wire", "models imports wire"),
        ("models/image.py", "from openai_images import ImagesClient", "models imports the public names"),
        ("wire/sse.py", "if TYPE_CHECKING:\n    import openai_images.http.transport", "wire imports http"),
        (
            "http/retry.py",
            "def f():\n    'D.'\n    import openai_images.client.call_factory",
            "http imports client",
        ),
        ("client/call_factory.py", "from openai_images.batch.batch import Run", "client imports batch"),
        ("server/server.py", "from openai_images.wire.sse import SSEFramer", "server imports wire"),
        ("cli/main.py", "from openai_images.errors import ImagesError", "cli imports errors"),
        ("cli/main.py", "import_module('openai_images.wire.sse')", "cli imports wire"),
        ("cli/main.py", "from openai_images.server import LocalImagesServer", "before it is needed"),
        ("pytest_plugin.py", "import openai_images.server", "before it is needed"),
        ("wire/codec.py", "from ..http import retry", "wire imports http"),
        ("client/files.py", "from .. import batch", "client imports batch"),
        ("wire/requests.py", "from cattrs.preconf.json import make_converter", "imports cattrs"),
        ("client/call.py", "import aiohttp", "client/call.py imports aiohttp"),
        ("wire/headers.py", "from time import monotonic", "wire is pure, and imports time"),
        ("models/image.py", "from PIL import Image", "imports PIL before it is needed"),
        ("models/media.py", "def f():\n    'D.'\n    from PIL import Image", "models/media.py imports PIL"),
        (
            "batch/items/plan.py",
            "from openai_images.batch.run import caller",
            "batch/items imports batch/run",
        ),
        ("batch/input/reader.py", "import openai_images.batch.batch", "batch/input imports batch/batch"),
        ("batch/attic/plan.py", "", "has no floor"),
        ("server/faults/plan.py", "from openai_images.server.images import handler", "server/faults imports"),
        ("server/paint/drawing.py", "from openai_images.server import routes", "server/paint imports"),
        ("attic.py", "", "has no floor"),
        ("errors.py", "x = 1\n" * 300, "301 lines"),
        ("errors.py", LONG, "f has 46 lines"),
        ("errors.py", "x = 1", "the module has no docstring"),
        ("errors.py", "class C:\n    'D.'\n    def f(self): ...", "f has no docstring"),
        ("errors.py", "__all__ = ['b', 'A']", "__all__ is not sorted"),
    ],
)
def test_the_check_sees_what_is_wrong(path: str, text: str, found: str) -> None:
    """A broken rule is reported: silence above means that all is well."""
    text = text if "module has" in found or "has no floor" in found else f"'''Doc.'''\n{text}"
    complaints = check(path, text)
    assert len(complaints) >= 1
    assert found in " | ".join(complaints)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("wire/codec.py", "import cattrs\nfrom openai_images.models.image import Image"),
        ("http/transport.py", "import aiohttp, asyncio\nfrom openai_images._version import __version__"),
        ("cli/main.py", "def f():\n    'D.'\n    from openai_images.server import LocalImagesServer"),
        ("cli/main.py", "if TYPE_CHECKING:\n    from openai_images.server import LocalImagesServer"),
        ("cli/main.py", "from openai_images import ImagesClient\nfrom openai_images.cli import show"),
        (
            "server/server.py",
            "import aiohttp\nfrom PIL import Image\nfrom . import paint\nfrom .paint.sky import draw",
        ),
        ("models/image.py", "def f():\n    'D.'\n    from PIL import Image"),
        ("errors.py", "__all__ = ['LIMIT', 'Abc', 'Image', 'find']"),
    ],
)
def test_the_check_is_silent_where_all_is_well(path: str, text: str) -> None:
    """What the drawing allows gives no complaint."""
    assert check(path, f"'''Doc.'''\n{text}") == []
