"""Whether packed data are what a config says they are. Workflows ask at every start: nothing heavy is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlcl import config
from mlcl.errors import UserError


def of(spec: config.Dataset) -> dict[str, Any]:
    """What the manifest holds of a definition: all but where its files lie, which tells folders alone apart."""
    return spec.model_dump(mode="json", exclude={} if isinstance(spec, config.Folder) else {"path"})


def check(folder: Path, definition: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest of the data packed in the folder, None where there is none.

    Raises `UserError` where they are of another definition than the one given, as `of` makes it of a spec.
    """
    path = folder / "manifest.json"
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text())
        dataset = manifest["dataset"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is damaged ({error}); delete the folder to pack it again") from error
    if dataset != definition:
        raise UserError(
            f"{folder} was packed from another definition of {folder.name}, and other experiments may use it: "
            "give the data set another name in the config, or delete the folder to pack it again"
        )
    return manifest
