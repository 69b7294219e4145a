"""What the paper's experiment costs: counted from its config and encoder, with rates that other benchmarks measured.

Nothing is trained here. The hours on a GPU are an estimate: operations over a share of the GPU's peak.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.compare import write
from mlcl.config import Experiment, Method
from mlcl.encoders import Encoder, save
from mlcl.objectives import Objective

ROOT = Path(__file__).parents[1]
# mini-ImageNet, as published: 64 classes of 600 images train, 16 validate, 20 test.
CLASSES, BASE, VALIDATION, IMAGES = 64, 38_400, 9_600, 60_000
SIZE, CHANNELS = 84, 3
# Dense bfloat16 products, TFLOP/s, from the maker's data sheets (SXM); the shares are assumptions.
GPUS = {"H100": 990e12, "A100": 312e12}
SHARES = (0.3, 0.5)
SWEEP = 100


def encoder(method: Method, device: str) -> Encoder:
    with torch.device(device):
        return Encoder(method.encoder, [0.5] * CHANNELS, [0.25] * CHANNELS)


def encoder_flop(method: Method, views: int) -> tuple[int, int, int]:
    """Of so many views: the operations of a pass forward, of both passes, and the bytes kept between them in float32.

    On tensors without values: what they hold changes nothing.
    """
    network, kept = encoder(method, "meta").train(), {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    with FlopCounterMode(display=False) as forward, saved_tensors_hooks(keep, lambda tensor: tensor):
        representations = network(torch.empty(views, CHANNELS, SIZE, SIZE, device="meta"))
    with FlopCounterMode(display=False) as backward:
        # Every level has a gradient here; a loss at the last level has one that reaches the same convolutions.
        sum(vectors.sum() for vectors in representations).backward()
    once = forward.get_total_flops()
    return once, once + backward.get_total_flops(), sum(kept.values())


def objective_flop(method: Method, views: int) -> int:
    """Of the projection heads, classifier and losses, on as many views, forward and backward."""
    dims = encoder(method, "meta").dims
    objective = Objective(method.objective, dims, CLASSES)
    representations = [torch.randn(views, dim, requires_grad=True) for dim in dims]
    with FlopCounterMode(display=False) as counted:
        objective(representations, torch.arange(views // 2) % CLASSES)["loss"].backward()
    return counted.get_total_flops()


def measured(table: str, column: str, **where: str) -> float:
    """A number of a committed table of the benchmarks."""
    frame = pd.read_csv(ROOT / "results" / "benchmarks" / f"{table}.csv")
    for key, value in where.items():
        frame = frame[frame[key] == value]
    return float(frame[column].item())


def model_bytes(method: Method) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save(encoder(method, "cpu"), path, {"method": method.model_dump(mode="json")})
        return path.stat().st_size


def operations(experiment: Experiment) -> list[dict[str, object]]:
    """A row a method, and one for the experiment; the rate is that of the contrastive loss at four levels."""
    rate = measured("training", "ours images/s", encoder="resnet12")
    rows, runs, whole = [], 0, 0.0
    for name, method in experiment.methods.items():
        spec = method.training
        views, steps = 2 * spec.batch_size, spec.epochs * (BASE // spec.batch_size)
        once, both, _ = encoder_flop(method, views)
        loss = objective_flop(method, views)
        validations = -(-spec.epochs // spec.validation.every)
        flop = steps * (both + loss) + once / views * (validations * VALIDATION + IMAGES)
        runs, whole = runs + len(experiment.seeds), whole + len(experiment.seeds) * flop
        rows.append({
            "runs": f"1 of {name}", "forward, GFLOP a view": f"{once / views / 1e9:.2f}",
            "both passes, GFLOP a view": f"{both / views / 1e9:.2f}",
            "losses and heads, GFLOP a view": f"{loss / views / 1e9:.4f}",
            **total(steps * spec.batch_size, flop, rate),
        })  # fmt: skip
    for what, share in ((f"all {runs}", 1), (f"{SWEEP} such", SWEEP / runs)):
        images = runs * steps * spec.batch_size * share
        rows.append({**dict.fromkeys(rows[0], ""), "runs": what, **total(images, whole * share, rate)})
    return rows


def total(images: float, flop: float, rate: float) -> dict[str, str]:
    return {
        "images trained on": f"{images:,.0f}", "PFLOP": f"{flop / 1e15:,.0f}",
        **{
            f"hours, {gpu} at {share:.0%}": f"{flop / (peak * share) / 3_600:.2f}"
            for gpu, peak in GPUS.items() for share in SHARES
        },
        "days, this CPU": f"{images / rate / 86_400:.1f}",
    }  # fmt: skip


def disk(experiment: Experiment) -> list[dict[str, object]]:
    method = next(iter(experiment.methods.values()))
    dims = encoder(method, "meta").dims
    evaluations = [path.stat().st_size for path in (ROOT / "results").glob("mini-imagenet-cpu/evaluations/*/*/*")]
    runs = len(experiment.datasets) * len(experiment.methods) * len(experiment.seeds)
    sizes = {
        "data": (f"{IMAGES:,} images of {SIZE} x {SIZE} x {CHANNELS}", IMAGES * SIZE * SIZE * CHANNELS, 1),
        "train": ("model.safetensors", model_bytes(method), runs),
        "features": (f"{' + '.join(map(str, dims))} float16 an image", 2 * sum(dims) * IMAGES, runs),
        "evaluate": ("one of results/mini-imagenet-cpu, the largest", max(evaluations), runs),
    }
    return [
        {
            "stage": stage, "of what": what, "MB each": f"{size / 1e6:.2f}", "of them": count,
            "MB": f"{size * count / 1e6:,.1f}",
            f"GB of {SWEEP} runs": f"{size * (1 if stage == 'data' else SWEEP) / 1e9:.3f}",
        }
        for stage, (what, size, count) in sizes.items()
    ]  # fmt: skip


def memory(experiment: Experiment) -> list[dict[str, object]]:
    method = next(iter(experiment.methods.values()))
    views = 2 * method.training.batch_size
    parameters = sum(values.numel() for values in encoder(method, "meta").parameters())
    _, _, kept = encoder_flop(method, views)
    rows = {
        "train: weights, gradients and momentum, float32": 3 * 4 * parameters,
        f"train: kept for the backward pass of {views} views, float32": kept,
        "train: the packed base images, on the GPU or mapped from the file": BASE * SIZE * SIZE * CHANNELS,
        "features: the largest map of a batch of 256 images, float32": 256 * 4 * method.encoder.width * SIZE * SIZE,
    }
    return [{"what": what, "MB": f"{size / 1e6:,.0f}"} for what, size in rows.items()]


def sweep() -> list[dict[str, object]]:
    """The default experiment's runs, as measured."""
    stages = {"train": "train", "features": "features", "evaluate": "evaluate"}
    seconds = {stage: measured("workflow", "seconds a job", rule=rule) for stage, rule in stages.items()}
    seconds["all"] = sum(seconds.values())
    return [
        {"stage": stage, "seconds a job": f"{value:.1f}", f"core hours of {SWEEP} runs": f"{SWEEP * value / 3_600:.2f}"}
        for stage, value in seconds.items()
    ]


def main(out: Path) -> None:
    paper = Experiment.load(ROOT / "config" / "paper.yaml")
    rate = measured("training", "ours images/s", encoder="resnet12")
    about = (
        "Operations of config/paper.yaml, a multiplication and an addition being two; PFLOP: of a training, its "
        "validations and its features. The hours are estimates, the operations over a share of the peak "
        f"({', '.join(f'{gpu} {peak / 1e12:.0f} TFLOP/s' for gpu, peak in GPUS.items())}). The days are the images "
        f"over {rate} images/s, the rate of training.md at batches of 16 on two cores."
    )
    write(out, "cost", about, operations(paper))
    write(out, "cost-disk", "Files of config/paper.yaml; of a sweep on the same data set.", disk(paper))
    write(
        out,
        "cost-memory",
        "Counted for config/paper.yaml; what torch and CUDA take themselves comes on top.",
        memory(paper),
    )
    write(out, "cost-sweep", "Runs like those of config/config.yaml, from workflow.md.", sweep())
