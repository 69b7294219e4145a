"""What a trained encoder says of the base classes, for another to learn: distillation."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mlcl import encoders
from mlcl.errors import UserError
from mlcl.files import sha256


class Teacher:
    """An encoder with its classifier, which no longer learn: views to logits."""

    def __init__(self, model: Path, base_classes: list[str], device: torch.device, compiled: bool = False):
        """`model` is a checkpoint, `base_classes` those that the learner is trained on.

        Raises `UserError` where it has no classifier of these.
        """
        encoder, classifier, made_by = encoders.load_with_classifier(model)
        if classifier is None:
            raise UserError(f"{model}: has no classifier to learn from; train it with objective.cross_entropy")
        if made_by["base_classes"] != base_classes:
            raise UserError(f"{model}: knows other base classes than those of the data; train it on the same data")
        self.encoder, self.classifier = encoder.to(device), classifier.to(device)
        if compiled:
            self.encoder.compile_network()
        self.sha256 = sha256(model)

    @torch.no_grad()
    def __call__(self, views: Tensor) -> Tensor:
        """float [N, C, H, W] in [0, 1] -> [N, classes]."""
        return self.classifier(self.encoder(views)[-1])
