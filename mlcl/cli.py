"""The `mlcl` command: one subcommand a stage. Each imports what it needs only when it runs."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from mlcl.errors import UserError

PACKED = Path("data", "packed")
SPEC = "JSON, or FILE:KEY as in config/config.yaml:{}"


def main(arguments: list[str] | None = None) -> None:
    if arguments is None:
        # At once, as every file allows: Python's KeyboardInterrupt is now and then swallowed by what is being imported.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["data"] and words[1:2] and words[1] in ("verify", "show"):
        words = words[1:]  # `mlcl data NAME` takes any other word for a data set
    given = parser().parse_args(words)
    sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no UTF-8
    try:
        given.run(given)
    except UserError as error:
        sys.exit(f"mlcl {given.stage}: {error}")
    except BrokenPipeError:  # as of `mlcl status | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python will flush what is left
        sys.exit(1)
    except OSError as error:
        if error.strerror is None:
            raise
        remedy = "; make room on its disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        sys.exit(f"mlcl {given.stage}: {error.filename or 'a file'}: {error.strerror}{remedy}")


def data(given: argparse.Namespace) -> None:
    from mlcl.data import definition, sources
    from mlcl.data.pack import pack

    name, spec = _dataset(given.name)
    out = given.out or PACKED / name
    definition.check(out, definition.of(spec))
    pack(sources.open_source(spec, given.root, given.copy), out)


def verify(given: argparse.Namespace) -> None:
    from mlcl.data.verify import verify

    folder = _packed(given.name)
    others = [path.parent for path in sorted(folder.parent.glob("*/manifest.json")) if path.parent != folder]
    checks = verify(folder, others)
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'ok  ' if check.passed else 'FAIL'}  {check.name:{width}}  {check.found}")
    if not all(check.passed for check in checks):
        raise UserError(f"{folder}: is not what it should be; see the lines marked FAIL")


def show(given: argparse.Namespace) -> None:
    from mlcl.data.show import show

    folder = _packed(given.name)
    out = given.out or folder
    show(folder, out)
    print(*(out / name for name in ("sheet.png", "classes.png", "data.json")), sep="\n")


def classify(given: argparse.Namespace) -> None:
    from mlcl import hardware
    from mlcl.classify import classify, listed
    from mlcl.data.folder import counted

    device = hardware.devices(given.device)[0]
    found = classify(given.model, given.support, given.images, given.weights, device, given.out)
    for what, share in found.recognised.items():
        print(f"{share:6.1%} of the supports, left out in turn, are recognised by {what}")
    if found.single:
        print(
            f"a single labelled image, which cannot be left out to see what to expect, has {', '.join(found.single)}; "
            "the probabilities are not scaled, and far too low; add another"
        )
    print(
        f"{given.out}: {found.asked - len(found.unreadable)} images, each named as one of {len(found.classes)} classes"
    )
    if found.others:
        print(f"{counted(found.others)} passed over, being no images")
    if found.unreadable:
        raise UserError(f"{len(found.unreadable)} of {found.asked} images have no name: {listed(found.unreadable)}")


def status(given: argparse.Namespace) -> None:
    from mlcl import config
    from mlcl.status import status

    if not (given.root / "results").is_dir():
        raise UserError(f"--root: {given.root.resolve()} holds no results/; name the folder that does")
    print(status(config.Experiment.load(given.config), given.root))


def _dataset(text: str):
    """The spec that `text` gives: a source by its name with its defaults, JSON, or FILE:KEY; and a name for it."""
    from mlcl import config
    from mlcl.data.sources import MODULES

    known = [name for name in MODULES if name != "folder"]  # which needs a path
    if text in known:
        return text, config.part(config.Dataset, f'{{"source": "{text}"}}')
    if not text.lstrip().startswith("{") and ":" not in text:
        raise UserError(
            f"{text} is none of {', '.join(known)}; nor is it a spec: JSON, as in "
            '\'{"source": "folder", "path": "photos"}\', or FILE:KEY, as in config/config.yaml:datasets.glyphs'
        )
    spec = config.part(config.Dataset, text)
    return spec.source if text.lstrip().startswith("{") else text.rpartition(".")[2], spec


def _packed(name: str) -> Path:
    """A packed data set by the name of its folder below data/packed, or by its path."""
    return Path(name) if (Path(name) / "manifest.json").exists() else PACKED / name


def train(given: argparse.Namespace) -> None:
    from mlcl import config, hardware
    from mlcl.train import train

    method = config.part(config.Method, given.method)
    devices = hardware.devices(given.device, given.gpus)
    train(
        given.data, method, given.seed, devices, given.out, given.records or given.out, given.scratch,
        given.max_minutes, given.teacher,
    )  # fmt: skip


def run(given: argparse.Namespace) -> None:
    from mlcl import config
    from mlcl.run import run

    run(config.Experiment.load(given.config), given.root, given.max_minutes)


def features(given: argparse.Namespace) -> None:
    from mlcl import hardware
    from mlcl.extract import extract

    extract(given.data, given.model, hardware.devices(given.device)[0], given.out, given.splits, given.overlap)


def copies(given: argparse.Namespace) -> None:
    from mlcl import config, hardware
    from mlcl.extract import extract_copies

    spec = config.part(config.Evaluation, given.evaluation)
    if not spec.support_copies:
        raise UserError("evaluation.support_copies: is 0; set it to the number of copies")
    extract_copies(
        given.data, given.model, spec.split, spec.support_copies, spec.seed, hardware.devices(given.device)[0],
        given.out, given.overlap,
    )  # fmt: skip


def evaluate(given: argparse.Namespace) -> None:
    from mlcl import config, hardware
    from mlcl.evaluate import evaluate

    spec = config.part(config.Evaluation, given.evaluation)
    if given.choices and not spec.choose:
        raise UserError("--choices: is for choose: true, and the evaluation has choose: false; leave it out")
    evaluate(
        given.data, given.features, spec, _run(given.run_name), hardware.devices(given.device)[0], given.out,
        given.choices, given.threads,
    )  # fmt: skip


def deep_ensemble(given: argparse.Namespace) -> None:
    from mlcl import config, hardware
    from mlcl.deep_ensembles import evaluate

    spec = config.part(config.Evaluation, given.evaluation)
    evaluate(
        given.data, given.features, given.evaluations, spec, hardware.devices(given.device)[0], given.out,
        given.threads,
    )  # fmt: skip


def tables(given: argparse.Namespace) -> None:
    from mlcl import config
    from mlcl.tables import write

    write(config.part(config.Experiment, given.experiment), given.evaluations, given.out, given.root)


def report(given: argparse.Namespace) -> None:
    from mlcl import config
    from mlcl.report import write

    experiment = config.part(config.Experiment, given.experiment)
    write(experiment, given.evaluations, given.records, given.figures, given.out, given.card, given.root)


def draw_training(given: argparse.Namespace) -> None:
    from mlcl import config
    from mlcl.figures.training import draw
    from mlcl.tables.study import titles

    experiment = config.part(config.Experiment, given.experiment)
    draw(given.metrics, experiment.training_sets, titles(experiment), given.out)


def draw_features(given: argparse.Namespace) -> None:
    from mlcl import config
    from mlcl.figures.features import draw
    from mlcl.tables.study import titles

    draw(given.data, given.features, titles(config.part(config.Experiment, given.experiment)), given.out)


def tensorboard(given: argparse.Namespace) -> None:
    from mlcl import config
    from mlcl.board import write

    write(config.part(config.Experiment, given.experiment), given.evaluations, given.data, given.features, given.out)


def compare(given: argparse.Namespace) -> None:
    from mlcl.compare import compare

    table = compare(given.first, given.second, given.representations)
    forms = dict.fromkeys(["first", "second"], "{:.2f}".format) | {"difference": "{:+.2f}".format}
    forms |= {"ci95": "± {:.2f}".format} | dict.fromkeys(["p", "p_holm"], "{:.2g}".format)
    print(
        f"first: {given.first}", f"second: {given.second}", "", table.to_string(index=False, formatters=forms), sep="\n"
    )


def overview(given: argparse.Namespace) -> None:
    from mlcl.overview import write

    for reason in write(given.configs, given.out, given.root):
        print(f"passed over: {reason}")


def _run(name: str) -> tuple[str, str, int]:
    match name.split("/"):
        case [dataset, method, seed] if seed.isdecimal():
            return dataset, method, int(seed)
    raise UserError(f"--run: {name} is not DATASET/METHOD/SEED, such as glyphs/multi_level/0")


def weight(text: str) -> float:
    """The type of an argument: a number, as tables list it with a comma behind."""
    return float(text.removesuffix(","))


def whole(least: int) -> Callable[[str], int]:
    """The type of an argument: a whole number, `least` or more."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is no whole number from {least} on")
        return int(text)

    return read


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="mlcl", description="Multi-level contrastive learning for few-shot problems.")
    stages = top.add_subparsers(dest="stage", required=True, metavar="STAGE")

    def stage(run, text: str, under: str = "") -> argparse.ArgumentParser:
        name = run.__name__.replace("_", "-")
        command = stages.add_parser(name, help=text, description=text, prog=f"mlcl {under}{name}")
        command.set_defaults(run=run)
        return command

    def packed(command):
        command.add_argument("--data", type=Path, required=True, metavar="DIR", help="a packed data set")

    def model(command):
        command.add_argument("--model", type=Path, required=True, metavar="FILE", help="model.safetensors")
        command.add_argument(
            "--overlap", action="store_true", help="also if the model was trained on classes that the data tests on"
        )

    def experiment(command):
        command.add_argument("--experiment", required=True, metavar="SPEC", help="JSON, or a config file")

    def device(command):
        command.add_argument("--device", default="auto", help="auto (default), cpu or cuda")

    def solving(command):
        command.add_argument("--evaluation", required=True, metavar="SPEC", help=SPEC.format("evaluation"))
        command.add_argument("--threads", type=whole(1), default=os.cpu_count(), help="all cores by default")
        device(command)
        command.add_argument("--out", type=Path, required=True, metavar="FILE", help="a parquet file")

    def configured(command):
        command.add_argument(
            "config", nargs="?", type=Path, default=Path("config", "config.yaml"), metavar="CONFIG",
            help="its file; config/config.yaml by default",
        )  # fmt: skip

    def minutes(command):
        command.add_argument(
            "--max-minutes", type=float, default=float("inf"), metavar="N", help="then stop, ready to continue"
        )

    command = stage(data, "Fetch and pack a data set; 'mlcl data verify' and 'mlcl data show' look at a packed one.")
    command.add_argument(
        "name", metavar="DATASET", help=f"{SPEC.format('datasets.glyphs')}, or a source: mini-imagenet"
    )
    command.add_argument("--from", dest="copy", type=Path, metavar="PATH", help="a copy of its files at hand")
    command.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="where relative paths start")
    command.add_argument("--out", type=Path, metavar="DIR", help="default: data/packed/DATASET")

    command = stage(verify, "Check a packed data set (mlcl data verify): counts, splits, duplicates, ...", "data ")
    command.add_argument("name", metavar="DATASET", help="its folder, or the folder's name below data/packed")

    command = stage(show, "Draw a packed data set (mlcl data show): a contact sheet, the classes' sizes.", "data ")
    command.add_argument("name", metavar="DATASET", help="its folder, or the folder's name below data/packed")
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="for sheet.png, classes.png, data.json; default: its folder"
    )

    command = stage(train, "Train a method on the base classes; a killed training continues where it was.")
    packed(command)
    command.add_argument("--method", required=True, metavar="SPEC", help=SPEC.format("methods.multi_level"))
    command.add_argument("--seed", type=whole(0), default=0, help="0 by default")
    device(command)
    command.add_argument(
        "--gpus", type=whole(1), default=1, metavar="N", help="1 by default; processes, with --device cpu"
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="for model.safetensors")
    command.add_argument("--records", type=Path, metavar="DIR", help="for run.json, metrics.csv; default: --out")
    command.add_argument("--scratch", type=Path, required=True, metavar="DIR", help="for the state and TensorBoard")
    command.add_argument("--teacher", type=Path, metavar="FILE", help="model.safetensors, for objective.distillation")
    minutes(command)

    command = stage(
        run, "Train and evaluate an experiment, one run after another in this process; then see mlcl tables."
    )
    configured(command)
    command.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="holds data/ and results/")
    minutes(command)

    command = stage(features, "Extract the features of every level.")
    packed(command)
    model(command)
    device(command)
    splits = ("train", "val", "test")
    command.add_argument("--splits", nargs="+", choices=splits, default=splits, help="all by default")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")

    command = stage(copies, "Extract the features of augmented copies of the evaluation's images.")
    packed(command)
    model(command)
    command.add_argument("--evaluation", required=True, metavar="SPEC", help=SPEC.format("evaluation"))
    device(command)
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .npy file")

    command = stage(evaluate, "Solve the few-shot episodes with every classifier and representation.")
    packed(command)
    command.add_argument(
        "--features", type=Path, required=True, metavar="DIR", help="of `mlcl features`, with copies.npy if asked for"
    )
    command.add_argument(
        "--choices", type=Path, metavar="FILE", help="a parquet file for the accuracies that levels are chosen by"
    )
    command.add_argument("--run", dest="run_name", required=True, metavar="DATASET/METHOD/SEED")
    solving(command)

    command = stage(deep_ensemble, "Solve the episodes by a method's encoders of several seeds together.")
    packed(command)
    command.add_argument("--features", type=Path, nargs="+", required=True, metavar="DIR", help="of each encoder")
    command.add_argument(
        "--evaluations", type=Path, nargs="+", required=True, metavar="FILE", help="of each encoder, in the same order"
    )
    solving(command)

    command = stage(tables, "Write the tables and the figures of the evaluations.")
    experiment(command)
    command.add_argument("--evaluations", type=Path, nargs="+", required=True, metavar="FILE")
    command.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="where relative paths start")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")

    command = stage(report, "Write the report, which holds everything in one HTML file, and the card of the encoders.")
    experiment(command)
    command.add_argument("--evaluations", type=Path, nargs="+", required=True, metavar="FILE")
    command.add_argument(
        "--records", type=Path, nargs="+", required=True, metavar="FILE", help=".../DATASET/METHOD/SEED/run.json"
    )
    command.add_argument("--figures", type=Path, required=True, metavar="DIR", help="the experiment's figures")
    command.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="where relative paths start")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="an HTML file")
    command.add_argument("--card", type=Path, required=True, metavar="FILE", help="of the encoders, a Markdown file")

    command = stage(draw_training, "Draw the losses and the validation accuracy by epoch.")
    experiment(command)
    command.add_argument(
        "--metrics", type=Path, nargs="+", required=True, metavar="FILE", help=".../DATASET/METHOD/SEED/metrics.csv"
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="for training.svg, training.png")

    command = stage(draw_features, "Draw the unseen classes by level: embedding, nearest neighbours, pairs of classes.")
    packed(command)
    experiment(command)
    command.add_argument(
        "--features", type=Path, nargs="+", required=True, metavar="FILE", help=".../METHOD/SEED/test.npy, or val.npy"
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR")

    command = stage(tensorboard, "Write for TensorBoard: methods with their accuracies, unseen features to walk in.")
    packed(command)
    experiment(command)
    command.add_argument("--evaluations", type=Path, nargs="+", required=True, metavar="FILE")
    command.add_argument(
        "--features", type=Path, required=True, metavar="FILE", help=".../METHOD/SEED/test.npy, of the data set"
    )
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a folder of its own, which is written anew"
    )

    command = stage(compare, "Compare two runs on the same episodes: paired differences, intervals, p-values.")
    for name in ("first", "second"):
        command.add_argument(name, type=Path, metavar="EVALUATION", help="a parquet file of `mlcl evaluate`")
    command.add_argument(
        "--representations", nargs=2, default=(), metavar=("OF_FIRST", "OF_SECOND"),
        help="as in level4 mean_probability; by default all that both have",
    )  # fmt: skip

    command = stage(overview, "Set what several experiments say of the paper's claim beside each other.")
    command.add_argument(
        "configs", type=Path, nargs="+", metavar="CONFIG", help="of experiments that have run: config/*.yaml"
    )
    command.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="holds results/")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="for claim.md, .csv, .svg, .png")

    command = stage(classify, "Name images of your own by a few labelled ones, of any classes.")
    command.add_argument(
        "--model", type=Path, nargs="+", required=True, metavar="FILE", help="model.safetensors; several name together"
    )
    command.add_argument("--support", type=Path, required=True, metavar="DIR", help="labelled images: CLASS/*")
    command.add_argument("--images", type=Path, required=True, metavar="PATH", help="those to name: a folder or a file")
    command.add_argument(
        "--weights", type=weight, nargs="+", default=[], metavar="WEIGHT",
        help="of the levels, first to last, as in tables/weights.md; default: the last level alone",
    )  # fmt: skip
    device(command)
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="a CSV: file, class, probability")

    command = stage(status, "Say what of an experiment is done, running, stopped or waiting.")
    configured(command)
    command.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="holds data/ and results/")
    return top
