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
    tree, names = ast.parse(source), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:  # it would be missed, and results of other code kept
            raise UserError(f"{ast.unparse(node)}: cannot be traced; write it with the whole name, from mlcl.")
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "mlcl":
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    inside = {name.removeprefix("mlcl.") for name in names if name.startswith("mlcl.")}
    return inside, str(_plain(_WithoutDocstrings().visit(tree)))


def _plain(node: Any) -> Any:
    """A syntax tree as nested lists, the same from every Python: versions differ in which empty fields a node has."""
    if isinstance(node, list):
        return [_plain(part) for part in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [[name, _plain(value)] for name, value in ast.iter_fields(node) if value not in (None, [])]
    return [type(node).__name__, *fields]


class _WithoutDocstrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(getattr(node.value, "value", None), str) else node
