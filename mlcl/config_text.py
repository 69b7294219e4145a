"""The text of a config, YAML or JSON, and one line on what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from mlcl.errors import UserError


def read(path: str | Path) -> Any:
    """What a YAML file holds. Raises `UserError` where it cannot be read or has a key twice."""
    try:
        return parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a config file") from error
    except (yaml.YAMLError, ValueError) as error:  # other bytes than UTF-8, a date that there is not
        raise UserError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error


def parse(text: str) -> Any:
    """YAML, or JSON: as which it is tried first, since YAML 1.1 takes JSON's number 1e-6 for a text."""
    try:
        return json.loads(text, object_pairs_hook=_each_key_once)
    except ValueError:
        return yaml.load(text, EachKeyOnce)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """ValueError where a key is there twice: the YAML that JSON is names it with its line."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


class EachKeyOnce(yaml.SafeLoader):
    """YAML asks for it, PyYAML does not: of a method copied and not renamed it would keep the copy alone."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        known: set[str] = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:  # `<<` is not merged yet
            if key.value in known:
                problem = f"line {key.start_mark.line + 1} has {key.value} again; rename or remove it"
                raise yaml.constructor.ConstructorError(problem=problem)
            known.add(key.value)
        return node


def _steps(loc: Sequence[Any], values: Any) -> Iterator[str]:
    """Those of an error's place that are keys: not the kinds that were tried, nor that of a data set."""
    kind = None
    for step in loc:
        if not isinstance(values, dict | list | tuple):
            return
        if "[" in str(step):
            continue
        if isinstance(values, dict) and step == values.get("source") and kind is not values:
            kind = values  # the next one may be a key of that name
            continue
        yield str(step)
        try:
            values = values[step]
        except (LookupError, TypeError):  # a key that is missing, or was given to all methods at once
            values = {}


def validated(kind: Any, values: Any, source: str) -> Any:
    """`values` as the type `kind`. Raises `UserError` that names `source` and the first key at fault."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        # A misspelt key is missing too, and a value of several kinds fails as each of them.
        first = min(error.errors(), key=lambda one: {"extra_forbidden": 0, "tuple_type": 2}.get(one["type"], 1))
        key = ".".join(_steps(first["loc"], values))
        reason = {
            "extra_forbidden": "is no key of the config; check its spelling",
            "missing": "is missing; add it",
            "tuple_type": "must be a list, in brackets",
        }.get(first["type"], first["msg"].removeprefix("Value error, "))
        given = (
            "" if isinstance(first["input"], dict) or first["type"] == "missing" else f" (given: {first['input']!r})"
        )
        raise UserError(f"{source}: {key + ': ' if key else ''}{reason}{given}") from error
