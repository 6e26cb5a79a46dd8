"""The reference of the pytest plugin's fixtures, read from its source: pytest itself is not needed."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path


def page() -> str:
    """Return a section for each fixture."""
    spec = find_spec("openai_images.pytest_plugin")
    tree = ast.parse(Path((spec and spec.origin) or "").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    fixtures = [
        node for node in functions if any("fixture" in ast.unparse(each) for each in node.decorator_list)
    ]
    return "\n\n".join(f"## {node.name}\n\n{ast.get_docstring(node)}" for node in fixtures)
