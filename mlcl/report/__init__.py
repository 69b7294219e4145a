"""The report of an experiment, one HTML file that needs nothing else, not even a network; and the card of its models.

The report shows what the tables and figures hold, says in words what the numbers say, and links every number to the
records of the trainings that made it. The card, in Markdown, is for those who get the encoders without the rest. They
are the outputs that tell of time and hardware, and so those whose bytes differ from run to run.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from mlcl import config, record
from mlcl.config import Experiment
from mlcl.errors import UserError
from mlcl.files import write_all
from mlcl.paths import FIGURES, UNSEEN_FIGURES, table_names
from mlcl.report import sentences
from mlcl.statistics import interval
from mlcl.tables import TABLES
from mlcl.tables.layout import shown
from mlcl.tables.study import RULE, WEIGHTS, Study, encoder, read, roles, sides, solved, titles

HERE = Path(__file__).parent
OF_ALL = (*FIGURES, "training")
FORMS = {".svg": "image/svg+xml", ".png": "image/png"}


class Figure(NamedTuple):
    name: str
    source: str
    """A data URI."""
    caption: str


class Card(NamedTuple):
    """A data set."""

    name: str
    facts: dict[str, Any]
    pictures: list[Figure]
    figures: list[Figure]


class Run(NamedTuple):
    """A training and its evaluation, by whose path the tables name it."""

    anchor: str
    dataset: str
    method: str
    title: str
    seed: int
    evaluation: str
    record: dict[str, Any]


def write(
    experiment: Experiment,
    evaluations: Sequence[Path],
    records: Sequence[Path],
    figures: Path,
    out: Path,
    card: Path,
    root: Path = Path(),
) -> None:
    """Write the report `out` and the `card` of the encoders, of evaluations, run.json files and the folder of figures.

    Raises `UserError` where one of them is missing or wrong, or a training was of another recipe than the config's.
    """
    study = read(experiment, evaluations, out.parent, root)
    built = {name: TABLES[name](study) for name in table_names(experiment)}
    runs = _runs(study, records)
    cards, common = [_card(figures / name) for name in experiment.datasets], _common(list(runs.values()))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=lambda name: name.endswith((".html", ".css", ".js")),
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    anchors = _anchors(study, runs)
    environment.filters |= {
        "duration": duration,
        "anchors": lambda paths: list(dict.fromkeys(anchor for path in paths for anchor in anchors[path])),
    }
    page = environment.get_template("template.html").render(
        experiment=experiment,
        findings=sentences.findings(study, {name: frame for name, (frame, _) in built.items()}),
        tables={name: laid_out for name, (_, laid_out) in built.items()},
        captions={name: _caption(name) for name in built},
        figures=[_figure(figures, name) for name in OF_ALL],
        cards=cards,
        definition=lambda name: experiment.datasets[name].model_dump(mode="json", exclude={"source", "path"}),
        runs=list(runs.values()),
        common=common,
        config=yaml.safe_dump(
            experiment.model_dump(mode="json", exclude={"device", "gpus"}),  # which the runs say, each its own
            sort_keys=False,
            allow_unicode=True,
            width=100,
        ),
        commit=_commit(record.commit()),
    )
    text = environment.get_template("card.md").render(
        experiment=experiment,
        evaluation=experiment.evaluation,
        rule=RULE,
        weights=WEIGHTS,
        cards=cards,
        runs=list(runs.values()),
        common=common,
        roles=list(roles(experiment, next(iter(experiment.methods)))),
        accuracies=lambda dataset: _accuracies(study, dataset),
        encoder=encoder,
        solved=solved,
        loss=_loss,
        path=lambda run: f"{run.dataset}/{run.method}/{run.seed}",
    )
    write_all({out: page.encode(), card: text.encode()})


def _accuracies(study: Study, dataset: str) -> Iterator[tuple[str, list[str]]]:
    """Every encoder of a data set and every deep ensemble: its path, and its accuracy by number of shots and role."""
    experiment, of = study.experiment, sides(study.experiment)
    single = [
        (recipe, place, f"{recipe}/{seed}")
        for recipe in experiment.recipes
        for place, seed in enumerate(experiment.seeds)
    ]
    for name, place, path in (*single, *((ensemble, 0, ensemble) for ensemble in experiment.ensembles)):
        found = [
            study.accuracies(dataset, shot, of[name, role])[place]
            for shot, role in product(experiment.evaluation.shots, roles(experiment, name))
        ]
        yield experiment.encoder_of(f"{dataset}/{path}"), [shown(*interval(accuracies)) for accuracies in found]


# What `_loss` puts into words, and what the card has elsewhere.
SAID = {
    "cross_entropy", "deep_supervision", "self_distillation", "contrast", "levels", "temperature", "projection",
    "distillation",
}  # fmt: skip


def _loss(spec: config.Objective) -> str:
    """As cross-entropy + supcon at levels 3 (weight 0.5), 4."""
    parts = []
    if spec.cross_entropy:
        parts.append("cross-entropy" + _weight(spec.cross_entropy))
    if spec.deep_supervision:
        taught = spec.self_distillation and f" ({spec.self_distillation.weight:g} of it learnt from the last level)"
        parts.append("cross-entropy" + _at(spec.deep_supervision) + (taught or ""))
    if spec.levels:
        heat = spec.temperature != config.Objective.model_fields["temperature"].default
        parts.append(spec.contrast + _at(spec.levels) + (f", temperature {spec.temperature:g}" if heat else ""))
    others = spec.model_dump(exclude=SAID, exclude_defaults=True)  # a user's own
    parts += [f"{key} {value}" for key, value in others.items()]
    learnt = spec.distillation and f", {spec.distillation.weight:g} of it distillation from {spec.distillation.teacher}"
    return " + ".join(parts) + (learnt or "")


def _at(levels: Mapping[int, float]) -> str:
    each = [f"{level}{_weight(weight)}" for level, weight in sorted(levels.items())]
    return f" at level{'s' if each[1:] else ''} {', '.join(each)}"


def _weight(weight: float) -> str:
    return "" if weight == 1 else f" (weight {weight:g})"


def _runs(study: Study, records: Sequence[Path]) -> dict[str, Run]:
    """Every training, by the path of its evaluation, relative to the report. A record lies in
    .../DATASET/METHOD/SEED/run.json."""
    paths = {tuple(path.parts[-4:-1]): path for path in records}
    runs = {}
    names = titles(study.experiment)
    for dataset, method in product(study.experiment.training_sets, study.experiment.recipes):
        sources, models = study.sources[dataset, method], study.results.models[dataset, method]
        for seed, evaluation, model in zip(study.experiment.seeds, sources, models, strict=True):
            path = paths.get((dataset, method, str(seed)))
            if path is None:
                raise UserError(f"no record of {dataset}/{method}/{seed} among those given; run mlcl train first")
            found = record.read(path)
            record.check(found["made_by"], study.experiment.recipes[method], path)
            if model and found.get("model", model) != model:
                raise UserError(f"{path}: is of another encoder than {evaluation}; evaluate that of the record again")
            anchor = f"run-{dataset}/{method}/{seed}"
            runs[evaluation] = Run(anchor, dataset, method, names[method], seed, evaluation, found)
    return runs


def _anchors(study: Study, runs: Mapping[str, Run]) -> dict[str, list[str]]:
    """Of the trainings behind each evaluation; behind a deep ensemble's stand those of its method."""
    anchors, experiment = {path: [run.anchor] for path, run in runs.items()}, study.experiment
    for (dataset, source), method in product(experiment.trained_on.items(), experiment.recipes):
        of_both = study.sources[dataset, method], study.sources[source, method]
        anchors |= {path: anchors[trained] for path, trained in zip(*of_both, strict=True)}
    for dataset, (ensemble, method) in product(experiment.datasets, experiment.ensembles.items()):
        (path,) = study.sources[dataset, ensemble]
        anchors[path] = [anchor for member in study.sources[dataset, method] for anchor in anchors[member]]
    return anchors


def _common(runs: Sequence[Run]) -> dict[str, Any]:
    """What the runs took together, and of commit, versions and hardware each kind with the number of its runs."""
    records = [run.record for run in runs]
    joules = [found["joules"] for found in records]
    return {
        "seconds": sum(found["seconds"] for found in records),
        "joules": None if None in joules else sum(joules),
        "code": Counter(_commit(found["commit"]) for found in records),
        "versions": Counter(", ".join(f"{k} {v}" for k, v in found["versions"].items() if v) for found in records),
        "hardware": Counter(_hardware(found["hardware"]) for found in records),
        "first": min(datetime.fromisoformat(found["started"]) for found in records).date().isoformat(),
        "last": max(datetime.fromisoformat(found["started"]) for found in records).date().isoformat(),
    }


def _commit(commit: dict[str, Any] | None) -> str:
    if commit is None:
        return "not under git"
    return f"commit {commit['id']}" + (" with changes that are not in it" if commit["changed"] else "")


def _hardware(found: dict[str, Any]) -> str:
    processes = found.get("processes", 1)
    together = f"{processes} processes, " if processes > 1 else ""
    gpu = f"{found['gpu']}, " if found["gpu"] else ""
    return f"{together}{gpu}{found['processor']}, {found['cores']} logical cores"


def duration(seconds: float) -> str:
    """As 41 s, 3 min 20 s or 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _card(folder: Path) -> Card:
    facts_file = folder / "data.json"
    try:
        facts = json.loads(facts_file.read_text())
        _ = facts["equal"]  # which an older version did not write
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{facts_file}: cannot be read ({error}); make it with mlcl data show") from error
    pictures, figures = (
        [_figure(folder, name) for name in names] for names in (("sheet", "classes"), UNSEEN_FIGURES)
    )  # fmt: skip
    return Card(folder.name, facts, pictures, figures)


def _figure(folder: Path, name: str) -> Figure:
    """Of its formats the one that stays sharp, where there is one."""
    file = next((path for suffix in FORMS if (path := (folder / name).with_suffix(suffix)).exists()), None)
    if file is None:
        raise UserError(f"{folder / name}.png: is missing; run snakemake figures")
    source = f"data:{FORMS[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
    return Figure(name, source, _caption(name))


def _caption(name: str) -> str:
    """Of a table or figure; `snakemake --report` shows the same."""
    return (HERE / "captions" / f"{name}.rst").read_text().strip()
