"""The loss: cross-entropy at the last level and contrastive losses at several, each on its projection head.

loss = cross_entropy * CE + sum over levels l of w_l * contrast(z_l),   z_l = g_l(r_l) / |g_l(r_l)|

with r_l the level's representation and g_l its head (Multi-Level Contrastive Learning, arXiv 2107.07608; the
abstract fixes the idea, not the formula, for which the field's standard stands in).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlcl import config


def contrast(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The supervised contrastive loss L_out (Khosla et al. 2020, eq. 2), a scalar: the mean over the M anchors of

        -1/|P(i)| * sum over p in P(i) of log( exp(z_i.z_p / T) / sum over a != i of exp(z_i.z_a / T) )

    z: [M, D], unit rows; labels: [M]; P(i): the other rows with the label of i. An anchor without positives adds 0.
    With one label an image this is NT-Xent (Chen et al. 2020, eq. 1). At least float32, also under autocast.
    """
    with torch.autocast(z.device.type, enabled=False):
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        similarity = z @ z.T / temperature
        self_pair = torch.eye(len(z), dtype=torch.bool, device=z.device)
        positive = (labels[:, None] == labels[None, :]) & ~self_pair
        log_total = similarity.masked_fill(self_pair, -torch.inf).logsumexp(1)
        count = positive.sum(1)
        mean_positive = (similarity * positive).sum(1) / count.clamp(min=1)
        return torch.where(count > 0, log_total - mean_positive, 0).mean()


class ProjectionHead(nn.Sequential):
    """Linear - ReLU - linear, then the unit sphere: what the contrastive loss sees. Thrown away after training."""

    def __init__(self, dim: int, projection: int):
        super().__init__(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, projection))

    def forward(self, representation: Tensor) -> Tensor:
        projected = super().forward(representation)
        return F.normalize(projected.to(torch.promote_types(projected.dtype, torch.float32)), dim=1)


class Objective(nn.Module):
    """The weighted sum of losses over representations; holds the projection heads and the linear classifier.

    `dims[l - 1]` is the dimension of level l's representation, `classes` the number of base classes.
    """

    def __init__(self, spec: config.Objective, dims: list[int], classes: int):
        super().__init__()
        self.spec = spec
        self.heads = nn.ModuleDict({str(k): ProjectionHead(dims[k - 1], spec.projection) for k in spec.levels})
        self.classifier = nn.Linear(dims[-1], classes) if spec.cross_entropy else None

    def forward(self, representations: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """The parts of the loss and their weighted sum `loss`, all scalars, and the training `accuracy`.

        representations: one [2N, D_l] a level, the first views of the batch above the second ones; labels: [N].
        Raises ValueError where there are not two views an image.
        """
        if len(representations[-1]) != 2 * len(labels):
            raise ValueError(f"{len(representations[-1])} representations are not two views of {len(labels)} images")
        parts: dict[str, Tensor] = {}
        loss = torch.zeros((), device=labels.device)
        both = torch.cat([labels, labels])
        if self.classifier is not None:
            logits = self.classifier(representations[-1])
            parts["cross_entropy"] = F.cross_entropy(logits, both)  # in float32 under autocast
            parts["accuracy"] = (logits.argmax(1) == both).float().mean()
            loss = loss + self.spec.cross_entropy * parts["cross_entropy"]
        image = torch.arange(len(labels), device=labels.device)
        same = both if self.spec.contrast == "supcon" else torch.cat([image, image])
        for level, weight in self.spec.levels.items():
            z = self.heads[str(level)](representations[level - 1])
            parts[f"level{level}"] = contrast(z, same, self.spec.temperature)
            loss = loss + weight * parts[f"level{level}"]
        return {"loss": loss, **parts}
