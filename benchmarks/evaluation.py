"""600-episode evaluations on frozen features, against the field's loops.

Everything from the memory-mapped features to the mean and its interval is timed, the drawing of episodes included.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import mlcl.vision  # noqa: F401  # before easyfsl, which imports torchvision

# isort: split
import numpy as np
import torch
from easyfsl.methods import PrototypicalNetworks
from easyfsl.samplers import TaskSampler
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from threadpoolctl import threadpool_limits
from torch.utils.data import DataLoader, Dataset

from benchmarks.compare import RUNS, alternate, milliseconds, write
from mlcl import features, solve
from mlcl.classifiers import CLASSIFIERS, logistic_regression
from mlcl.episodes import Episodes, sample
from mlcl.statistics import interval

CLASSES, IMAGES, WAY, QUERIES, EPISODES, COPIES = 20, 600, 5, 15, 600, 5
LABELS = np.repeat(np.arange(CLASSES), IMAGES)
ANSWERS = np.repeat(range(WAY), QUERIES)
LEVELS = (64, 160, 320, 640)  # of a ResNet-12
CORES = os.cpu_count() or 1
# Representations, episodes and ways, of which the cost is to be seen to grow.
GROWTH = (
    ("last", 600, 5), ("levels", 600, 5), ("levels", 2500, 5), ("levels", 10_000, 5), ("levels", 600, 10),
    ("levels", 600, 20),
)  # fmt: skip


def make(folder: Path) -> None:
    """Features as a ResNet-12's: non-negative, a common part, noise of few large directions.

    Logistic regression solves 60% (1 shot) and 88% (5 shots) of the queries at each level.
    """
    rng = np.random.default_rng(0)
    plain, copied = [], []
    for dim in LEVELS:
        spectrum = np.arange(1, dim + 1) ** -0.5
        turn = np.linalg.qr(rng.normal(size=(dim, dim)))[0] * (spectrum / np.sqrt((spectrum**2).mean()))[:, None]
        common = rng.normal(size=dim)
        images = 0.55 * np.sqrt(640 / dim) * rng.normal(size=(CLASSES, dim))[LABELS] + rng.normal(
            size=(len(LABELS), dim)
        )
        copies = np.repeat(images, COPIES, 0) + 0.5 * rng.normal(size=(len(LABELS) * COPIES, dim))
        plain.append(np.maximum(images @ turn + common, 0))
        copied.append(np.maximum(copies @ turn + common, 0))
    for name, levels in (("levels", plain), ("last", plain[-1:]), ("copies", copied[-1:])):
        record = np.dtype([(f"level{i}", np.float16, level.shape[1:]) for i, level in enumerate(levels, 1)])
        records = np.empty(len(levels[0]), record)
        for field, level in zip(record.names, levels, strict=True):
            records[field] = level
        np.save(folder / f"{name}.npy", records)


def tasks(shot: int) -> Episodes:
    return sample(LABELS, split="test", episodes=EPISODES, way=WAY, shot=shot, queries=QUERIES, seed=0)


# -- ours ----------------------------------------------------------------------------------------------------


def ours(folder: Path, classifiers: list[str], shot: int, threads: int = 1, copies: int = 1) -> tuple[float, float]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bank = solve.Bank(features.load(folder / "last.npy"), device)
    support = solve.Bank(features.load(folder / "copies.npy"), device, copies) if copies > 1 else None
    some = {name: CLASSIFIERS[name] for name in classifiers}
    found = solve.accuracies(bank, tasks(shot), some, support, threads)
    return interval(next(iter(found.values())))


# -- the field's ---------------------------------------------------------------------------------------------


def scikit_learn(
    folder: Path, shot: int, copies: int = 1, tol: float = 1e-4, dtype: type = np.float32,
    predictions: list[np.ndarray] | None = None,
) -> tuple[float, float]:  # fmt: skip
    """One logistic regression an episode, as RFS evaluates (Tian et al. 2020)."""
    vectors = np.load(folder / "last.npy")["level1"].astype(dtype)
    supports = vectors
    if copies > 1:
        supports = np.load(folder / "copies.npy")["level1"].astype(dtype)
    targets, accuracies = np.repeat(range(WAY), shot * copies), []
    drawn = tasks(shot)
    for support, query in zip(drawn.support, drawn.query, strict=True):
        rows = (support[..., None] * copies + np.arange(copies)).ravel()
        x, z = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (supports[rows], vectors[query.ravel()]))
        model = LogisticRegression(C=1.0, solver="lbfgs", max_iter=1000, tol=tol).fit(x, targets)
        predicted = model.predict(z)
        accuracies.append(accuracy_score(ANSWERS, predicted))
        if predictions is not None:
            predictions.append(predicted)
    return np.mean(accuracies), stats.sem(accuracies) * stats.t.ppf(0.975, len(accuracies) - 1)


def torch_loop(folder: Path, shot: int) -> tuple[float, float]:
    """Nearest centroids, one episode after the other, in torch."""
    vectors = torch.from_numpy(np.load(folder / "last.npy")["level1"].astype(np.float32))
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    labels, answers, accuracies = torch.from_numpy(LABELS), torch.from_numpy(ANSWERS), []
    by_class = [torch.nonzero(labels == c).flatten() for c in range(CLASSES)]
    for _ in range(EPISODES):
        classes = torch.randperm(CLASSES)[:WAY]
        rows = torch.stack([by_class[c][torch.randperm(IMAGES)[: shot + QUERIES]] for c in classes])
        means = vectors[rows[:, :shot]].mean(1)
        distances = torch.cdist(vectors[rows[:, shot:].flatten()], means)
        accuracies.append((distances.argmin(1) == answers).double().mean())
    values = torch.stack(accuracies)
    return float(values.mean()), float(values.std() / EPISODES**0.5 * stats.t.ppf(0.975, EPISODES - 1))


class Frozen(Dataset):
    """Features as easyfsl's FeaturesDataset gives them."""

    def __init__(self, vectors: torch.Tensor):
        self.vectors = vectors

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.vectors[i], int(LABELS[i])

    def get_labels(self) -> list[int]:
        return LABELS.tolist()


class Sampler(TaskSampler):
    """easyfsl 1.5 hands its base class an argument that torch no longer takes; the rest is easyfsl's."""

    def __init__(self, dataset: Frozen, shot: int):
        self.n_way, self.n_shot, self.n_query, self.n_tasks = WAY, shot, QUERIES, EPISODES
        self.items_per_label: dict[int, list[int]] = {}
        for item, label in enumerate(dataset.get_labels()):
            self.items_per_label.setdefault(label, []).append(item)


def easyfsl(folder: Path, shot: int) -> float:
    """easyfsl's sampler, loader and PrototypicalNetworks on frozen features, in its own loop's order."""
    dataset = Frozen(torch.from_numpy(np.load(folder / "last.npy")["level1"].astype(np.float32)))
    sampler = Sampler(dataset, shot)
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)
    model, right = PrototypicalNetworks(torch.nn.Identity(), feature_normalization=2).eval(), 0
    with torch.no_grad():
        for supports, support_labels, queries, query_labels, _ in loader:
            model.process_support_set(supports, support_labels)
            right += int((model(queries).argmax(1) == query_labels).sum())
    return right / (EPISODES * WAY * QUERIES)


# -- the tables ------------------------------------------------------------------------------------------------


def against_peers(folder: Path) -> list[dict[str, object]]:
    cases = [
        ("logistic regression", "scikit-learn loop", shot, copies, target, partial(scikit_learn, folder, shot, copies),
         partial(ours, folder, ["logistic_regression"], shot, copies=copies))
        for shot, copies, target in ((1, 1, 70), (5, 1, 40), (5, COPIES, 20))
    ]  # fmt: skip
    for peer, target, loop in (("easyfsl", 10, easyfsl), ("torch loop", 5, torch_loop)):
        cases += [
            ("nearest centroid", peer, shot, 1, target, partial(loop, folder, shot),
             partial(ours, folder, ["nearest_centroid"], shot))
            for shot in (1, 5)
        ]  # fmt: skip
    rows = []
    for classifier, peer, shot, copies, target, theirs, mine in cases:
        for threads in sorted({1, CORES}):
            torch.set_num_threads(threads)
            with threadpool_limits(threads if threads == 1 else None):
                seconds = alternate({"peer": theirs, "ours": partial(mine, threads=threads)})
            rows.append({
                "classifier": classifier, "shots": f"{shot} x {copies} copies" if copies > 1 else shot,
                "threads": threads, "peer": peer, "peer ms": milliseconds(seconds["peer"]),
                "ours ms": milliseconds(seconds["ours"]), "ratio": round(seconds["peer"] / seconds["ours"], 1),
                "target": target,
            })  # fmt: skip
    return rows


def agreement(folder: Path) -> list[dict[str, object]]:
    """Predictions equal to scikit-learn's at tol=1e-10 (in float64: float32 ends far from it), over 600 episodes."""
    rows = []
    bank = solve.Bank(features.load(folder / "last.npy"), torch.device("cpu"))
    for shot, copies in ((1, 1), (5, 1), (5, COPIES)):
        support = solve.Bank(features.load(folder / "copies.npy"), bank.vectors.device, copies) if copies > 1 else None
        theirs: list[np.ndarray] = []
        mean, _ = scikit_learn(folder, shot, copies, tol=1e-10, dtype=np.float64, predictions=theirs)
        (_, _, scores), *_ = solve.solve(bank, tasks(shot), {"": logistic_regression}, support)
        same = scores.argmax(1).numpy() == np.stack(theirs)
        ours_mean = (scores.argmax(1).numpy() == ANSWERS).mean()
        rows.append({
            "shots": f"{shot} x {copies} copies" if copies > 1 else shot, "queries": same.size,
            "same prediction %": f"{100 * same.mean():.3f}", "scikit-learn's accuracy": f"{100 * mean:.3f}",
            "ours": f"{100 * ours_mean:.3f}",
        })  # fmt: skip
    return rows


def growth(folder: Path) -> list[dict[str, object]]:
    """Seconds and peak memory with episodes and ways, all classifiers, 5 shots; each in a process of its own."""
    rows = []
    for name, episodes, way in GROWTH:
        command = [sys.executable, "-c", ALONE, str(folder / f"{name}.npy"), str(episodes), str(way), str(CORES)]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(RUNS)]
        seconds, memory = (statistics.median(float(run[i]) for run in runs) for i in (0, 1))
        rows.append({
            "representations": "4 levels, 2 ensembles" if name == "levels" else "level 4 alone", "episodes": episodes,
            "ways": way, "threads": CORES, "seconds": f"{seconds:.2f}", "MB above the features": f"{memory:.0f}",
        })  # fmt: skip
    return rows


# Prints the seconds of an evaluation, and by how many MB its peak is above what is there before it.
ALONE = """
import sys, time, numpy as np, torch
from pathlib import Path
from benchmarks.compare import memory
from mlcl import features, solve
from mlcl.classifiers import CLASSIFIERS
from mlcl.episodes import sample

episodes, way, threads = map(int, sys.argv[2:])
loaded = features.load(Path(sys.argv[1]))
labels = np.repeat(np.arange(20), len(loaded.vectors) // 20)
shape = dict(split="test", way=way, shot=5, queries=15, seed=0)
warm = solve.Bank(loaded, torch.device("cpu"))  # reads the features
solve.accuracies(warm, sample(labels, episodes=10, **shape), CLASSIFIERS)
with memory() as used:
    start = time.perf_counter()
    bank = solve.Bank(loaded, torch.device("cpu"))
    solve.accuracies(bank, sample(labels, episodes=episodes, **shape), CLASSIFIERS, None, threads)
    print(time.perf_counter() - start)
print(used.peak)
"""


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        about = "600 episodes, 5-way, 15 queries, 640 dimensions: from memory-mapped features to mean and interval."
        write(out, "evaluation", about, against_peers(Path(folder)))
        write(
            out,
            "agreement",
            "Logistic regression against scikit-learn at tol=1e-10 in float64.",
            agreement(Path(folder)),
        )
        about = "Three classifiers, 5 shots, 64 + 160 + 320 + 640 dimensions."
        write(out, "growth", about, growth(Path(folder)))
