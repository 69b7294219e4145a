"""The `mlcl` command: one subcommand a stage. Each imports what it needs only when it runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mlcl.errors import UserError

SPEC = "JSON, or FILE:KEY as in config/config.yaml:{}"


def main(arguments: list[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    try:
        given.run(given)
    except UserError as error:
        sys.exit(f"mlcl {given.stage}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def data(given: argparse.Namespace) -> None:
    from mlcl import config
    from mlcl.data import sources
    from mlcl.data.packed import pack

    pack(sources.open_source(config.part(config.Dataset, given.dataset), given.root), given.out)


def train(given: argparse.Namespace) -> None:
    from mlcl import config, hardware
    from mlcl.train import train

    method = config.part(config.Method, given.method)
    train(given.data, method, given.seed, hardware.device(given.device), given.out, given.scratch)


def features(given: argparse.Namespace) -> None:
    from mlcl import hardware
    from mlcl.features import extract

    extract(given.data, given.model, hardware.device(given.device), given.out)


def evaluate(given: argparse.Namespace) -> None:
    from mlcl import config, hardware
    from mlcl.evaluate import evaluate

    spec = config.part(config.Evaluation, given.evaluation)
    evaluate(given.data, given.features, spec, _run(given.run_name), hardware.device(given.device), given.out)


def tables(given: argparse.Namespace) -> None:
    from mlcl import config
    from mlcl.tables import write

    write(config.part(config.Experiment, given.experiment), given.evaluations, given.out)


def _run(name: str) -> tuple[str, str, int]:
    match name.split("/"):
        case [dataset, method, seed] if seed.isdecimal():
            return dataset, method, int(seed)
    raise UserError(f"--run: {name} is not DATASET/METHOD/SEED, such as glyphs/multi_level/0")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="mlcl", description="Multi-level contrastive learning for few-shot problems.")
    stages = top.add_subparsers(dest="stage", required=True, metavar="STAGE")

    def stage(run, text: str) -> argparse.ArgumentParser:
        command = stages.add_parser(run.__name__, help=text, description=text)
        command.set_defaults(run=run)
        return command

    def packed(command):
        command.add_argument("--data", type=Path, required=True, metavar="DIR", help="a packed data set")

    def device(command):
        command.add_argument("--device", default="auto", help="auto (default), cpu or cuda")

    command = stage(data, "Pack a data set: images, labels, classes and splits as memory-mapped arrays.")
    command.add_argument("--dataset", required=True, metavar="SPEC", help=SPEC.format("datasets.glyphs"))
    command.add_argument("--root", type=Path, default=Path(), metavar="DIR", help="where relative paths start")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")

    command = stage(train, "Train a method on the base classes; a killed training continues where it was.")
    packed(command)
    command.add_argument("--method", required=True, metavar="SPEC", help=SPEC.format("methods.multi_level"))
    command.add_argument("--seed", type=int, default=0)
    device(command)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="for model.safetensors, metrics.csv")
    command.add_argument("--scratch", type=Path, required=True, metavar="DIR", help="for the state and TensorBoard")

    command = stage(features, "Extract the features of every level and split.")
    packed(command)
    command.add_argument("--model", type=Path, required=True, metavar="FILE", help="model.safetensors")
    device(command)
    command.add_argument("--out", type=Path, required=True, metavar="DIR")

    command = stage(evaluate, "Solve the few-shot episodes with every classifier and representation.")
    packed(command)
    command.add_argument("--features", type=Path, required=True, metavar="FILE", help="of the evaluation's split")
    command.add_argument("--evaluation", required=True, metavar="SPEC", help=SPEC.format("evaluation"))
    command.add_argument("--run", dest="run_name", required=True, metavar="DATASET/METHOD/SEED")
    device(command)
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="a parquet file")

    command = stage(tables, "Write the tables and the figure from the evaluations.")
    command.add_argument("--experiment", required=True, metavar="SPEC", help="JSON, or a config file")
    command.add_argument("--evaluations", type=Path, nargs="+", required=True, metavar="FILE")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    return top
