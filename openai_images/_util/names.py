"""The errors for a name that a lazy module or a constructor does not have, with the name that was probably meant.

Must not: be imported before a name is missing.
"""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Sequence


def missing_name(module: str, name: str, names: Sequence[str]) -> AttributeError | ImportError:
    """Return what the `__getattr__` of `module` raises for a `name` that is not one of its public `names`.

    `from module import name` would replace an AttributeError by a sentence without the advice, so it gets an
    ImportError; but not where `name` may be a submodule, which that statement looks for after an AttributeError.
    """
    matches = difflib.get_close_matches(name, names, 1) if not name.startswith("_") else []
    advice = f"; did you mean {matches[0]!r}?" if matches else ""
    if matches and _is_from_import() and importlib.util.find_spec(f"{module}.{name}") is None:
        return ImportError(f"cannot import name {name!r} from {module!r}{advice}", name=module)
    # Without the module as `obj` the interpreter does not add the same advice once more.
    return AttributeError(f"module {module!r} has no attribute {name!r}{advice}", name=name, obj=None)


def unknown_keyword(class_name: str, name: str, names: Sequence[str]) -> TypeError:
    """Return what a constructor raises for a keyword `name` that is not one of its `names`."""
    matches = difflib.get_close_matches(name.lower(), names, 1)
    advice = f"did you mean {matches[0]!r}?" if matches else f"there are {', '.join(names)}"
    return TypeError(f"{class_name} has no keyword {name[:40]!r}; {advice}")


def _is_from_import() -> bool:
    """Whether `from module import name` asks: importlib's own function looks whether the name is there."""
    frame = sys._getframe(3)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  documented, like inspect's
    return frame.f_code.co_name == "_handle_fromlist"
