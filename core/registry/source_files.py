"""Where a module's file lies and what its docstring says, without executing anything.

`importlib.util.find_spec("a.b")` imports `a`, which for a stranger's package may mean torch. This asks the finders part
by part instead, and refuses to import a parent.
"""

from __future__ import annotations

import ast
import sys
import tokenize
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

_BEFORE_DOCSTRING = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING)


def find_module(module: str) -> ModuleSpec | None:
    """What importing `module` would find; None if there is no such module."""
    locations: Sequence[str] | None = None
    spec = None
    for part in _prefixes(module):
        if spec is not None and locations is None:
            return None
        spec = _find(part, locations)
        if spec is None:
            return None
        locations = spec.submodule_search_locations
    return spec


def module_file(module: str) -> Path | None:
    """The file that importing `module` would execute; None if there is no such file."""
    spec = find_module(module)
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def first_docstring_line(file: Path) -> str:
    """The first line of a Python file's docstring; "" if there is none, or if the file is not Python source."""
    try:
        with tokenize.open(file) as source:
            for token in tokenize.generate_tokens(source.readline):
                if token.type == tokenize.STRING:
                    text = ast.literal_eval(token.string)
                    return text.strip().split("\n")[0].strip() if isinstance(text, str) else ""
                if token.type not in _BEFORE_DOCSTRING:
                    return ""
    except (OSError, SyntaxError, ValueError, tokenize.TokenError):
        return ""
    return ""


def _prefixes(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _find(name: str, locations: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        find_spec = getattr(finder, "find_spec", None)
        spec = find_spec(name, locations) if find_spec else None
        if isinstance(spec, ModuleSpec):
            return spec
    return None
