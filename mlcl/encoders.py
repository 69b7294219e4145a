"""Encoders: image batch -> one representation a level.

encoder = Encoder(spec, mean, std)
vectors = encoder(images)           # one [N, D_l] a level, first to last
save(encoder, path, made_by={...}); encoder, made_by = load(path)

A checkpoint of a training with cross-entropy holds its classifier of the base classes too, for those who learn from it.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from mlcl import config
from mlcl.errors import UserError
from mlcl.files import write_all

Part = TypeVar("Part", bound=config.Part)
CLASSIFIER = "classifier."  # what its tensors' names begin with in a checkpoint
POOLING = {"average": F.adaptive_avg_pool2d, "max": F.adaptive_max_pool2d}


class Encoder(nn.Module):
    """Normalises the images, runs the network, and pools each level's map over a grid of cells."""

    def __init__(self, spec: config.Encoder, mean: list[float], std: list[float]):
        """`mean` and `std` are the training images' channel statistics, in [0, 1]: their length sets the channels C.

        A channel that is the same in all of them, of `std` 0, becomes 0. Grey images, of one channel, are taken as
        such of C equal ones.
        """
        super().__init__()
        self.spec = spec
        self.network = build(spec, len(mean))
        for name, values in (("mean", mean), ("std", [value or 1.0 for value in std])):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None])
        self.to(memory_format=torch.channels_last)  # in which convolutions are fastest, on GPUs and CPUs

    def maps(self, images: Tensor) -> list[Tensor]:
        """float [N, C, H, W] in [0, 1] -> one [N, C_l, H_l, W_l] a level."""
        normal = (images - self.mean) / self.std
        return self.network(normal.contiguous(memory_format=torch.channels_last))

    def forward(self, images: Tensor) -> list[Tensor]:
        """float [N, C, H, W] in [0, 1] -> one representation [N, D_l] a level."""
        return [
            POOLING[pooling](m, pool).permute(0, 2, 3, 1).flatten(1)
            for m, (pool, pooling) in zip(self.maps(images), cells(self.spec), strict=True)
        ]

    def compile_network(self) -> None:
        """Before the first images, on a GPU: one program for each size of images."""
        import torch._dynamo

        torch._dynamo.config.recompile_limit = 64  # of 8, it would leave the ninth uncompiled, whoever made the others
        self.network.compile(dynamic=False)

    @property
    def dims(self) -> list[int]:
        """D_l of every level."""
        return [channels * pool**2 for channels, (pool, _) in zip(self.network.channels, cells(self.spec), strict=True)]


def cells(spec: config.Encoder) -> list[tuple[int, str]]:
    """`pool` and `pooling` of every level."""
    each = (given * len(spec.levels) if len(given) == 1 else given for given in (spec.pool, spec.pooling))
    return list(zip(*each, strict=True))


def save(encoder: Encoder, path: Path, made_by: dict[str, Any], classifier: nn.Linear | None = None) -> None:
    """Write the file of `serialised`."""
    write_all({path: serialised(encoder, made_by, classifier)})


def serialised(encoder: Encoder, made_by: dict[str, Any], classifier: nn.Linear | None = None) -> bytes:
    """A safetensors file with the weights, and in its metadata the encoder's spec and what made it."""
    tensors = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    if classifier is not None:
        tensors |= {CLASSIFIER + name: tensor.contiguous() for name, tensor in classifier.state_dict().items()}
    about = {"encoder": encoder.spec.model_dump(), "made_by": made_by}
    # One entry: safetensors writes several in an order that changes from run to run.
    # And its `save_file` makes files that nobody but their owner may read.
    return safetensors.torch.save(tensors, {"mlcl": json.dumps(about, sort_keys=True)})


def load(path: Path) -> tuple[Encoder, dict[str, Any]]:
    """The encoder in evaluation mode, and what made it. Raises `UserError` where the file is missing or damaged."""
    encoder, _, made_by = load_with_classifier(path)
    return encoder, made_by


def load_made_by(path: Path) -> dict[str, Any]:
    """What made an encoder, without its weights. Raises `UserError` as `load` does."""
    return _read(path, weights=False)[0]["made_by"]


def recipe(made_by: dict[str, Any], path: Path) -> config.Method:
    """By which the encoder at `path` was trained. Raises `UserError` where this version knows no such recipe."""
    return _parsed(config.Method, made_by["method"], path)


def _parsed(kind: type[Part], values: dict[str, Any], path: Path) -> Part:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(
            f"{path}: was trained by another version of mlcl, whose recipes had other keys ({key}); train it again"
        ) from error


def load_with_classifier(path: Path) -> tuple[Encoder, nn.Linear | None, dict[str, Any]]:
    """As `load`, with the classifier of its last level, where it was trained with one."""
    about, tensors = _read(path, weights=True)
    spec = _parsed(config.Encoder, about["encoder"], path)
    encoder = Encoder(spec, tensors["mean"].flatten().tolist(), tensors["std"].flatten().tolist())
    linear = {name.removeprefix(CLASSIFIER): tensors.pop(name) for name in list(tensors) if name.startswith(CLASSIFIER)}
    encoder.load_state_dict(tensors)
    classifier = None
    if linear:
        classifier = nn.Linear(*reversed(linear["weight"].shape))
        classifier.load_state_dict(linear)
    return encoder.eval(), classifier, about["made_by"]


def _read(path: Path, weights: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The metadata of a checkpoint, and its tensors, or none."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a model.safetensors")
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("mlcl") or "null")
            if about is None:
                raise UserError(f"{path}: holds no encoder of this package; name a model.safetensors that it trained")
            _ = about["encoder"], about["made_by"]
            return about, {name: file.get_tensor(name) for name in file.keys()} if weights else {}  # noqa: SIM118
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(
            f"{path}: is no readable checkpoint ({error}); name a model.safetensors, or train it again"
        ) from error


def build(spec: config.Encoder, channels: int) -> Conv4 | ResNet12 | Branched:
    """The network with random weights, for images of so many channels; it returns every level's map."""
    trunks = {
        "conv4": lambda: Conv4(channels, spec.width),
        "resnet12": lambda: ResNet12(channels, spec.width, spec.drop_block),
    }
    trunk = trunks[spec.name]()
    return Branched(trunk) if spec.branches else trunk


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch norm, ReLU and 2x2 max-pool (Vinyals et al. 2016; Snell et al. 2017)."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.channels = (width,) * 4
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
            for inputs in (channels, width, width, width)
        )
        _initialise(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """float [N, C, H, W] -> one map [N, C_l, H_l, W_l] a level."""
        maps, x = [], images
        for block in self.blocks:
            # Max-pool and ReLU commute; in this order the ReLU touches a quarter of the values.
            x = F.relu(F.max_pool2d(block(x), 2))
            maps.append(x)
        return maps


class ResNet12(nn.Module):
    """Four residual stages as in RFS (Tian et al. 2020): widths 64-160-320-640 for `width` 64."""

    def __init__(self, channels: int, width: int, drop_block: float):
        super().__init__()
        self.channels = (width, width * 5 // 2, width * 5, width * 10)
        inputs = (channels, *self.channels[:-1])
        # Where RFS drops blocks; there the share rises to this over 40,000 steps, and the earlier stages have dropout.
        drops = (0.0, 0.0, drop_block, drop_block)
        self.stages = nn.ModuleList(Residual(*args) for args in zip(inputs, self.channels, drops, strict=True))
        _initialise(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """float [N, C, H, W] -> one map [N, C_l, H_l, W_l] a level."""
        maps, x = [], images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Residual(nn.Module):
    """Three 3x3 convolutions and a 1x1 shortcut, LeakyReLU 0.1, 2x2 max-pool, then DropBlock while training."""

    def __init__(self, inputs: int, outputs: int, drop_block: float):
        super().__init__()
        convs = [nn.Conv2d(i, outputs, 3, padding=1, bias=False) for i in (inputs, outputs, outputs)]
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in convs)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.drop = DropBlock(drop_block) if drop_block else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            if i < 2:
                y = F.leaky_relu(y, 0.1)
        # Max-pool and LeakyReLU commute (both are monotone); in this order the LeakyReLU touches a quarter.
        return self.drop(F.leaky_relu(F.max_pool2d(y + self.shortcut(x), 2), 0.1))


class Branched(nn.Module):
    """A network whose levels each go on to the width of the last, by a strided 3x3 convolution, batch norm and
    LeakyReLU 0.1 for each level after them: as Zhang et al. 2019 (Be Your Own Teacher), there with bottlenecks."""

    def __init__(self, trunk: Conv4 | ResNet12):
        super().__init__()
        self.trunk, widths = trunk, trunk.channels
        self.channels = widths[-1:] * len(widths)
        self.branches = nn.ModuleList(
            nn.Sequential(*(_halving(*pair) for pair in pairwise(widths[level:]))) for level in range(len(widths))
        )
        _initialise(self.branches)

    def forward(self, images: Tensor) -> list[Tensor]:
        """float [N, C, H, W] -> one map [N, C_l, H_l, W_l] a level."""
        return [branch(x) for branch, x in zip(self.branches, self.trunk(images), strict=True)]


def _halving(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)
    )


class DropBlock(nn.Module):
    """Drops squares of 5 x 5 from maps while training (Ghiasi et al. 2018); of an odd size that fits from smaller maps.

    torchvision alone would take the map's own size, and refuse it where it is even.
    """

    def __init__(self, share: float):
        super().__init__()
        from mlcl.vision import drop_block2d  # here, since importing torchvision takes a second

        self.share, self.drop = share, drop_block2d

    def forward(self, x: Tensor) -> Tensor:
        size = min(5, *x.shape[2:])
        return self.drop(x, self.share, size - 1 + size % 2, training=self.training)


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")
