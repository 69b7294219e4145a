"""What the paper's experiment costs: counted from its config and encoder, with rates that other benchmarks measured.

Nothing is trained here. The hours on a GPU are an estimate: operations over a share of the GPU's peak.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.compare import write
from mlcl.config import Encoder as Spec
from mlcl.config import Evaluation, Experiment, Method
from mlcl.encoders import Encoder, serialised
from mlcl.objectives import Objective

ROOT = Path(__file__).parents[1]


class Images(NamedTuple):
    """How many of a data set, as published."""

    classes: int
    """That train."""
    train: int
    val: int
    test: int

    def of(self, evaluation: Evaluation) -> int:
        """Those whose features an evaluation needs."""
        return sum(getattr(self, split) for split in evaluation.splits)


DATA = {
    "mini-imagenet": Images(64, 38_400, 9_600, 12_000),
    "tiered-imagenet": Images(351, 448_695, 124_261, 206_209),
}
SIZE, CHANNELS = 84, 3
# Dense bfloat16 products, TFLOP/s, from the maker's data sheets (SXM); the shares are assumptions.
GPUS = {"H100": 990e12, "A100": 312e12}
SHARES = (0.3, 0.5)
SWEEP = 100


def encoder(spec: Spec, device: str) -> Encoder:
    with torch.device(device):
        return Encoder(spec, [0.5] * CHANNELS, [0.25] * CHANNELS)


@cache  # most methods share an encoder
def encoder_flop(spec: Spec, views: int) -> tuple[int, int, int]:
    """Of so many views: the operations of a pass forward, of both passes, and the bytes kept between them in float32.

    On tensors without values: what they hold changes nothing.
    """
    network, kept = encoder(spec, "meta").train(), {}

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


def objective_flop(method: Method, views: int, classes: int) -> int:
    """Of the projection heads, classifier and losses, on as many views, forward and backward."""
    dims = encoder(method.encoder, "meta").dims
    objective = Objective(method.objective, dims, classes)
    representations = [torch.randn(views, dim, requires_grad=True) for dim in dims]
    with FlopCounterMode(display=False) as counted:
        objective(representations, torch.arange(views // 2) % classes)["loss"].backward()
    return counted.get_total_flops()


def measured(table: str, column: str, **where: str) -> float:
    """A number of a committed table of the benchmarks."""
    frame = pd.read_csv(ROOT / "results" / "benchmarks" / f"{table}.csv")
    for key, value in where.items():
        frame = frame[frame[key] == value]
    return float(frame[column].item())


def parameters(spec: Spec) -> int:
    return sum(values.numel() for values in encoder(spec, "meta").parameters())


def model_bytes(spec: Spec) -> int:
    return len(serialised(encoder(spec, "cpu"), {"method": {"encoder": spec.model_dump(mode="json")}}))


def operations(experiment: Experiment) -> list[dict[str, object]]:
    """A row a data set, of the method with the most to do, and one of all; the rate is of a loss at four levels."""
    rate = measured("training", "ours images/s", encoder="resnet12")
    rows, everything, seeds = [], [], len(experiment.seeds)
    for name in experiment.datasets:
        costs = [of_run(name, method, experiment.evaluation) for method in experiment.methods.values()]
        row, seen, flop = max(costs, key=itemgetter(2))
        rows.append({"runs": f"1 on {name}", **row, **total(seen, flop, rate)})
        everything += costs
    images, whole = (seeds * sum(cost[place] for cost in everything) for place in (1, 2))
    row = {**dict.fromkeys(rows[0], ""), "runs": f"all {seeds * len(everything)}"}
    return [*rows, row | total(images, whole, rate)]


def of_run(dataset: str, method: Method, evaluation: Evaluation) -> tuple[dict[str, str], int, float]:
    """What a view costs, the images trained on, and the operations of training, validations, features and copies."""
    spec, counts = method.training, DATA[dataset]
    views, steps = 2 * spec.batch_size, spec.epochs * (counts.train // spec.batch_size)
    once, both, _ = encoder_flop(method.encoder, views)
    loss = objective_flop(method, views, counts.classes)
    tasks = spec.validation
    met = min(counts.val, tasks.episodes * tasks.way * (tasks.shot + tasks.queries))
    features = counts.of(evaluation) + evaluation.support_copies * getattr(counts, evaluation.split)
    flop = steps * (both + loss) + once / views * (-(-spec.epochs // tasks.every) * met + features)
    row = {
        "forward, GFLOP a view": f"{once / views / 1e9:.2f}",
        "both passes, GFLOP a view": f"{both / views / 1e9:.2f}",
        "losses and heads, GFLOP a view": f"{loss / views / 1e9:.4f}",
    }
    return row, steps * spec.batch_size, flop


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
    """A row a data set and stage; of models, features and copies, one for each encoder, as each has its own widths."""
    evaluations = [path.stat().st_size for path in (ROOT / "results").glob("mini-imagenet-cpu/evaluations/*/*/*")]
    runs = Counter(method.encoder for method in experiment.methods.values() for _ in experiment.seeds)
    models = {spec: model_bytes(spec) for spec in runs}
    rows = []
    for name in experiment.datasets:
        counts, copies = DATA[name], experiment.evaluation.support_copies
        images, novel, read = counts.train + counts.val + counts.test, counts.test, counts.of(experiment.evaluation)
        files = [("data", f"{images:,} images of {SIZE} x {SIZE} x {CHANNELS}", images * SIZE * SIZE * CHANNELS, 1)]
        for spec, count in runs.items():
            dims = encoder(spec, "meta").dims
            widths = " + ".join(map(str, dims))
            files += [
                ("train", f"model.safetensors with representations of {widths}", models[spec], count),
                ("features", f"{widths} float16 for each of {read:,} images", 2 * sum(dims) * read, count),
                (
                    "copies",
                    f"{widths} float16 for {copies} copies of each of the {novel:,} novel images",
                    2 * sum(dims) * novel * copies,
                    count,
                ),
            ]
        files += [("evaluate", "one of results/mini-imagenet-cpu, the largest", max(evaluations), runs.total())]
        rows += [
            {
                "data set": name, "stage": stage, "of what": what, "MB each": f"{size / 1e6:.2f}", "of them": count,
                "MB": f"{size * count / 1e6:,.1f}",
            }
            for stage, what, size, count in files
        ]  # fmt: skip
    return rows


def memory(experiment: Experiment) -> list[dict[str, object]]:
    """Of the encoder with the most parameters; all have the same batches."""
    spec = max((method.encoder for method in experiment.methods.values()), key=parameters)
    views = 2 * experiment.training.batch_size
    _, _, kept = encoder_flop(spec, views)
    rows = {
        "train: weights, gradients and momentum, float32": 3 * 4 * parameters(spec),
        f"train: kept for the backward pass of {views} views, float32": kept,
        **{
            f"train: the packed base images of {name}, on the GPU or mapped": DATA[name].train * SIZE * SIZE * CHANNELS
            for name in experiment.datasets
        },
        "features: the largest map of a batch of 256 images, float32": 256 * 4 * spec.width * SIZE * SIZE,
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
        "validations, its features and its support copies. The hours are estimates, the operations over a share of "
        "the peak "
        f"({', '.join(f'{gpu} {peak / 1e12:.0f} TFLOP/s' for gpu, peak in GPUS.items())}). The days are the images "
        f"over {rate} images/s, the rate of training.md at batches of 16 on two cores."
    )
    write(out, "cost", about, operations(paper))
    write(out, "cost-disk", "Files of config/paper.yaml.", disk(paper))
    write(
        out,
        "cost-memory",
        "Counted for config/paper.yaml; what torch and CUDA take themselves comes on top.",
        memory(paper),
    )
    write(out, "cost-sweep", "Runs like those of config/config.yaml, from workflow.md.", sweep())
