"""Whether packed data are what a config says they are. Workflows ask at every start: nothing heavy is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlcl import config, episodes
from mlcl.errors import UserError


def of(spec: config.Dataset) -> dict[str, Any]:
    """What the manifest holds of a definition: all but where its files lie, which tells folders alone apart."""
    return spec.model_dump(mode="json", exclude={} if isinstance(spec, config.Folder) else {"path"})


def check_tasks(experiment: config.Experiment, name: str, manifest: dict[str, Any]) -> None:
    """Before hours of training, not after: raise `UserError` where a split of the data set is too small for the tasks
    of the experiment's evaluation, or of a method's validation."""
    evaluation = experiment.evaluation
    splits = {evaluation.split, *(["val"] if evaluation.choose else [])}
    tasks = [("evaluation", split, evaluation, max(evaluation.shots)) for split in sorted(splits)]
    for key, method in experiment.recipes.items():
        validation = method.training.validation
        tasks.append((f"methods.{key}.training.validation", "val", validation, validation.shot))
    for key, split, task, shot in tasks:
        try:
            episodes.check(split, **manifest["splits"][split], way=task.way, shot=shot, queries=task.queries)
        except UserError as error:
            raise UserError(f"config: {key}: {name}: {error}") from None


def check(folder: Path, spec: config.Dataset) -> dict[str, Any] | None:
    """The manifest of the data packed in the folder, None where there is none.

    Raises `UserError` where they are of another definition.
    """
    path = folder / "manifest.json"
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text())
        dataset = manifest["dataset"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: is damaged ({error}); delete the folder to pack it again") from error
    if dataset != of(spec):
        raise UserError(
            f"{folder} was packed from another definition of {folder.name}, and other experiments may use it: "
            "give the data set another name in the config, or delete the folder to pack it again"
        )
    return manifest
