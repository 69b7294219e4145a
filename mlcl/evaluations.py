"""The file of an evaluation: a parquet file in long form, with the protocol that it followed in its metadata.

One run (data set, method, seed), one row per shot, processing, classifier, representation and episode, the accuracy as
a fraction. Files of the same protocol hold the same episodes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow
import pyarrow.parquet

from mlcl.config import Evaluation
from mlcl.data.packed import identity
from mlcl.errors import UserError
from mlcl.files import replacing

KEYS = ["shot", "processing", "classifier", "representation"]
COLUMNS = ["dataset", "method", "seed", *KEYS, "episode", "accuracy"]
# What decides which episodes are met and with what supports; the rest of an evaluation can be read off the rows.
PROTOCOL = ("split", "way", "queries", "support_copies", "seed")

Run = tuple[str, str, int | str]
"""Data set, method and seed; of a deep ensemble its seeds in the place of one: 0+1+2."""
Key = tuple[int, str, str]
"""Shot, processing and classifier."""


class Found(NamedTuple):
    run: Run
    rows: pd.DataFrame
    protocol: dict[str, Any]
    """The values of `PROTOCOL`'s keys."""
    data: dict[str, str] | None
    """As `Packed.identity`; None where it was not recorded."""
    made_by: dict[str, str]
    """As `Features` has it, and `evaluate`: the fingerprint of the code that solved the episodes; what was not
    recorded is missing. A deep ensemble has its members' checksums as `model`, joined by + like their seeds."""
    chosen: dict[Key, str]
    """The representation that was chosen on the validation classes, if one was."""
    weights: dict[Key, list[float]]
    """The levels' weights that the validation classes gave, if they were asked."""


def write(
    path: Path,
    run: Run,
    rows: pd.DataFrame,
    spec: Evaluation,
    data: dict[str, str] | None,
    made_by: Mapping[str, str],
    chosen: dict[Key, str] | None = None,
    weights: dict[Key, list[float]] | None = None,
) -> None:
    """`rows` has `KEYS`, episode and accuracy; the run is put before them."""
    table = pyarrow.Table.from_pandas(
        rows.assign(**dict(zip(COLUMNS[:3], run, strict=True)))[COLUMNS], preserve_index=False
    )
    about = {"data": data, "made_by": made_by, "protocol": spec.model_dump(mode="json", include=set(PROTOCOL))}
    if chosen:
        about["chosen"] = [[*key, representation] for key, representation in chosen.items()]
    if weights:
        about["weights"] = [[*key, of_levels] for key, of_levels in weights.items()]
    with replacing(path) as (temporary,):
        pyarrow.parquet.write_table(
            table.replace_schema_metadata({**table.schema.metadata, "mlcl": json.dumps(about, sort_keys=True)}),
            temporary,
        )


def read(path: Path) -> Found:
    """Raises `UserError` where the file is no evaluation of one run, or holds an episode twice."""
    try:
        table = pyarrow.parquet.read_table(path, columns=COLUMNS, partitioning=None)
        about = json.loads(table.schema.metadata[b"mlcl"])
        protocol = {key: about["protocol"][key] for key in PROTOCOL}
        data = about["data"] and identity(about["data"])
        made_by = about.get("made_by", {})
        chosen = {tuple(key): representation for *key, representation in about.get("chosen", [])}
        weights = {tuple(key): of_levels for *key, of_levels in about.get("weights", [])}
    except (OSError, pyarrow.ArrowException) as error:
        reason = "it is not there" if isinstance(error, FileNotFoundError) else str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as an evaluation ({reason}); run mlcl evaluate again") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: does not say what protocol it followed; run mlcl evaluate again") from error
    frame = table.to_pandas()
    runs = list(frame[COLUMNS[:3]].drop_duplicates().itertuples(index=False, name=None))
    if len(runs) != 1:
        raise UserError(f"{path}: holds {len(runs)} runs, where an evaluation holds one; run mlcl evaluate again")
    if frame.duplicated([*KEYS, "episode"]).any():
        raise UserError(f"{path}: holds an episode twice; run mlcl evaluate again")
    return Found(runs[0], frame, protocol, data, made_by, chosen, weights)
