"""Stochastic gradient descent with momentum and weight decay, by torch's own fused function.

It is what `torch.optim.SGD` does, but making one of those loads torch's compiler, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


class SGD:
    """v <- momentum v + (gradient + weight_decay w), w <- w - rate v; the first v is the first such gradient.

    Parameters that never get a gradient stay as they are.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], momentum: float, weight_decay: float):
        self.parameters, self.momentum, self.weight_decay = list(parameters), momentum, weight_decay
        self.velocities: list[Tensor | None] = [None] * len(self.parameters)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        trained = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        weights = [self.parameters[i] for i in trained]
        velocities = [self.velocities[i] for i in trained]
        sgd(
            weights, [weight.grad for weight in weights], velocities, fused=True, lr=rate, momentum=self.momentum,
            weight_decay=self.weight_decay, dampening=0, nesterov=False, maximize=False,
        )  # fmt: skip
        for i, velocity in zip(trained, velocities, strict=True):
            self.velocities[i] = velocity

    def state(self) -> list[Tensor | None]:
        return self.velocities

    def restore(self, state: list[Tensor | None]) -> None:
        """What `state` gave, from any device."""
        self.velocities = [
            None if velocity is None else velocity.to(parameter.device)
            for parameter, velocity in zip(self.parameters, state, strict=True)
        ]
