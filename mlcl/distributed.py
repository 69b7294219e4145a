"""One training on several GPUs or hosts: torchrun's agent starts the processes, torch.distributed joins them.

Each process sees its share of the images of every batch. All that the loss needs of them is gathered, with gradient, so
that every process has the loss of the whole batch, and batch norm takes its statistics over all of them: a step is the
step of a single process on the same batch, up to rounding and to what DropBlock draws. In a process that runs alone,
nothing here does anything.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mlcl.errors import UserError

# -- processes ----------------------------------------------------------------------------------------------


def launch(processes: int, work: Callable[..., None], *arguments: Any) -> None:
    """Run work(*arguments) in so many processes of this machine; where one fails, stop all and raise `UserError`."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for logger in ("torch.distributed.elastic", "torch.multiprocessing"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # what they would say is raised below
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        local_addr="localhost", run_id="mlcl", max_restarts=0,
    )  # fmt: skip
    try:
        elastic_launch(config, _worker)(work, arguments)
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        raise UserError(_reason(failure.message, rank, processes)) from None
    except SignalException as stopped:
        sys.exit(128 + stopped.sigval)


def _worker(work: Callable[..., None], arguments: tuple) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as in the command's own process
    try:
        work(*arguments)
    except UserError:
        raise
    except Exception:
        time.sleep(1)  # a process that lost another fails as well: let the one at fault be seen first
        raise


def _reason(message: Any, rank: int, processes: int) -> str:
    """Why a process failed, from what torchrun's agent knows: an exception of its own, or only how it ended."""
    if isinstance(message, dict):
        kind, _, text = message["message"].partition(": ")
        if kind == UserError.__name__:
            return text
        print(message["extraInfo"]["py_callstack"], file=sys.stderr)
        message = message["message"]
    return f"process {rank} of {processes} failed ({message}) and the others were stopped; start again to continue"


@contextmanager
def joined(devices: list[torch.device]) -> Iterator[torch.device]:
    """Join the processes that torchrun started with this one, if it did; the device of this process' own."""
    if not dist.is_torchelastic_launched():
        yield devices[0]
        return
    device = devices[int(os.environ["LOCAL_RANK"]) % len(devices)]
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield device
    dist.destroy_process_group()


def rank() -> int:
    """This process' number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def from_first(value: Any) -> Any:
    """The first process' value, in every process."""
    if size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


# -- a batch in shares --------------------------------------------------------------------------------------


def share(images: int) -> slice:
    """The part of a batch of so many images that is this process'; the parts differ by at most one image."""
    return slice(images * rank() // size(), images * (rank() + 1) // size())


def gather(views: Tensor, images: int) -> Tensor:
    """Two views of every image of this process' share [2n, ...] -> those of the whole batch [2N, ...], N = `images`.

    In both, the first views stand above the second ones. The gradient goes back to the process that a row is from.
    """
    if size() == 1:
        return views
    own = views.unflatten(0, (2, -1))
    whole = own.new_zeros(2, images, *own.shape[2:], dtype=torch.promote_types(own.dtype, torch.float32))
    whole[:, share(images)] = own.to(whole.dtype)
    return _Sum.apply(whole).flatten(0, 1)


class _Sum(torch.autograd.Function):
    """The sum over the processes. Each has a loss: the gradient of a term is the sum of theirs."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


# -- the model ----------------------------------------------------------------------------------------------


def together(model: nn.Module, device: torch.device) -> nn.Module:
    """The model so that processes train it together: the mean of their gradients, batch norm over all their images.

    The parameters stay those of `model`.
    """
    if size() == 1:
        return model
    if device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    else:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = _BatchNorm
    # A static graph, since a level above the highest that is trained on never gets a gradient.
    return nn.parallel.DistributedDataParallel(model, static_graph=True)


class _BatchNorm(nn.BatchNorm2d):
    """What torch's SyncBatchNorm is on GPUs, on the CPU, where it has none."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        y, mean, variance = _Normalise.apply(x, self.weight, self.bias, self.eps)
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        return y


class _Normalise(torch.autograd.Function):
    """x [n, C, H, W] normalised by the mean and variance over all processes, and these (the variance unbiased)."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        pixels = x.numel() // x.shape[1]
        # torch.var_mean is 30 times slower on images stored with their channels last. What is unused sets the type.
        unused = torch.zeros_like(weight), torch.ones_like(weight)
        mean, variance = (part.double() for part in torch.ops.aten.batch_norm_update_stats(x, *unused, 0.0))
        sums = pixels * torch.stack([torch.ones_like(mean), mean, variance + mean.square()])
        dist.all_reduce(sums)
        count, mean, square = sums[0, 0], sums[1] / sums[0], sums[2] / sums[0]
        variance = square - mean.square()  # in float64, where the difference keeps the digits that it needs
        unbiased = (variance * count / (count - 1)).to(weight.dtype)
        mean, variance = mean.to(weight.dtype), variance.to(weight.dtype)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, unbiased)
        return torch.batch_norm(x, weight, bias, mean, variance, False, 0, eps, False), mean, unbiased

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, *_) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance, count = ctx.saved_tensors
        # With mean and variance held still, then what follows from theirs.
        direct, for_weight, for_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([for_weight, for_bias])
        dist.all_reduce(sums)
        scale = (variance + ctx.eps).rsqrt()
        slope = weight * scale.square() * sums[0] / count.to(weight.dtype)
        offset = weight * scale * sums[1] / count.to(weight.dtype) - slope * mean
        by_mean_and_variance = torch.addcmul(offset[:, None, None], x, slope[:, None, None])
        return direct - by_mean_and_variance.to(direct.dtype), for_weight, for_bias, None
