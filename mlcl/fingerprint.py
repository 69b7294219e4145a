"""A fingerprint of the code behind a stage: it changes when the code does, not when a comment or docstring does."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from mlcl.errors import UserError

PACKAGE = Path(__file__).parent
# What these hold reaches a stage as parameters, or does not touch its result.
OUTSIDE = {"config", "energy", "errors", "files", "fingerprint", "progress", "record"}


def fingerprint(*modules: str) -> str:
    """Twelve hex digits for modules of the package, such as `train` or `data.glyphs`, and all that they import of it,
    with the CSV files that a package of them holds.

    Reads the files only: nothing is imported, so that asking is cheap.
    """
    digest = hashlib.sha256()
    for name in sorted(set().union(*map(_reach, modules))):
        path = _path(name)
        digest.update(f"{name}\n{_read(path.read_text())[1]}\n".encode())
        for table in sorted(path.parent.glob("*.csv")) if path.name == "__init__.py" else ():
            digest.update(table.name.encode() + table.read_bytes())
    return digest.hexdigest()[:12]


def _path(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _reach(module: str) -> set[str]:
    """The module and the modules of the package that it imports, directly or not."""
    found, waiting = set(), {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= _imports(_path(name)) - found - OUTSIDE
    return found


def _imports(path: Path) -> set[str]:
    """Modules of the package that a file imports."""
    return {name for name in _read(path.read_text())[0] if _path(name).exists()}


@cache  # a workflow asks for a dozen stages, which share most of their modules
def _read(source: str) -> tuple[set[str], str]:
    """What it names by `from mlcl import a`, `from mlcl.a import b` or `import mlcl.a`, and what it means: the syntax
    tree without line numbers and without strings that stand alone, as docstrings do.
    """
    imports, names = [], set()
    meaning = str(_plain(ast.parse(source), imports))
    for node in imports:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif node.level:  # it would be missed, and results of other code kept
            raise UserError(f"{ast.unparse(node)}: cannot be traced; write it with the whole name, from mlcl.")
        elif node.module.partition(".")[0] == "mlcl":
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("mlcl.") for name in names if name.startswith("mlcl.")}, meaning


def _plain(node: Any, imports: list[ast.Import | ast.ImportFrom]) -> Any:
    """A syntax tree as nested lists, the same from every Python: versions differ in which empty fields a node has.

    One walk for all, since every start of a workflow takes it: `imports` gets the imports on the way.
    """
    if isinstance(node, list):
        return [_plain(part, imports) for part in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Import | ast.ImportFrom):
        imports.append(node)
    fields = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            value = [part for part in value if not _stands_alone(part)]
        if value is not None and value != []:
            fields.append([name, _plain(value, imports)])
    return [type(node).__name__, *fields]


def _stands_alone(node: Any) -> bool:
    """Whether it is a statement of nothing but a string, as a docstring is."""
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)
