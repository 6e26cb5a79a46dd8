"""The errors for a name that a lazy module or a constructor does not have, with the name that was probably meant.

Must not: be imported before a name is missing.
"""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Sequence


def missing_name(module: str, name: str, names: Sequence[str]) -> AttributeError | ImportError:
    """Return the error that `__getattr__` of `module` raises for a `name` that is not one of its public `names`.

    `from module import name` replaces an AttributeError by a message without the advice, so it gets an ImportError,
    except where `name` may be a submodule: after an AttributeError the statement looks for one.
    """
    matches = difflib.get_close_matches(name, names, 1) if not name.startswith("_") else []
    advice = f"; did you mean {matches[0]!r}?" if matches else ""
    if matches and _is_from_import() and importlib.util.find_spec(f"{module}.{name}") is None:
        return ImportError(f"cannot import name {name!r} from {module!r}{advice}", name=module)
    # With the module as `obj` the interpreter would add the same advice again.
    return AttributeError(f"module {module!r} has no attribute {name!r}{advice}", name=name, obj=None)


def unknown_keyword(class_name: str, name: str, names: Sequence[str]) -> TypeError:
    """Return the error that a constructor raises for a keyword `name` that is not one of its `names`."""
    matches = difflib.get_close_matches(name.lower(), names, 1)
    advice = f"did you mean {matches[0]!r}?" if matches else f"there are {', '.join(names)}"
    return TypeError(f"{class_name} has no keyword {name[:40]!r}; {advice}")


def _is_from_import() -> bool:
    """Whether the caller is `from module import name`, in which importlib's own function looks up the name."""
    frame = sys._getframe(3)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  documented, like inspect's
    return frame.f_code.co_name == "_handle_fromlist"
