"""From a data set's spec in the config to its images: where they lie, how they get there, and who reads them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcl import config
from mlcl.data.catalogue import IMAGENET, PUBLIC, SIZES, Dataset
from mlcl.errors import UserError

if TYPE_CHECKING:
    from mlcl.data.pack import Source

# The module of mlcl.data that reads each source.
MODULES = {
    "glyphs": "glyphs",
    "mini-imagenet": "mini_imagenet",
    "tiered-imagenet": "tiered_imagenet",
    "cifar-fs": "cifar100",
    "fc100": "cifar100",
    "omniglot": "omniglot",
    "cub": "cub",
    "folder": "folder",
}


def open_source(spec: config.Dataset, root: Path, copy: Path | None = None) -> Source:
    """The data set, ready to pack; relative paths start at `root`.

    What is missing of a public data set is fetched first, unless the spec names a path of the user's own; or taken from
    `copy`, a file or folder at hand. Raises `UserError` where the files are missing and cannot be had, or are not what
    they should be.
    """
    module = import_module(f"mlcl.data.{MODULES[spec.source]}")
    if spec.source == "glyphs":
        return module.source(spec)
    if copy is not None and not copy.exists():
        raise UserError(f"--from: {copy} does not exist")
    public = PUBLIC.get(spec.source)
    folder = root.resolve() / Path(spec.path or f"data/raw/{public.name}").expanduser()
    if public and (copy is not None or spec.path is None):
        from mlcl.data.download import complete

        folder = complete(public, folder, copy)
    elif copy is not None:
        raise UserError(f"--from: {spec.source} is read where it lies; set its path instead")
    try:
        return module.source(spec, folder)
    except UserError as error:
        if spec.source in IMAGENET:  # the others' archives are read
            raise UserError(f"{error}{_elsewhere(public, folder)}") from error
        raise


def foreseen(spec: config.Dataset, root: Path) -> dict[str, dict[str, Any]]:
    """What `episodes.check_tasks` asks of each split, before the data set is packed: of a public one, which may have to
    be fetched, what is known of it. Raises `UserError` as `open_source` does."""
    if known := SIZES.get(spec.source):
        return {split: {"classes": classes, "smallest_class": images} for split, (classes, images) in known.items()}
    from mlcl.data.pack import sizes

    return sizes(open_source(spec, root))


def _elsewhere(dataset: Dataset, folder: Path) -> str:
    """Where else its files seem to be, as a sentence to add; nothing where they are not."""
    if nested := next((path for path in sorted(folder.glob("*/*")) if path.name in dataset.names), None):
        return f". {nested.parent} holds such files: move them to {folder}, or set the data set's path to it"
    archives = [path for pattern in ("*.zip", "*.tar", "*.tar.gz") for path in sorted(folder.glob(pattern))]
    return f". {archives[0].name} is there, but not unpacked: unpack it in {folder}" if archives else ""
