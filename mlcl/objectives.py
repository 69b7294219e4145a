"""The loss: cross-entropy at the last level and contrastive losses at several, each on its projection head.

loss = cross_entropy * CE + sum over levels l of w_l * contrast(z_l),   z_l = g_l(r_l) / |g_l(r_l)|
loss = loss + sum over earlier levels l of v_l * CE_l                   where there is deep supervision
CE_l = (1 - s) * CE_l + s * T^2 * KL(p_last, p_l)                       where they learn from the last level too
loss = (1 - w) * loss + w * T^2 * KL(p_teacher, p)                      where there is a teacher

with r_l the level's representation and g_l its head (Multi-Level Contrastive Learning, arXiv 2107.07608; the
abstract fixes the idea, not the formula, for which the field's standard stands in).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mlcl import config, distributed


def contrast(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The supervised contrastive loss L_out (Khosla et al. 2020, eq. 2) of every level, [L]: the mean over M anchors of

        -1/|P(i)| * sum over p in P(i) of log( exp(z_i.z_p / T) / sum over a != i of exp(z_i.z_a / T) )

    z: [L, M, D], unit rows; labels: [M]; P(i): the other rows with the label of i. An anchor without positives adds 0.
    With one label an image this is NT-Xent (Chen et al. 2020, eq. 1). At least float32, also under autocast.

    All levels at once take as many operations as one does, of which each costs a GPU some time, however small it is.
    """
    with torch.autocast(z.device.type, enabled=False):
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        # A label's rows go by where it begins among all in order. (`unique` would have the CPU wait for the GPU.)
        ordered = labels.sort().values
        begin, end = (torch.searchsorted(ordered, labels, right=right) for right in (False, True))
        positives = end - begin - 1
        # The mean of z_i.z_p over P(i) follows from the sum of its label's rows: no product with the mask is needed.
        # (`index_select` and not `[:, begin]`, of which the gradient has a GPU sort.)
        sums = torch.zeros_like(z).index_add(1, begin, z).index_select(1, begin)
        mean_positive = (z * (sums - z)).sum(2) / positives.clamp(min=1) / temperature
        return torch.where(positives > 0, LogTotal.apply(z, temperature) - mean_positive, 0).mean(1)


class LogTotal(torch.autograd.Function):
    """z [L, M, D] -> [L, M]: log sum over a != i of exp(z_i.z_a / T).

    The exponentials are all that the gradient needs: a single M x M matrix a level is made, in place, and kept.
    """

    @staticmethod
    def forward(ctx, z: Tensor, temperature: float) -> Tensor:
        exponentials = z @ z.mT
        exponentials.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        highest = exponentials.amax(2, keepdim=True)
        exponentials.sub_(highest).div_(temperature).exp_()
        total = exponentials.sum(2)
        ctx.save_for_backward(z, exponentials, total)
        ctx.temperature = temperature
        return highest[..., 0] / temperature + total.log()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        # z_i.z_a is there for anchor i and for anchor a.
        z, exponentials, total = ctx.saved_tensors
        weight = (gradient / total / ctx.temperature)[..., None]
        return torch.baddbmm(weight * (exponentials @ z), exponentials.mT, weight * z), None


def divergence(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(target / T), softmax(logits / T)) (Hinton et al. 2015, section 2), a scalar: the mean of rows.

    logits, target: [N, classes]. T^2 keeps the gradient's size, whatever the temperature. At least in float32.
    """
    wide = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (logits, target))
    ours, theirs = (F.log_softmax(x / temperature, 1) for x in wide)
    return temperature**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def unit(vectors: Tensor) -> Tensor:
    """[..., D] -> the same on the unit sphere, at least in float32."""
    return F.normalize(vectors.to(torch.promote_types(vectors.dtype, torch.float32)), dim=-1)


class ProjectionHead(nn.Sequential):
    """Linear - ReLU - linear: what the contrastive loss sees on the unit sphere. Thrown away after training."""

    def __init__(self, dim: int, projection: int):
        super().__init__(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, projection))


class Objective(nn.Module):
    """The weighted sum of losses over representations; holds the projection heads and the linear classifiers.

    `dims[l - 1]` is the dimension of level l's representation, `classes` the number of base classes.
    """

    def __init__(self, spec: config.Objective, dims: list[int], classes: int):
        super().__init__()
        self.spec = spec
        self.heads = nn.ModuleDict({str(k): ProjectionHead(dims[k - 1], spec.projection) for k in spec.levels})
        self.classifier = nn.Linear(dims[-1], classes) if spec.cross_entropy else None
        self.early = nn.ModuleDict({str(k): nn.Linear(dims[k - 1], classes) for k in spec.deep_supervision})

    def forward(self, representations: list[Tensor], labels: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        """The parts of the loss and their weighted sum `loss`, all scalars, and the training `accuracy`.

        What the levels learn from the last one, `self_distillation`, is a single part, the sum with their weights.

        representations: one [2n, D_l] a level, the first views above the second ones; labels: [N] of the whole batch,
        of which this process' share are n images: all of them, unless several processes train together; target: the
        teacher's logits [2n, classes], where there is a teacher.
        Raises ValueError where there are not two views an image.
        """
        images = len(labels[distributed.share(len(labels))])
        if len(representations[-1]) != 2 * images:
            raise ValueError(f"{len(representations[-1])} representations are not two views of {images} images")
        parts: dict[str, Tensor] = {}
        loss = torch.zeros((), device=labels.device)
        both = torch.cat([labels, labels])
        if self.classifier is not None:
            logits = distributed.gather(self.classifier(representations[-1]), len(labels))
            parts["cross_entropy"] = F.cross_entropy(logits, both)  # in float32 under autocast
            parts["accuracy"] = (logits.argmax(1) == both).float().mean()
            loss = loss + self.spec.cross_entropy * parts["cross_entropy"]
        for level, weight in self.spec.deep_supervision.items():
            early = distributed.gather(self.early[str(level)](representations[level - 1]), len(labels))
            parts[f"cross_entropy_level{level}"] = term = F.cross_entropy(early, both)
            if taught := self.spec.self_distillation:
                from_last = divergence(early, logits.detach(), taught.temperature)
                parts["self_distillation"] = parts.get("self_distillation", 0) + weight * from_last
                term = (1 - taught.weight) * term + taught.weight * from_last
            loss = loss + weight * term
        if self.spec.contrast:
            same = both
            if self.spec.contrast == "simclr":  # each image is a class of its own
                same = torch.arange(len(labels), device=labels.device).repeat(2)
            projected = [self.heads[str(level)](representations[level - 1]) for level in self.spec.levels]
            z = distributed.gather(unit(torch.stack(projected, 1)), len(labels)).transpose(0, 1)
            terms = contrast(z, same, self.spec.temperature).unbind()
            for (level, weight), term in zip(self.spec.levels.items(), terms, strict=True):
                parts[f"level{level}"] = term
                loss = loss + weight * term
        if self.spec.distillation:
            weight, temperature = self.spec.distillation.weight, self.spec.distillation.temperature
            target = distributed.gather(target, len(labels))
            parts["distillation"] = divergence(logits, target, temperature)
            loss = (1 - weight) * loss + weight * parts["distillation"]
        return {"loss": loss, **parts}
