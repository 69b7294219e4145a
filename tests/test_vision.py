import ast
from pathlib import Path

import torch

import mlcl
from mlcl.vision import drop_block2d, torchvision


def test_what_we_use_of_torchvision_works():
    dropped = drop_block2d(torch.ones(2, 3, 12, 12), 0.5, 3)
    assert (dropped == 0).any()
    assert torchvision.__version__


def test_nothing_else_imports_torchvision():
    for path in Path(mlcl.__file__).parent.rglob("*.py"):
        if path.name == "vision.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith("torchvision") for name in names), path
