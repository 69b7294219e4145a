"""The one door to torchvision.

A torchvision built for CUDA beside a torch built for the CPU cannot load its compiled operators, and then fails to
import because it describes two of them that are not there (github.com/pytorch/vision issue 9085). Declaring the two
names is enough to import it; they get no kernel, so calling one still fails. Where torchvision imports as it is,
nothing is declared.
"""

from __future__ import annotations

import sys

import torch


def _import_torchvision():
    import torchvision

    return torchvision


try:
    torchvision = _import_torchvision()
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    for _name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[_name]  # the half-imported package
    _missing = torch.library.Library("torchvision", "DEF")  # must stay referenced
    for _operator in ("nms", "qnms"):
        _missing.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torchvision = _import_torchvision()

from torchvision.ops import drop_block2d  # noqa: E402

__all__ = ["drop_block2d"]
