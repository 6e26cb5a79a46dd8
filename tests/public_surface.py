"""The public surface as text, one line for each thing that somebody may rely on.

`python -m tests.public_surface` prints it; `public_surface.txt` holds what was agreed on. Names, signatures, fields and
help texts are read from the code; the keys of JSON lines are read from what commands print.
"""

import inspect
import io
import json
import os
import pkgutil
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from importlib import import_module
from pathlib import Path
from typing import Any, get_origin, is_typeddict

import attrs
from PIL import Image

import openai_images
from openai_images import ImagesError, ImageStream, Outcomes, pytest_plugin, server
from openai_images.cli import main
from tests.helpers.server_thread import serving
from tests.helpers.tiny_images import png

BUILT_BY_THE_CLIENT = (ImageStream, Outcomes)
COMMANDS = ((), ("generate",), ("edit",), ("batch",), ("costs",), ("models",), ("serve",), ("demo",))
_MODULES = re.compile(r"\b(?:openai_images|collections|typing|decimal|pathlib|datetime)\.(?:\w+\.)*(?=\w)")


def names(module: Any) -> Iterator[str]:
    """What a module offers."""
    for name in module.__all__:
        yield from described(f"{module.__name__}.{name}", getattr(module, name))


def described(name: str, value: Any) -> Iterator[str]:
    """A class with its fields and methods, a function with its signature, an alias, or the type of a value."""
    if is_typeddict(value):
        yield f"keywords {name}({', '.join(keywords(value))})"
    elif get_origin(value) is not None:
        yield f"alias {name} = {text_of(value)}"
    elif inspect.isclass(value):
        bases = [base.__name__ for base in value.__mro__[1:] if base.__name__ in openai_images.__all__]
        yield f"class {name}({', '.join(bases)})"
        yield from fields(name, value)
        if issubclass(value, ImagesError):
            yield f"{name} attributes: {', '.join(sorted(vars(value('message'))))}"
        yield from members(name, value)
    elif callable(value):
        yield f"{name}{signature(value)}"
    else:
        yield f"{name}: {text_of(type(value))}"


def fixtures() -> Iterator[str]:
    """The pytest fixtures, which are found by their names."""
    for name, value in vars(pytest_plugin).items():
        if type(value).__name__ == "FixtureFunctionDefinition":
            yield f"pytest fixture {name}"


def fields(name: str, cls: type[Any]) -> Iterator[str]:
    """The public attributes of an attrs class, in their order."""
    for field in attrs.fields(cls) if attrs.has(cls) else ():
        if not field.name.startswith("_"):
            default = "" if field.default is attrs.NOTHING else f" = {text_of(field.default)}"
            keyword = "" if not field.kw_only else ", keyword-only"
            yield f"{name}.{field.name}: {text_of(field.type)}{default}{keyword}"


def members(name: str, cls: type[Any]) -> Iterator[str]:
    """How it is built, its public methods and its properties."""
    if cls not in BUILT_BY_THE_CLIENT:
        yield f"{name}{signature(cls)}"
    for key in sorted(key for key in dir(cls) if not key.startswith("_")):
        value = inspect.getattr_static(cls, key)
        if isinstance(value, property):
            yield f"{name}.{key}: {text_of(inspect.signature(value.fget).return_annotation)}, property"  # type: ignore[arg-type]
        elif key not in dir(OSError) and callable(getattr(cls, key)):
            yield f"{name}.{key}{signature(getattr(cls, key))}"
        elif key not in dir(OSError) and not inspect.ismemberdescriptor(value):
            yield f"{name}.{key} = {text_of(value)}"


def signature(function: Callable[..., Any]) -> str:
    """Parameters, with the keywords that a TypedDict stands for, and the result."""
    found = inspect.signature(function)
    parameters = [each for each in found.parameters.values() if not each.name.startswith("_")]
    shown = [part for parameter in parameters for part in parameter_texts(parameter)]
    returns = "" if found.return_annotation is found.empty else f" -> {text_of(found.return_annotation)}"
    return f"({', '.join(shown)}){returns}"


def parameter_texts(parameter: inspect.Parameter) -> Iterator[str]:
    """A parameter, or the keywords that `**params: Unpack[...]` takes."""
    unpacked = re.fullmatch(r"(?:typing\.)?Unpack\[(?:\w+\.)*(\w+)\]", str(parameter.annotation))
    if unpacked is None:
        yield ("*" if parameter.kind is parameter.KEYWORD_ONLY else "") + text_of(parameter)
        return
    found = pkgutil.walk_packages(openai_images.__path__, "openai_images.")
    modules = [import_module(each.name) for each in found if not each.name.endswith("__main__")]
    typed_dict = next(vars(module)[unpacked[1]] for module in modules if unpacked[1] in vars(module))
    yield from (f"*{keyword}" for keyword in keywords(typed_dict))


def keywords(typed_dict: Any) -> Iterator[str]:
    """The names and types of a TypedDict."""
    for key, hint in typed_dict.__annotations__.items():
        yield f"{key}: {text_of(getattr(hint, '__forward_arg__', hint))}"


def text_of(value: Any) -> str:
    """A type, a default or a parameter without the modules of its names and without addresses."""
    text = value.__name__ if inspect.isclass(value) else str(value)
    text = re.sub(r"<(?:built-in )?function .*?>", "<function>", _MODULES.sub("", text)).replace("'", "")
    return re.sub(r"(?<= = )[A-Z]\w+\(.*", "...", text)  # a default that has a line of its own


def helps() -> Iterator[str]:
    """The help of each command."""
    for command in COMMANDS:
        yield f"$ openai-images {' '.join([*command, '--help'])}"
        yield run(*command, "--help").rstrip()


def run(*argv: str) -> str:
    """What a command prints."""
    out = io.StringIO()
    main(argv, out, io.StringIO())
    return out.getvalue()


def json_lines() -> Iterator[str]:
    """The keys of each kind of JSON line, and of the rows of a journal."""
    Image.new("RGB", (64, 64)).save("in.png")
    Path("prompts.txt").write_text("an otter\nanother otter\n")
    with serving(pictures={"png": png(b"x", (64, 64))}) as running:
        os.environ |= {"OPENAI_BASE_URL": running.base_url, "OPENAI_API_KEY": running.api_key}
        yield from keys("generate", "an otter", "--json", "-o", "a.png")
        yield from keys("generate", "an otter", "--json", "--partial-images", "2", "-o", "b.png")
        running.script("moderation_400")
        yield from keys("generate", "an otter", "--json", "-o", "c.png")
        yield from keys("edit", "in.png", "--prompt", "a hat", "--json", "-o", "d.png")
        batch = ("batch", "prompts.txt", "--out", "out", "--json")
        yield from keys(*batch, "--dry-run")
        running.script("moderation_400")
        yield from keys(*batch)
    yield from rows("journal.jsonl", Path("out/journal.jsonl").read_text())


def keys(*argv: str) -> Iterator[str]:
    """The keys that a command prints."""
    yield from rows(f"openai-images {' '.join(argv)}", run(*argv))


def rows(source: str, lines: str) -> Iterator[str]:
    """The keys of each line, once."""
    found = dict.fromkeys(", ".join(paths(json.loads(line))) for line in lines.splitlines())
    yield from (f"{source}: {line}" for line in sorted(found))


def paths(value: Any, name: str = "") -> Iterator[str]:
    """The keys of a JSON value; those of what a list holds follow its name and `[]`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from paths(value[0], f"{name}[]")
    else:
        yield name


def surface() -> str:
    """All of it."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        parts = [names(openai_images), names(server), fixtures(), helps(), json_lines()]
        return "\n\n".join("\n".join(part) for part in parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(surface())
