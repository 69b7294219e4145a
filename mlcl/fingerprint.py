"""A fingerprint of the code behind a stage: it changes when the code does, not when a comment or docstring does."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# What these hold reaches a stage as parameters, or does not touch its result.
OUTSIDE = {"config", "energy", "errors", "files", "fingerprint", "progress", "record"}


def fingerprint(*modules: str) -> str:
    """Twelve hex digits for modules of the package, such as `train` or `data.glyphs`, and all that they import of it.

    Reads the source files only: nothing is imported, so that asking is cheap.
    """
    digest = hashlib.sha256()
    for name in sorted(set().union(*map(_reach, modules))):
        digest.update(f"{name}\n{_meaning(_path(name).read_text())}\n".encode())
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
    """Modules of the package named by `from mlcl import a`, `from mlcl.a import b` or `import mlcl.a`."""
    return {name for name in _names(path.read_text()) if _path(name).exists()}


# By what is written there: a workflow asks for a dozen stages, which share most of their modules.
@cache
def _names(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "mlcl":
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.removeprefix("mlcl.") for name in names if name.startswith("mlcl.")}


@cache
def _meaning(source: str) -> str:
    """The syntax tree without line numbers and without strings that stand alone, as docstrings do."""
    return ast.dump(_WithoutDocstrings().visit(ast.parse(source)))


class _WithoutDocstrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(getattr(node.value, "value", None), str) else node
